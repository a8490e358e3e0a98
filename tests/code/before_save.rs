//! beforeSave: what it sees, changes and refuses.

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::System;

/// Creates an object and returns its path and the answer's body.
async fn create(system: &System, class: &str, fields: Value) -> (String, Value) {
    let reply = system
        .call(Method::POST, &format!("classes/{class}"), fields)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    (
        format!(
            "classes/{class}/{}",
            reply.body["objectId"].as_str().unwrap()
        ),
        reply.body,
    )
}

async fn get(system: &System, path: &str) -> Value {
    system.call(Method::GET, path, Value::Null).await.body
}

#[tokio::test]
async fn a_trigger_changes_what_is_stored_and_the_client_is_told() {
    let system = System::start(
        r#"
        Parse.Cloud.beforeSave("Item", ({ object }) => {
          object.set("name", object.get("name").trim());
          object.set("checked", true);
          object.increment("saves");
          object.addUnique("tags", "seen");
          if (object.get("forget")) {
            object.unset("note");
            object.unset("forget");
          }
          object.set("at", new Date(0));
          return "ignored";
        });
        "#,
    )
    .await;
    let (path, created) = create(
        &system,
        "Item",
        json!({"name": " Lamp ", "note": "n", "price": 4}),
    )
    .await;
    let expected = json!({"name": "Lamp", "checked": true, "saves": 1, "tags": ["seen"]});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&created[field], value, "{field} in the answer");
        assert_eq!(
            &get(&system, &path).await[field],
            value,
            "{field} as stored"
        );
    }
    assert_eq!(
        created["at"],
        json!({"__type": "Date", "iso": "1970-01-01T00:00:00.000Z"})
    );
    assert_eq!(
        (created.get("price"), created.get("note")),
        (None, None),
        "the client knows what it sent"
    );

    let updated = system
        .call(Method::PUT, &path, json!({"forget": true, "name": "Lamp"}))
        .await;
    assert_eq!(
        (&updated.body["saves"], updated.body.get("price")),
        (&json!(2), None)
    );
    let stored = get(&system, &path).await;
    assert_eq!(
        (&stored["saves"], &stored["price"], &stored["tags"]),
        (&json!(2), &json!(4), &json!(["seen"]))
    );
    assert_eq!(
        (stored.get("note"), stored.get("forget")),
        (None, None),
        "unset is gone"
    );
}

#[tokio::test]
async fn a_trigger_refuses_with_its_own_code_and_nothing_is_written() {
    let system = System::start(
        r#"
        Parse.Cloud.beforeSave("Item", async ({ object }) => {
          await null;
          switch (object.get("wish")) {
            case "text": throw "a text";
            case "error": throw new Error("an error");
            case "parse": throw new Parse.Error(999, "own code");
            case "reject": return Promise.reject("rejected");
            case "field": object.set("length", 1);
          }
        });
        "#,
    )
    .await;
    let (path, _) = create(&system, "Item", json!({"n": 1})).await;
    let cases = [
        ("text", 141, "a text"),
        ("error", 141, "an error"),
        ("parse", 999, "own code"),
        ("reject", 141, "rejected"),
    ];
    for (wish, code, message) in cases {
        let body = json!({"wish": wish, "n": 2});
        assert_eq!(
            system
                .call(Method::PUT, &path, body.clone())
                .await
                .expect_error(400, code),
            message
        );
        assert_eq!(
            system
                .call(Method::POST, "classes/Item", body)
                .await
                .expect_error(400, code),
            message
        );
    }
    let wrong = system
        .call(Method::PUT, &path, json!({"wish": "field"}))
        .await;
    assert_eq!(wrong.expect_error(400, 105), "Invalid field name: length.");
    let found = system.find("Item", json!({})).await;
    assert_eq!((found.len(), &found[0]["n"]), (1, &json!(1)));

    let item = |wish: &str| json!({"method": "POST", "path": "/parse/classes/Item", "body": {"wish": wish}});
    let batch = system
        .call(
            Method::POST,
            "batch",
            json!({"requests": [item("a"), item("parse"), item("b")]}),
        )
        .await;
    assert_eq!(
        batch.body[1],
        json!({"error": {"code": 999, "error": "own code"}})
    );
    assert!(
        batch.body[0]["success"]["objectId"].is_string()
            && batch.body[2]["success"]["objectId"].is_string()
    );
    let all = json!({"requests": [item("c"), item("parse")], "transaction": true});
    system
        .call(Method::POST, "batch", all)
        .await
        .expect_error(400, 999);
    assert_eq!(system.find("Item", json!({"wish": "c"})).await.len(), 0);
}

#[tokio::test]
async fn a_trigger_sees_what_this_request_changes_and_what_was_there() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.beforeSave("Item", ({ object, original, triggerName }) => {
          if (object.get("undo")) {
            object.revert("n");
            object.unset("undo");
          }
          console.log("SEEN " + JSON.stringify({
            triggerName, isNew: object.isNew(), existed: object.existed(), id: object.id ?? null,
            dirty: object.dirtyKeys().sort(), n: object.get("n"), dirtyN: object.dirty("n"), dirtyM: object.dirty("m"),
            m: object.get("m"), original: original ? { n: original.get("n"), m: original.get("m") } : null,
          }));
        });
        "#,
    )
    .await;
    let server = system.serve("proxy,capture,dispatch,worker");
    let (path, _) = create(&system, "Item", json!({"n": 1, "m": 1})).await;
    let id = path.rsplit('/').next().unwrap();
    system
        .call(
            Method::PUT,
            &path,
            json!({"n": {"__op": "Increment", "amount": 4}}),
        )
        .await;
    let undone = system
        .call(Method::PUT, &path, json!({"n": 99, "undo": true}))
        .await;
    assert_eq!(
        (undone.status, undone.body.get("n")),
        (200, None),
        "{}",
        undone.body
    );
    assert_eq!(get(&system, &path).await["n"], 5);

    let lines = system.server(server).wait_for_lines("SEEN ", 3);
    let seen = |n: usize| -> Value {
        let text = lines[n]["message"]
            .as_str()
            .unwrap()
            .trim_start_matches("SEEN ");
        serde_json::from_str(text).unwrap()
    };
    let created = json!({
        "triggerName": "beforeSave", "isNew": true, "existed": false, "id": null, "dirty": ["m", "n"], "n": 1,
        "dirtyN": true, "dirtyM": true, "m": 1, "original": null,
    });
    assert_eq!(seen(0), created);
    let updated = json!({
        "triggerName": "beforeSave", "isNew": false, "existed": true, "id": id, "dirty": ["n"], "n": 5, "dirtyN": true,
        "dirtyM": false, "m": 1, "original": {"n": 1, "m": 1},
    });
    assert_eq!(seen(1), updated);
    assert_eq!(
        (&seen(2)["n"], &seen(2)["dirtyN"]),
        (&json!(5), &json!(false)),
        "reverted"
    );
}

#[tokio::test]
async fn a_trigger_may_query_and_save_other_classes() {
    let system = System::start(
        r#"
        Parse.Cloud.beforeSave("Order", async ({ object, user }) => {
          const stock = await new Parse.Query("Stock").equalTo("name", object.get("name")).first();
          if (!stock) throw new Parse.Error(404, "no such thing");
          stock.increment("left", -1);
          await stock.save(null, { useMasterKey: true });
          object.set("stock", stock);
          const [entry] = await Parse.Object.saveAll([new Parse.Object("Entry", { name: stock.get("name") })]);
          object.set("entryId", entry.id);
        });
        Parse.Cloud.beforeSave("Stock", ({ object }) => {
          if (object.get("left") < 0) throw new Parse.Error(409, "sold out");
        });
        "#,
    )
    .await;
    let (stock, _) = create(&system, "Stock", json!({"name": "lamp", "left": 1})).await;
    let (order, answer) = create(&system, "Order", json!({"name": "lamp"})).await;
    assert_eq!(
        (
            get(&system, &stock).await["left"].as_i64(),
            answer["stock"]["objectId"].as_str()
        ),
        (Some(0), stock.rsplit('/').next())
    );
    assert_eq!(
        get(&system, &order).await["entryId"],
        system.find("Entry", json!({})).await[0]["objectId"]
    );
    // The trigger of the class inside refuses, and so the outer save fails with its code.
    let refused = system
        .call(Method::POST, "classes/Order", json!({"name": "lamp"}))
        .await;
    assert_eq!(refused.expect_error(400, 409), "sold out");
    system
        .call(Method::POST, "classes/Order", json!({"name": "chair"}))
        .await
        .expect_error(400, 404);
    assert_eq!(
        (
            system.find("Order", json!({})).await.len(),
            get(&system, &stock).await["left"].as_i64()
        ),
        (1, Some(0))
    );
}

#[tokio::test]
async fn a_trigger_sets_pointers_relations_and_keys_inside_objects() {
    let system = System::start(
        r#"
        Parse.Cloud.beforeSave("Team", async ({ object }) => {
          const member = await new Parse.Object("Member").save({ n: 1 });
          object.relation("members").add(member);
          object.set("lead", member);
          object.set("address.city", "Graz");
        });
        "#,
    )
    .await;
    let (path, created) = create(&system, "Team", json!({"address": {"street": "Ring 1"}})).await;
    let stored = get(&system, &path).await;
    assert_eq!(
        stored["address"],
        json!({"street": "Ring 1", "city": "Graz"})
    );
    let member = system.find("Member", json!({})).await.remove(0);
    assert_eq!(
        (&stored["lead"]["objectId"], &created["lead"]),
        (&member["objectId"], &stored["lead"])
    );
    assert_eq!(
        stored["members"],
        json!({"__type": "Relation", "className": "Member"})
    );
    let team = json!({"__type": "Pointer", "className": "Team", "objectId": created["objectId"]});
    let related = system
        .find(
            "Member",
            json!({"$relatedTo": {"object": team, "key": "members"}}),
        )
        .await;
    assert_eq!(
        (related.len(), &related[0]["objectId"]),
        (1, &member["objectId"])
    );
}

#[tokio::test]
async fn handlers_that_wait_for_one_another_without_end_are_stopped() {
    let system = System::start(
        r#"
        Parse.Cloud.define("again", () => Parse.Cloud.run("again"));
        Parse.Cloud.beforeSave("Doll", async () => { await new Parse.Object("Doll").save(); });
        "#,
    )
    .await;
    let called = system
        .call(Method::POST, "functions/again", json!({}))
        .await;
    assert!(
        called
            .expect_error(400, 141)
            .contains("wait for one another")
    );
    let saved = system.call(Method::POST, "classes/Doll", json!({})).await;
    assert!(
        saved
            .expect_error(400, 141)
            .contains("wait for one another")
    );
    assert!(system.find("Doll", json!({})).await.is_empty());
}
