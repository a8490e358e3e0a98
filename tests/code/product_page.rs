//! The cloud function that Back4app's product page shows, as it stands there, and one of the same shape.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{System, repository};
use crate::users::{as_user, sign_up};

const SAME_SHAPE: &str = r#"
    Parse.Cloud.define("totalOfInvoice", async (request) => {
      const { orderId } = request.params;
      if (!request.user) throw new Error("Must be logged in to calculate order total");
      const invoice = await new Parse.Query(Parse.Object.extend("Order"))
        .equalTo("objectId", orderId)
        .include("items")
        .first({ useMasterKey: true });
      if (!invoice) throw new Error("Order not found");
      const subtotal = invoice.get("items").reduce((sum, item) => sum + item.get("price") * item.get("quantity"), 0);
      const tax = subtotal * 0.08;
      await invoice.save({ subtotal, tax, total: subtotal + tax }, { useMasterKey: true });
      return { subtotal, tax, total: subtotal + tax };
    });
    "#;

#[tokio::test]
async fn the_page_shows_a_function_that_runs() {
    let snippet = repository().join("tests/cases/product-page/main.js");
    check(
        &std::fs::read_to_string(snippet).unwrap(),
        "calculateOrderTotal",
    )
    .await;
}

#[tokio::test]
async fn so_does_one_of_the_same_shape() {
    check(SAME_SHAPE, "totalOfInvoice").await;
}

async fn check(main_js: &str, name: &str) {
    let system = System::start(main_js).await;
    let mut items = Vec::new();
    for (price, quantity) in [(50.0, 2), (25.5, 1)] {
        let item = system
            .call(
                Method::POST,
                "classes/Item",
                json!({"price": price, "quantity": quantity}),
            )
            .await;
        items.push(
            json!({"__type": "Pointer", "className": "Item", "objectId": item.body["objectId"]}),
        );
    }
    // Nobody but the master key may see the order: the function uses it.
    let order = system
        .call(
            Method::POST,
            "classes/Order",
            json!({"items": items, "ACL": {}}),
        )
        .await;
    let params = json!({"orderId": order.body["objectId"]});
    let path = format!("functions/{name}");

    let stranger = system.call(Method::POST, &path, params.clone()).await;
    assert_eq!(
        stranger.expect_error(400, 141),
        "Must be logged in to calculate order total"
    );
    let (_, token) = sign_up(&system, "ada").await;
    let unknown = as_user(
        &system,
        &token,
        Method::POST,
        &path,
        json!({"orderId": "aaaaaaaaaa"}),
    )
    .await;
    assert_eq!(unknown.expect_error(400, 141), "Order not found");

    let answered = as_user(&system, &token, Method::POST, &path, params).await;
    let (subtotal, tax) = (125.5, 125.5 * 0.08);
    let total = subtotal + tax;
    assert_eq!(
        answered.body,
        json!({"result": {"subtotal": subtotal, "tax": tax, "total": total}})
    );
    let stored: &Value = &system.find("Order", json!({})).await[0];
    assert_eq!(
        (&stored["subtotal"], &stored["tax"], &stored["total"]),
        (&json!(subtotal), &json!(tax), &json!(total))
    );
}
