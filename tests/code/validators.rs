//! Validators: the third argument of functions and triggers.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::System;
use crate::users::{as_user, sign_up};

/// Calls `functions/<name>` and expects this refusal of a validator.
async fn refused(system: &System, name: &str, params: Value, message: &str) {
    let reply = system
        .call(Method::POST, &format!("functions/{name}"), params)
        .await;
    assert_eq!(reply.expect_error(400, 142), message, "{name}");
}

#[tokio::test]
async fn who_may_call_a_function() {
    let system = System::start(
        r#"
        const define = (name, options) => Parse.Cloud.define(name, () => "ran", options);
        define("user", { requireUser: true });
        define("master", { requireMaster: true });
        define("any", { requireAnyUserRoles: ["Editors", "Admins"] });
        define("all", { requireAllUserRoles: () => ["Editors", "Admins"] });
        define("keys", { requireUserKeys: ["city"] });
        define("options", { requireUserKeys: { city: { options: ["Graz", "Linz"] } } });
        define("strict", { requireUser: true, validateMasterKey: true });
        "#,
    )
    .await;
    let login = "Validation failed. Please login to continue.";
    for name in ["user", "any", "all", "strict"] {
        refused(&system, name, json!({}), login).await;
    }
    let master_only = "Validation failed. Master key is required to complete this request.";
    refused(&system, "master", json!({}), master_only).await;

    let (id, token) = sign_up(&system, "ada").await;
    let call = async |name: &str| {
        as_user(
            &system,
            &token,
            Method::POST,
            &format!("functions/{name}"),
            json!({}),
        )
        .await
    };
    assert_eq!(call("user").await.body["result"], "ran");
    assert_eq!(call("master").await.expect_error(400, 142), master_only);
    assert_eq!(
        call("any").await.expect_error(400, 142),
        "Validation failed. User does not match the required roles."
    );
    let no_city = "Validation failed. Please set data for city on your account.";
    assert_eq!(call("keys").await.expect_error(400, 142), no_city);
    system
        .master(Method::PUT, &format!("users/{id}"), json!({"city": "Wien"}))
        .await;
    assert_eq!(call("keys").await.body["result"], "ran");
    let wrong_city = "Validation failed. Invalid option for city. Expected: Graz, Linz";
    assert_eq!(call("options").await.expect_error(400, 142), wrong_city);

    let member = json!({"__type": "Pointer", "className": "_User", "objectId": id});
    let role = |name: &str, field: &str, member: &Value| json!({"name": name, "ACL": {}, field: {"__op": "AddRelation", "objects": [member]}});
    let admins = system
        .master(Method::POST, "roles", role("Admins", "users", &member))
        .await;
    assert_eq!(call("any").await.body["result"], "ran");
    let not_all = "Validation failed. User does not match all the required roles.";
    assert_eq!(call("all").await.expect_error(400, 142), not_all);
    // The members of Admins are Editors too.
    let admins =
        json!({"__type": "Pointer", "className": "_Role", "objectId": admins.body["objectId"]});
    system
        .master(Method::POST, "roles", role("Editors", "roles", &admins))
        .await;
    assert_eq!(call("all").await.body["result"], "ran");

    for name in ["user", "master", "any", "keys"] {
        let reply = system
            .master(Method::POST, &format!("functions/{name}"), json!({}))
            .await;
        assert_eq!(
            reply.body["result"], "ran",
            "the master key passes by the validator of {name}"
        );
    }
    let strict = system
        .master(Method::POST, "functions/strict", json!({}))
        .await;
    assert_eq!(strict.expect_error(400, 142), login);
}

#[tokio::test]
async fn what_a_function_may_be_given() {
    let system = System::start(
        r#"
        const define = (name, fields) => Parse.Cloud.define(name, ({ params }) => params, { fields });
        define("list", ["a", "b"]);
        define("type", { n: { required: true, type: Number }, list: { type: Array } });
        define("default", { n: { default: 7 } });
        define("options", { size: { options: ["S", "M"] }, n: { options: (n) => n > 0, error: "n must be positive" } });
        define("async", { n: { options: async (n) => { if (n !== 1) throw "only one"; } } });
        Parse.Cloud.define("function", () => "ran", ({ params }) => {
          if (params.how === "text") throw "a text";
          if (params.how === "parse") throw new Parse.Error(999, "own code");
          if (params.how === "nothing") throw null;
        });
        "#,
    )
    .await;
    let missing = |field: &str| format!("Validation failed. Please specify data for {field}.");
    refused(&system, "list", json!({"a": 1}), &missing("b")).await;
    refused(&system, "list", json!({"a": null, "b": 1}), &missing("a")).await;
    assert_eq!(
        system.function("list", json!({"a": false, "b": 0})).await,
        json!({"a": false, "b": 0})
    );
    refused(&system, "type", json!({}), &missing("n")).await;
    refused(
        &system,
        "type",
        json!({"n": "1"}),
        "Validation failed. Invalid type for n. Expected: number",
    )
    .await;
    refused(
        &system,
        "type",
        json!({"n": 1, "list": {}}),
        "Validation failed. Invalid type for list. Expected: array",
    )
    .await;
    assert_eq!(
        system.function("type", json!({"n": 1})).await,
        json!({"n": 1})
    );
    assert_eq!(system.function("default", json!({})).await, json!({"n": 7}));
    assert_eq!(
        system.function("default", json!({"n": 1})).await,
        json!({"n": 1})
    );
    refused(
        &system,
        "options",
        json!({"size": "L"}),
        "Validation failed. Invalid option for size. Expected: S, M",
    )
    .await;
    refused(
        &system,
        "options",
        json!({"size": "S", "n": -1}),
        "n must be positive",
    )
    .await;
    refused(&system, "async", json!({"n": 2}), "only one").await;
    assert_eq!(
        system.function("async", json!({"n": 1})).await,
        json!({"n": 1})
    );

    refused(&system, "function", json!({"how": "text"}), "a text").await;
    refused(
        &system,
        "function",
        json!({"how": "nothing"}),
        "Validation failed.",
    )
    .await;
    let own = system
        .call(Method::POST, "functions/function", json!({"how": "parse"}))
        .await;
    assert_eq!(own.expect_error(400, 999), "own code");
    assert_eq!(system.function("function", json!({})).await, "ran");
}

#[tokio::test]
async fn triggers_have_validators() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.beforeSave("Item", ({ object }) => object.set("ran", true), {
          fields: {
            name: { required: true, type: String },
            price: { type: Number, default: 10 },
            owner: { constant: true, default: "nobody" },
          },
        });
        Parse.Cloud.beforeDelete("Item", () => {}, { requireUser: true });
        Parse.Cloud.beforeSave("Own", () => {}, { requireUser: true });
        Parse.Cloud.beforeSave("Free", () => { throw "the trigger ran"; }, { skipWithMasterKey: true });
        Parse.Cloud.afterSave("After", () => console.log("afterSave ran"), { requireUser: true });
        "#,
    )
    .await;
    system
        .set("trigger_attempts", 1)
        .serve("proxy,capture,dispatch,worker");
    let system = &system;
    let save = async |class: &str, fields: Value| {
        system
            .call(Method::POST, &format!("classes/{class}"), fields)
            .await
    };
    let missing = save("Item", json!({})).await;
    assert_eq!(
        missing.expect_error(400, 142),
        "Validation failed. Please specify data for name."
    );
    let wrong = save("Item", json!({"name": 1})).await;
    assert_eq!(
        wrong.expect_error(400, 142),
        "Validation failed. Invalid type for name. Expected: string"
    );
    let created = save("Item", json!({"name": "lamp", "owner": "ada"}))
        .await
        .body;
    assert_eq!(
        (&created["price"], &created["owner"], &created["ran"]),
        (&json!(10), &json!("nobody"), &json!(true))
    );
    let path = format!("classes/Item/{}", created["objectId"].as_str().unwrap());
    assert_eq!(
        system
            .call(Method::PUT, &path, json!({"owner": "eve", "price": 3}))
            .await
            .status,
        200
    );
    let stored = &system.find("Item", json!({})).await[0];
    assert_eq!(
        (&stored["owner"], &stored["price"]),
        (&json!("nobody"), &json!(3))
    );

    let login = "Validation failed. Please login to continue.";
    assert_eq!(
        system
            .call(Method::DELETE, &path, Value::Null)
            .await
            .expect_error(400, 142),
        login
    );
    assert_eq!(save("Own", json!({})).await.expect_error(400, 142), login);
    let (_, token) = sign_up(system, "ada").await;
    assert_eq!(
        as_user(system, &token, Method::POST, "classes/Own", json!({}))
            .await
            .status,
        201
    );
    assert_eq!(
        as_user(system, &token, Method::DELETE, &path, Value::Null)
            .await
            .status,
        200
    );

    assert_eq!(
        save("Free", json!({})).await.expect_error(400, 141),
        "the trigger ran"
    );
    assert_eq!(
        system
            .master(Method::POST, "classes/Free", json!({}))
            .await
            .status,
        201
    );
    // The write is committed by then: its after-trigger's validator cannot undo it.
    assert_eq!(save("After", json!({})).await.status, 201);
    assert_eq!(system.find("After", json!({})).await.len(), 1);
}
