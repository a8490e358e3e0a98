//! After-triggers that are HTTP endpoints: from `tidegate.toml`, and set through Parse's hooks API.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::code::listener::{Held, Listener};
use crate::system::{System, repository};

const NOTE: &str = r#"
    Parse.Cloud.afterSave("Item", (request) =>
      new Parse.Object("Run").save({ n: request.object.get("n") }, { useMasterKey: true }));
    "#;

async fn configured(main_js: &str, more: &str) -> (System, Listener) {
    let mut system = System::prepare(main_js).await;
    let listener = Listener::start().await;
    let text = format!(
        "webhook_key = 'parse-key'\n[[webhooks]]\nname = 'billing'\nclass = 'Item'\non = ['afterSave', 'afterDelete']\n\
         url = '{}'\nsecret = 's3cret'\nbackoff_ms = 1\n{more}",
        listener.url("/hook?x=1")
    );
    std::fs::write(system.project.path().join("tidegate.toml"), text).unwrap();
    system.set("wait", false);
    system.serve("proxy,capture,dispatch,worker");
    (system, listener)
}

fn header<'a>(request: &'a Held, name: &str) -> &'a str {
    let found = request.headers.iter();
    let mut found = found.filter_map(|header| header.strip_prefix(&format!("{name}: ")));
    found
        .next()
        .unwrap_or_else(|| panic!("no {name}: {:?}", request.headers))
}

async fn save(system: &System, fields: Value) -> String {
    let reply = system.master(Method::POST, "classes/Item", fields).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.body["objectId"].as_str().unwrap().to_owned()
}

/// Checks the signature as the README tells people to.
fn is_signed(system: &System, request: &Held, secret: &str) -> bool {
    let readme = std::fs::read_to_string(repository().join("crates/worker/README.md")).unwrap();
    let (_, rest) = readme
        .split_once("```js\n")
        .expect("the README has the snippet");
    let (snippet, _) = rest.split_once("```").unwrap();
    let headers: Value = request
        .headers
        .iter()
        .filter_map(|header| header.split_once(": "))
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let body = json!(request.body);
    let program = format!(
        "{snippet}\nprocess.exit(isFromTidegate({headers}, {body}, {}) ? 0 : 9);",
        json!(secret)
    );
    let file = system.project.path().join("verify.mjs");
    std::fs::write(&file, program).unwrap();
    let code = Command::new("node").arg(&file).status().unwrap().code();
    assert!(matches!(code, Some(0 | 9)), "the snippet failed");
    code == Some(0)
}

#[tokio::test]
async fn an_endpoint_is_called_as_parse_server_does_and_can_tell_who_calls() {
    let (system, listener) = configured("", "").await;
    let id = save(&system, json!({"n": 1})).await;
    let created = listener.next().await;
    assert_eq!(created.line, "POST /hook?x=1");
    let body: Value = serde_json::from_str(&created.body).unwrap();
    assert_eq!(body["triggerName"], "afterSave");
    assert_eq!(body["object"]["className"], "Item");
    assert_eq!(
        (&body["object"]["objectId"], &body["object"]["n"]),
        (&json!(id), &json!(1))
    );
    assert_eq!(
        (&body["master"], &body["user"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(
        (&body["attempt"], &body["source"]),
        (&json!(1), &json!("api"))
    );
    assert!(body.get("original").is_none());
    assert_eq!(header(&created, "x-parse-webhook-key"), "parse-key");
    let event_id = body["eventId"].as_str().unwrap().to_lowercase();
    assert_eq!(header(&created, "x-tidegate-event-id"), event_id);
    assert!(header(&created, "idempotency-key").starts_with(&event_id));
    assert!(is_signed(&system, &created, "s3cret"));
    assert!(!is_signed(&system, &created, "another"));
    created.answer(200, r#"{"success":true}"#).await;

    let path = format!("classes/Item/{id}");
    system.master(Method::PUT, &path, json!({"n": 2})).await;
    let updated = listener.next().await;
    let body: Value = serde_json::from_str(&updated.body).unwrap();
    assert_eq!(
        (&body["object"]["n"], &body["original"]["n"]),
        (&json!(2), &json!(1))
    );
    updated.answer(204, "").await;
    system.master(Method::DELETE, &path, Value::Null).await;
    let deleted = listener.next().await;
    let body: Value = serde_json::from_str(&deleted.body).unwrap();
    assert_eq!(
        (&body["triggerName"], &body["object"]["n"]),
        (&json!("afterDelete"), &json!(2))
    );
    deleted.answer(200, "thanks").await;
    system.wait_until_settled().await;
}

#[tokio::test]
async fn a_failing_endpoint_is_tried_again_by_itself_until_it_is_gone() {
    let (system, listener) = configured(NOTE, "").await;
    let id = save(&system, json!({"n": 1})).await;
    system
        .master(Method::PUT, &format!("classes/Item/{id}"), json!({"n": 2}))
        .await;
    let first = listener.next().await;
    let key = header(&first, "idempotency-key").to_owned();
    // The code's triggers of the same object do not wait for the endpoint.
    system.wait_for_objects("Run", json!({}), 2).await;
    first.answer_with(503, "retry-after: 1", "").await;
    let second = listener.next().await;
    assert_eq!(header(&second, "idempotency-key"), key);
    let timestamp = |request: &Held| {
        header(request, "x-tidegate-timestamp")
            .parse::<u64>()
            .unwrap()
    };
    let asked_at = timestamp(&second);
    second.answer(200, r#"{"error":"sold out"}"#).await;
    let third = listener.next().await;
    let body: Value = serde_json::from_str(&third.body).unwrap();
    assert_eq!(
        (&body["attempt"], &body["object"]["n"]),
        (&json!(3), &json!(1))
    );
    assert!(timestamp(&third) >= asked_at);
    let client = system.sql().await;
    let sql = "select error from tidegate.outcome where trigger = 'afterSave:Item@billing'";
    let error: String = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(error, "the endpoint answered an error: sold out");
    third.answer(410, "").await;

    let next = listener.next().await;
    let body: Value = serde_json::from_str(&next.body).unwrap();
    assert_eq!(
        (&body["attempt"], &body["object"]["n"]),
        (&json!(1), &json!(2))
    );
    next.answer(200, "").await;
    system.wait_until_settled().await;
    let sql = "select attempts, error from tidegate.outcome where status = 'dead'";
    let dead = client.query_one(sql, &[]).await.unwrap();
    let (attempts, error): (i32, &str) = (dead.get(0), dead.get(1));
    assert_eq!((attempts, error), (3, "the endpoint answered 410"));
}

#[tokio::test]
async fn hooks_set_through_the_api_take_effect_in_every_process() {
    let mut system = System::prepare("").await;
    system.set("wait", false);
    system.serve("capture,dispatch,worker");
    system.serve("proxy");
    let listener = Listener::start().await;
    save(&system, json!({"n": 0})).await;
    let hook = json!({"className": "Item", "triggerName": "afterSave", "url": listener.url("/a")});
    let refused = system
        .call(Method::POST, "hooks/triggers", hook.clone())
        .await;
    assert_eq!(refused.status, 403);
    let created = system
        .master(Method::POST, "hooks/triggers", hook.clone())
        .await;
    assert_eq!(
        (created.status, &created.body),
        (200, &hook),
        "{}",
        created.body
    );
    let again = system
        .master(Method::POST, "hooks/triggers", hook.clone())
        .await;
    assert_eq!(
        again.expect_error(400, 143),
        "class Item already has trigger afterSave"
    );
    let listed = system
        .master(Method::GET, "hooks/triggers", Value::Null)
        .await;
    assert_eq!(listed.body, json!([hook]));
    for trigger in ["beforeSave", "nonsense"] {
        let mut other = hook.clone();
        other["triggerName"] = json!(trigger);
        let refused = system.master(Method::POST, "hooks/triggers", other).await;
        assert!(
            refused
                .expect_error(400, 143)
                .contains("afterSave and afterDelete only")
        );
    }
    let function = json!({"functionName": "f", "url": "http://x/"});
    let refused = system
        .master(Method::POST, "hooks/functions", function)
        .await;
    refused.expect_error(400, 143);

    const KNOWN: &str = "select 'afterSave:Item@hooks' = any(triggers) from tidegate.dispatch";
    system.wait_for_sql(KNOWN).await;
    system
        .wait_for_sql("select exists (select from pg_publication_tables where tablename = 'Item')")
        .await;
    save(&system, json!({"n": 1})).await;
    let called = listener.next().await;
    let body: Value = serde_json::from_str(&called.body).unwrap();
    assert_eq!(
        (&*called.line, &body["object"]["n"]),
        ("POST /a", &json!(1))
    );
    called.answer(200, "").await;

    let path = "hooks/triggers/Item/afterSave";
    let moved = json!({"url": listener.url("/b")});
    assert_eq!(system.master(Method::PUT, path, moved).await.status, 200);
    let delete = json!({"__op": "Delete"});
    assert_eq!(
        system.master(Method::PUT, path, delete).await.body,
        json!({})
    );
    let gone = system.master(Method::GET, path, Value::Null).await;
    assert_eq!(gone.expect_error(400, 143), "class Item does not exist");
    system
        .wait_for_sql("select not 'afterSave:Item@hooks' = any(triggers) from tidegate.dispatch")
        .await;
}
