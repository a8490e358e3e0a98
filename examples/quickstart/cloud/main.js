// Everything that Tidegate does with cloud code, in one small shop.
// `ops/run` starts it; the system tests run it.

const { priceOf } = require("./lib/price");

Parse.Cloud.define("hello", async (request) => {
  return `Hello, ${request.params.name || "world"}!`;
});

// Called by clients: the total of an order's items, written back to the order.
Parse.Cloud.define("orderTotal", async (request) => {
  const query = new Parse.Query("Order");
  query.include("items");
  const order = await query.get(request.params.orderId, { useMasterKey: true });
  const total = (order.get("items") || []).reduce((sum, item) => sum + priceOf(item), 0);
  order.set("total", total);
  await order.save(null, { useMasterKey: true });
  return { total };
});

// Before a save: validate, transform, refuse. Runs in the write path, for API writes.
Parse.Cloud.beforeSave("Item", (request) => {
  const item = request.object;
  if (!item.get("name")) {
    throw new Parse.Error(Parse.Error.VALIDATION_ERROR, "an item needs a name");
  }
  item.set("name", item.get("name").trim());
  if (!item.has("quantity")) {
    item.set("quantity", 1);
  }
  request.context.checkedBy = "beforeSave";
});

// After a save: runs for every committed change, also for one made by psql or a migration.
Parse.Cloud.afterSave("Item", async (request) => {
  const entry = new Parse.Object("AuditEntry");
  await entry.save(
    {
      item: request.object.id,
      name: request.object.get("name"),
      was: request.original ? request.original.get("name") : null,
      source: request.source,
      user: request.user ? request.user.id : null,
      context: request.context,
    },
    { useMasterKey: true },
  );
});

Parse.Cloud.beforeDelete("Item", (request) => {
  if (request.object.get("locked")) {
    throw new Parse.Error(Parse.Error.OPERATION_FORBIDDEN, "a locked item cannot be deleted");
  }
});

Parse.Cloud.afterDelete("Item", async (request) => {
  console.log("deleted", request.object.id);
  const entry = new Parse.Object("AuditEntry");
  await entry.save(
    { item: request.object.id, name: request.object.get("name"), deleted: true, source: request.source },
    { useMasterKey: true },
  );
});
