//! Wait tokens: a later request, at whatever process, reads what the after-triggers of an earlier write have written.

use std::pin::pin;

use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::code::listener::Listener;
use crate::system::{Reply, System, breathe};

/// Runs until the test answers, and then writes.
const HELD: &str = r#"
Parse.Cloud.afterSave("Order", async ({ object, attempt }) => {
  await fetch(object.get("url"), { method: "POST" });
  await new Parse.Object("Result").save({ of: object.id }, { useMasterKey: true });
  if (object.get("fails") && attempt === 1) throw new Error("not yet");
});
Parse.Cloud.afterDelete("Order", async ({ object }) => {
  await new Parse.Object("Result").save({ gone: object.id }, { useMasterKey: true });
});
"#;

const NO_WAIT: (&str, &str) = ("X-Tidegate-Wait", "none");

/// Two proxies and a worker in processes of their own; the last proxy is the one that is asked.
async fn split() -> (System, String) {
    let mut system = System::prepare(HELD).await;
    // Long enough that no test waits for the second attempt by chance.
    system.set("trigger_backoff_ms", 600_000);
    system.set("trigger_max_backoff_ms", 600_000);
    system.serve("capture,dispatch,worker");
    let first = system.serve("proxy");
    let first = system.server(first).url.clone().unwrap();
    system.serve("proxy");
    (system, first)
}

/// A write at the process with this URL, and its token.
async fn write(system: &System, url: &str, path: &str, body: Value) -> (Reply, String) {
    let reply = system
        .request_at(url, Method::POST, path, body, &[NO_WAIT])
        .await;
    let token = reply
        .header("X-Tidegate-Token")
        .expect("a token")
        .to_owned();
    assert_eq!(reply.header("X-Tidegate-Wait"), None);
    (reply, token)
}

async fn results(system: &System, token: &str, timeout_ms: &str) -> Reply {
    let headers = [
        ("X-Tidegate-Token", token),
        ("X-Tidegate-Wait-Timeout-Ms", timeout_ms),
    ];
    let query = json!({"_method": "GET"});
    system
        .request(Method::POST, "classes/Result", query, &headers)
        .await
}

fn found(reply: &Reply) -> usize {
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body["results"].as_array().unwrap().len()
}

#[tokio::test]
async fn another_process_reads_after_the_triggers_of_a_write() {
    let (system, first) = split().await;
    let listener = Listener::start().await;
    let order = json!({"url": listener.url("/")});
    let (_, token) = write(&system, &first, "classes/Order", order).await;
    let held = listener.next().await;
    let mut reading = pin!(results(&system, &token, "30000"));
    for _ in 0..20 {
        breathe().await;
        assert!(reading.as_mut().now_or_never().is_none(), "it has to wait");
    }
    held.answer(200, "").await;
    let reply = reading.await;
    assert_eq!(found(&reply), 1);
    assert_eq!(reply.header("X-Tidegate-Wait"), Some("done"));
    // And later again: there is nothing left to wait for.
    let reply = results(&system, &token, "30000").await;
    assert_eq!(
        (found(&reply), reply.header("X-Tidegate-Wait")),
        (1, Some("done"))
    );
}

#[tokio::test]
async fn a_wait_that_takes_too_long_ends_and_the_request_is_answered_all_the_same() {
    let (system, first) = split().await;
    let listener = Listener::start().await;
    let order = json!({"url": listener.url("/")});
    let (_, token) = write(&system, &first, "classes/Order", order).await;
    let held = listener.next().await;
    let reply = results(&system, &token, "50").await;
    assert_eq!(
        (found(&reply), reply.header("X-Tidegate-Wait")),
        (0, Some("timeout"))
    );
    held.answer(200, "").await;
}

#[tokio::test]
async fn all_writes_of_a_batch_are_waited_for_and_a_first_attempt_is_enough() {
    let (system, first) = split().await;
    let listener = Listener::start().await;
    let create = |fails: bool| {
        let order = json!({"url": listener.url("/"), "fails": fails});
        json!({"method": "POST", "path": "/parse/classes/Order", "body": order})
    };
    let batch = json!({"requests": [create(true), create(false), create(true)]});
    let (_, tokens) = write(&system, &first, "batch", batch).await;
    assert_eq!(tokens.split(',').count(), 3);
    let reading = results(&system, &tokens, "30000");
    let (reply, ()) = tokio::join!(reading, async {
        for _ in 0..3 {
            listener.next().await.answer(200, "").await;
        }
    });
    assert_eq!(
        (found(&reply), reply.header("X-Tidegate-Wait")),
        (3, Some("done"))
    );
    let both = json!({"requests": [create(false), create(false)], "transaction": true});
    let (_, token) = write(&system, &first, "batch", both).await;
    let reading = results(&system, &token, "30000");
    let (reply, ()) = tokio::join!(reading, async {
        for _ in 0..2 {
            listener.next().await.answer(200, "").await;
        }
    });
    assert_eq!((found(&reply), token.contains(',')), (5, false));
}

#[tokio::test]
async fn a_deletion_has_a_token_and_a_write_without_triggers_has_none() {
    let (system, first) = split().await;
    let reply = system
        .call(Method::POST, "classes/Other", json!({"n": 1}))
        .await;
    assert_eq!(
        (reply.status, reply.header("X-Tidegate-Token")),
        (201, None)
    );
    let listener = Listener::start().await;
    let order = json!({"url": listener.url("/")});
    let (reply, _) = write(&system, &first, "classes/Order", order).await;
    listener.next().await.answer(200, "").await;
    let path = format!("classes/Order/{}", reply.body["objectId"].as_str().unwrap());
    let reply = system
        .request_at(&first, Method::DELETE, &path, Value::Null, &[NO_WAIT])
        .await;
    let token = reply.header("X-Tidegate-Token").unwrap().to_owned();
    assert_eq!(found(&results(&system, &token, "30000").await), 2);
}

#[tokio::test]
async fn a_malformed_token_is_refused_before_anything_is_done() {
    let system = System::start(HELD).await;
    for (name, value, names) in [
        ("X-Tidegate-Token", "nonsense", "X-Tidegate-Token"),
        (
            "X-Tidegate-Wait-Timeout-Ms",
            "soon",
            "X-Tidegate-Wait-Timeout-Ms",
        ),
    ] {
        let reply = system
            .request(Method::POST, "classes/Other", json!({}), &[(name, value)])
            .await;
        let message = reply.expect_error(400, 107);
        assert!(message.contains(names), "{message}");
    }
    assert!(system.find("Other", json!({})).await.is_empty());
}
