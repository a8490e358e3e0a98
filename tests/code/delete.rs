//! beforeDelete and afterDelete.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::System;
use crate::users::{as_user, sign_up};

const TRIGGERS: &str = r#"
    Parse.Cloud.beforeDelete("Item", async ({ object, context, user, master }) => {
      if (object.get("locked")) throw "it is locked";
      if (object.get("kept")) throw new Parse.Error(999, "own code");
      const uses = await new Parse.Query("Use").equalTo("item", object.id).count({ useMasterKey: true });
      if (uses > 0) throw new Error(`${uses} uses`);
      context.by = user ? user.get("username") : master ? "master" : "nobody";
    });
    Parse.Cloud.afterDelete("Item", async ({ object, context, user, source, triggerName }) => {
      let left = true;
      await new Parse.Query("Item").get(object.id, { useMasterKey: true }).catch(() => { left = false; });
      await new Parse.Object("Gone").save({
        item: object.id, name: object.get("name"), left, context, user: user?.id, source, triggerName,
      }, { useMasterKey: true });
    });
    "#;

async fn create(system: &System, fields: Value) -> String {
    let reply = system.call(Method::POST, "classes/Item", fields).await;
    format!("classes/Item/{}", reply.body["objectId"].as_str().unwrap())
}

#[tokio::test]
async fn before_delete_keeps_an_object_or_lets_it_go() {
    let system = System::start(TRIGGERS).await;
    let cases = [
        (json!({"locked": true}), 141, "it is locked"),
        (json!({"kept": true}), 999, "own code"),
    ];
    for (fields, code, message) in cases {
        let path = create(&system, fields).await;
        assert_eq!(
            system
                .call(Method::DELETE, &path, Value::Null)
                .await
                .expect_error(400, code),
            message
        );
        assert_eq!(
            system.call(Method::GET, &path, Value::Null).await.status,
            200,
            "it is still there"
        );
    }
    let path = create(&system, json!({})).await;
    system
        .call(
            Method::POST,
            "classes/Use",
            json!({"item": path.rsplit('/').next()}),
        )
        .await;
    assert_eq!(
        system
            .call(Method::DELETE, &path, Value::Null)
            .await
            .expect_error(400, 141),
        "1 uses"
    );
    system
        .call(Method::DELETE, "classes/Item/aaaaaaaaaa", Value::Null)
        .await
        .expect_error(404, 101);
    system.wait_until_settled().await;
    assert_eq!(system.find("Gone", json!({})).await.len(), 0);
}

#[tokio::test]
async fn after_delete_sees_what_is_gone_and_who_deleted_it() {
    let system = System::start(TRIGGERS).await;
    let (ada, token) = sign_up(&system, "ada").await;
    let path = create(&system, json!({"name": "lamp"})).await;
    let deleted = as_user(&system, &token, Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        (deleted.status, deleted.header("x-tidegate-wait")),
        (200, Some("done"))
    );
    let gone = system.find("Gone", json!({})).await;
    let expected = json!({
        "item": path.rsplit('/').next(), "name": "lamp", "left": false, "context": {"by": "ada"}, "user": ada,
        "source": "api", "triggerName": "afterDelete",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&gone[0][field], value, "{field}");
    }
    let path = create(&system, json!({"name": "chair"})).await;
    system.master(Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        system.find("Gone", json!({"name": "chair"})).await[0]["context"],
        json!({"by": "master"})
    );
}
