//! HTTP requests that cloud code makes.

use reqwest::Method;
use serde_json::{Value, json};

use super::listener::Listener;
use crate::system::System;

const FETCH: &str = r#"
    Parse.Cloud.define("fetch", async ({ params }) => {
      const response = await fetch(params.url, params.options);
      const text = await response.text();
      return { status: response.status, ok: response.ok, type: response.headers.get("content-type"), text };
    });
    "#;

#[tokio::test]
async fn fetch_sends_and_receives() {
    let system = System::start(FETCH).await;
    let listener = Listener::start().await;
    let options = json!({
        "method": "POST", "headers": {"X-Key": "k1", "Content-Type": "application/json"}, "body": "{\"text\":\"ä\"}",
    });
    let call = system.function(
        "fetch",
        json!({"url": listener.url("/path?q=1"), "options": options}),
    );
    let (answered, asked) = tokio::join!(call, async {
        let held = listener.next().await;
        let asked = (
            held.line.clone(),
            held.body.clone(),
            held.headers.contains(&"x-key: k1".to_owned()),
        );
        held.answer_with(418, "content-type: text/special", "grüße")
            .await;
        asked
    });
    assert_eq!(
        asked,
        ("POST /path?q=1".into(), "{\"text\":\"ä\"}".into(), true)
    );
    assert_eq!(
        answered,
        json!({"status": 418, "ok": false, "type": "text/special", "text": "grüße"})
    );
}

#[tokio::test]
async fn fetches_of_one_handler_run_side_by_side() {
    let system = System::start(
        "Parse.Cloud.define('both', async ({ params }) => {
           const texts = await Promise.all(params.urls.map(async (url) => (await fetch(url)).text()));
           return texts.join();
         });",
    )
    .await;
    let listener = Listener::start().await;
    let call = system.function(
        "both",
        json!({"urls": [listener.url("/1"), listener.url("/2")]}),
    );
    let (answered, ()) = tokio::join!(call, async {
        // Neither is answered before both have come.
        let (one, two) = (listener.next().await, listener.next().await);
        for held in [two, one] {
            let text = held.line.trim_start_matches("GET /").to_owned();
            held.answer(200, &text).await;
        }
    });
    assert_eq!(answered, "1,2");
}

#[tokio::test]
async fn a_redirect_is_followed_and_a_dead_end_is_an_error() {
    let system = System::start(FETCH).await;
    let (first, second) = (Listener::start().await, Listener::start().await);
    let call = system.function("fetch", json!({"url": first.url("/")}));
    let (answered, ()) = tokio::join!(call, async {
        let location = format!("location: {}", second.url("/there"));
        first.next().await.answer_with(302, &location, "").await;
        let held = second.next().await;
        assert_eq!(held.line, "GET /there");
        held.answer(200, "arrived").await;
    });
    assert_eq!(
        (&answered["status"], &answered["text"]),
        (&json!(200), &json!("arrived"))
    );

    let url = second.url("/");
    drop(second);
    let refused = system
        .call(Method::POST, "functions/fetch", json!({"url": url}))
        .await;
    let message = refused.expect_error(400, 141);
    assert!(message.contains("fetch failed"), "{message}");
}

/// Forms of an address that is this machine, or private, or the cloud's own.
const INWARD: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "http://localhost:PORT/",
    "http://localhost.:PORT/",
    "http://[::1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://0.0.0.0:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f.1:PORT/",
    "http://017700000001:PORT/",
    "http://127.1:PORT/",
    "http://user:pass@127.0.0.1:PORT/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://172.16.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://100.64.0.1/",
    "file:///etc/passwd",
    "ftp://127.0.0.1:PORT/",
    "gopher://127.0.0.1:PORT/",
];

#[tokio::test]
async fn private_addresses_are_out_of_reach_by_default() {
    let mut system = System::prepare(FETCH).await;
    system
        .set("egress_private", false)
        .serve("proxy,capture,dispatch,worker");
    let listener = Listener::start().await;
    for form in INWARD {
        let url = form.replace("PORT", &listener.port().to_string());
        let reply = system
            .call(Method::POST, "functions/fetch", json!({"url": url}))
            .await;
        assert!(!reply.expect_error(400, 141).is_empty(), "{url}");
    }
    assert!(!listener.was_connected(), "a request got through");
}

#[tokio::test]
async fn one_private_host_can_be_allowed() {
    let mut system = System::prepare(FETCH).await;
    let (allowed, other) = (Listener::start().await, Listener::start().await);
    system
        .set("egress_private", false)
        .set("egress_allow", format!("127.0.0.1:{}", allowed.port()));
    system.serve("proxy,capture,dispatch,worker");
    let call = system.function("fetch", json!({"url": allowed.url("/")}));
    let (answered, ()) = tokio::join!(call, async {
        allowed.next().await.answer(200, "inside").await
    });
    assert_eq!(answered["text"], "inside");
    // What is allowed may not lead to what is not.
    let call = system.call(
        Method::POST,
        "functions/fetch",
        json!({"url": allowed.url("/")}),
    );
    let (redirected, ()) = tokio::join!(call, async {
        let location = format!("location: {}", other.url("/"));
        allowed.next().await.answer_with(302, &location, "").await;
    });
    redirected.expect_error(400, 141);
    assert!(!other.was_connected());
}

#[tokio::test]
async fn a_repeated_attempt_sends_the_same_idempotency_key() {
    let mut system = System::prepare(
        "Parse.Cloud.afterSave('Item', async ({ object }) => {
           const response = await fetch(object.get('url'), { method: 'POST', body: 'pay' });
           if (!response.ok) throw new Error('not paid');
         });",
    )
    .await;
    system
        .set("trigger_backoff_ms", 10)
        .serve("proxy,capture,dispatch,worker");
    let listener = Listener::start().await;
    let none = [("X-Tidegate-Wait", "none")];
    for _ in 0..2 {
        system
            .request(
                Method::POST,
                "classes/Item",
                json!({"url": listener.url("/")}),
                &none,
            )
            .await;
    }
    let mut keys: Vec<String> = Vec::new();
    for status in [500, 500, 500, 200, 200] {
        let held = listener.next().await;
        keys.extend(
            held.headers
                .iter()
                .find_map(|header| header.strip_prefix("idempotency-key: "))
                .map(str::to_owned),
        );
        held.answer(status, "").await;
    }
    system.wait_until_settled().await;
    let mut distinct: Vec<Value> = keys.iter().map(|key| json!(key)).collect();
    distinct.sort_by_key(Value::to_string);
    distinct.dedup();
    assert_eq!(
        (keys.len(), distinct.len()),
        (5, 2),
        "each event its own, each attempt the same: {keys:?}"
    );
}
