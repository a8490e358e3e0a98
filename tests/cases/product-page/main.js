// Define a cloud function
Parse.Cloud.define("calculateOrderTotal", async (request) => {
  const { orderId } = request.params;
  const user = request.user;
  
  // Verify user is authenticated
  if (!user) {
    throw new Error("Must be logged in to calculate order total");
  }
  
  // Query order items
  const Order = Parse.Object.extend("Order");
  const query = new Parse.Query(Order);
  query.equalTo("objectId", orderId);
  query.include("items");
  
  const order = await query.first({ useMasterKey: true });
  
  if (!order) {
    throw new Error("Order not found");
  }
  
  // Calculate total with tax
  const items = order.get("items") || [];
  const subtotal = items.reduce((sum, item) => 
    sum + (item.get("price") * item.get("quantity")), 0
  );
  const tax = subtotal * 0.08;
  const total = subtotal + tax;
  
  // Update order with calculated total
  order.set("subtotal", subtotal);
  order.set("tax", tax);
  order.set("total", total);
  await order.save(null, { useMasterKey: true });
  
  return { subtotal, tax, total };
});
