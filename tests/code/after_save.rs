//! afterSave: what follows a commit.

use reqwest::Method;
use serde_json::{Value, json};

use super::listener::Listener;
use crate::system::System;
use crate::users::{as_user, sign_up};

#[tokio::test]
async fn a_trigger_sees_the_write_and_who_made_it() {
    let system = System::start(
        r#"
        Parse.Cloud.beforeSave("Item", ({ object, context }) => {
          object.set("checked", true);
          context.from = "beforeSave";
        });
        Parse.Cloud.afterSave("Item", async (request) => {
          const { object, original, user, master, ip, installationId, headers, context, triggerName, source } = request;
          await new Parse.Object("Seen").save({
            item: object.id, n: object.get("n"), checked: object.get("checked"), existed: object.existed(),
            updated: object.updatedAt instanceof Date, original: original ? original.get("n") : 0,
            dirty: object.dirtyKeys().sort(), user: user ? [user.id, user.get("username")] : [],
            token: user?.getSessionToken() ?? "none", master, ip, installationId, context, triggerName, source,
            agent: headers["user-agent"], secret: JSON.stringify(headers).includes("r:"),
          }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    let (ada, token) = sign_up(&system, "ada").await;
    let headers = [
        ("X-Parse-Session-Token", &*token),
        ("X-Parse-Installation-Id", "phone-1"),
        ("X-Parse-Cloud-Context", r#"{"trace":1}"#),
        ("User-Agent", "a test"),
    ];
    let created = system
        .request(Method::POST, "classes/Item", json!({"n": 1}), &headers)
        .await;
    assert_eq!(
        (created.status, &created.body["checked"]),
        (201, &json!(true))
    );
    let id = created.body["objectId"].as_str().unwrap();
    let increment = json!({"n": {"__op": "Increment", "amount": 2}});
    assert_eq!(
        system
            .master(Method::PUT, &format!("classes/Item/{id}"), increment)
            .await
            .status,
        200
    );

    let seen = system.find("Seen", json!({})).await;
    let expected = json!({
        "item": id, "n": 1, "checked": true, "existed": false, "updated": true, "original": 0,
        "dirty": ["checked", "n"], "user": [ada, "ada"], "token": "none", "master": false, "ip": "127.0.0.1",
        "installationId": "phone-1", "context": {"trace": 1, "from": "beforeSave"}, "triggerName": "afterSave",
        "source": "api", "agent": "a test", "secret": false,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&seen[0][field], value, "{field} of the create");
    }
    let expected = json!({"n": 3, "existed": true, "original": 1, "dirty": ["checked", "n"], "user": [], "master": true});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&seen[1][field], value, "{field} of the update");
    }
    assert_eq!(seen.len(), 2);
}

const SLOW: &str = r#"
    Parse.Cloud.afterSave("Item", async ({ object }) => {
      await fetch(object.get("url"));
      await new Parse.Object("Done").save({ item: object.id }, { useMasterKey: true });
    });
    "#;

#[tokio::test]
async fn a_save_waits_for_its_after_triggers_unless_told_not_to() {
    let system = System::start(SLOW).await;
    let listener = Listener::start().await;
    let item = json!({"url": listener.url("/")});
    let save = async |headers: &[(&str, &str)]| {
        let reply = system
            .request(Method::POST, "classes/Item", item.clone(), headers)
            .await;
        (
            reply.header("x-tidegate-wait").map(str::to_owned),
            system.find("Done", json!({})).await.len(),
        )
    };
    let waiting = async {
        tokio::join!(save(&[]), async {
            listener.next().await.answer(200, "").await
        })
        .0
    };
    assert_eq!(waiting.await, (Some("done".into()), 1));
    // The trigger is held until after the answer: a save that waited would never be answered.
    assert_eq!(save(&[("X-Tidegate-Wait", "none")]).await, (None, 1));
    listener.next().await.answer(200, "").await;
    system.wait_for_objects("Done", json!({}), 2).await;
}

#[tokio::test]
async fn a_save_waits_only_so_long() {
    let mut system = System::prepare(SLOW).await;
    system
        .set("wait_timeout_ms", 50)
        .serve("proxy,capture,dispatch,worker");
    let listener = Listener::start().await;
    let saved = system
        .call(
            Method::POST,
            "classes/Item",
            json!({"url": listener.url("/")}),
        )
        .await;
    assert_eq!(
        (saved.status, saved.header("x-tidegate-wait")),
        (201, Some("timeout"))
    );
    assert_eq!(system.find("Done", json!({})).await.len(), 0);
    listener.next().await.answer(200, "").await;
    system.wait_for_objects("Done", json!({}), 1).await;
}

#[tokio::test]
async fn a_batch_waits_for_the_triggers_of_all_its_writes() {
    let system = System::start(
        "Parse.Cloud.afterSave('Item', ({ object }) => new Parse.Object('Done').save({ n: object.get('n') }))",
    )
    .await;
    for transaction in [false, true] {
        let item =
            |n: u32| json!({"method": "POST", "path": "/parse/classes/Item", "body": {"n": n}});
        let items: Vec<Value> = (0..5).map(item).collect();
        let reply = system
            .call(
                Method::POST,
                "batch",
                json!({"requests": items, "transaction": transaction}),
            )
            .await;
        assert_eq!(
            (reply.status, reply.header("x-tidegate-wait")),
            (200, Some("done"))
        );
        let done = 5 * (1 + usize::from(transaction));
        assert_eq!(system.find("Done", json!({})).await.len(), done);
    }
}

#[tokio::test]
async fn a_trigger_that_throws_fails_no_request_and_is_tried_again() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.afterSave("Item", async ({ object, attempt, eventId }) => {
          await new Parse.Object("Tried").save({ attempt, eventId }, { useMasterKey: true });
          if (attempt < 3) throw new Error("not yet");
        }, { effects: "off" });
        "#,
    )
    .await;
    system
        .set("trigger_backoff_ms", 10)
        .serve("proxy,capture,dispatch,worker");
    let saved = system
        .call(Method::POST, "classes/Item", json!({"n": 1}))
        .await;
    assert_eq!(
        (saved.status, saved.header("x-tidegate-wait")),
        (201, Some("done"))
    );
    let tried = system.wait_for_objects("Tried", json!({}), 3).await;
    system.wait_until_settled().await;
    assert_eq!(
        tried
            .iter()
            .map(|one| one["attempt"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(
        tried
            .iter()
            .all(|one| one["eventId"].is_string() && one["eventId"] == tried[0]["eventId"])
    );
    assert_eq!(
        system.find("Tried", json!({})).await.len(),
        3,
        "it succeeded, and was not run again"
    );
}

#[tokio::test]
async fn the_versions_of_an_object_arrive_in_the_order_of_their_commits() {
    let system = System::start(
        "Parse.Cloud.afterSave('Item', async ({ object }) => {
           await new Promise((resolve) => setTimeout(resolve, 3 * (5 - object.get('n') % 5)));
           await new Parse.Object('Seen').save({ item: object.id, n: object.get('n') }, { useMasterKey: true });
         })",
    )
    .await;
    let none = [("X-Tidegate-Wait", "none")];
    let mut paths = Vec::new();
    for _ in 0..3 {
        let created = system
            .request(Method::POST, "classes/Item", json!({"n": 0}), &none)
            .await;
        paths.push(format!(
            "classes/Item/{}",
            created.body["objectId"].as_str().unwrap()
        ));
    }
    for n in 1..10 {
        for path in &paths {
            system
                .request(Method::PUT, path, json!({"n": n}), &none)
                .await;
        }
    }
    system.wait_for_objects("Seen", json!({}), 30).await;
    for path in &paths {
        let seen = system
            .find("Seen", json!({"item": path.rsplit('/').next()}))
            .await;
        assert_eq!(
            seen.iter()
                .map(|one| one["n"].as_u64().unwrap())
                .collect::<Vec<_>>(),
            Vec::from_iter(0..10)
        );
    }
}

#[tokio::test]
async fn a_trigger_that_saves_what_fires_it_is_stopped() {
    let mut system = System::prepare(
        "Parse.Cloud.afterSave('Loop', ({ object }) => { object.increment('n'); return object.save(null, { useMasterKey: true }); })",
    )
    .await;
    system
        .set("trigger_attempts", 1)
        .serve("proxy,capture,dispatch,worker");
    system
        .call(Method::POST, "classes/Loop", json!({"n": 0}))
        .await;
    system.wait_for_objects("Loop", json!({"n": 16}), 1).await;
    system.wait_until_settled().await;
    assert_eq!(system.find("Loop", json!({})).await[0]["n"], 16);
    let sql = system.sql().await;
    let dead = sql
        .query(
            "select error from tidegate.outcome where status = 'dead'",
            &[],
        )
        .await
        .unwrap();
    let error: String = dead[0].get(0);
    assert!(
        dead.len() == 1 && error.contains("16 triggers in a row"),
        "{error}"
    );
}

#[tokio::test]
async fn an_after_trigger_sees_users_without_their_secrets() {
    let system = System::start(
        r#"
        Parse.Cloud.afterSave(Parse.User, async ({ object, original }) => {
          await new Parse.Object("Seen").save({
            name: object.get("username"), text: JSON.stringify([object, original, object.dirtyKeys()]),
          }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    let (id, token) = sign_up(&system, "ada").await;
    as_user(
        &system,
        &token,
        Method::PUT,
        &format!("users/{id}"),
        json!({"password": "new one", "city": "Graz"}),
    )
    .await;
    let seen = system
        .wait_for_objects("Seen", json!({"name": "ada"}), 2)
        .await;
    assert!(
        seen[1]["text"].as_str().unwrap().contains("Graz"),
        "{}",
        seen[1]
    );
    let sql = system.sql().await;
    let events = "select coalesce(string_agg(event::text, ' '), '') from tidegate.event event";
    let log: String = sql.query_one(events, &[]).await.unwrap().get(0);
    for text in [
        seen[0]["text"].as_str().unwrap(),
        seen[1]["text"].as_str().unwrap(),
        &log,
    ] {
        let secrets = ["_hashed_password", "$2", &token, "correct horse", "new one"];
        let shown: Vec<&str> = secrets
            .into_iter()
            .filter(|secret| text.contains(*secret))
            .collect();
        assert!(shown.is_empty(), "{shown:?} in {text}");
    }
    assert!(log.contains("Graz"), "the log was read: {log}");
}
