//! `fetch` from cloud code: what it carries, where it may go, when it is cut off.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_cloud_code::{Cause, CloudCode, Config, Egress, Handler, Outcome, Run};
use tidegate_event::{EffectScope, Trigger, TriggerKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::{TestHost, call, config, function, limited, load_with};

const SOURCE: &str = "const fetch = (request, run) => run.host({ kind: 'fetch', method: 'GET', headers: [], ...request })
        .catch((error) => ({ failed: error.name, message: error.message }));
    define('fetch', fetch);
    trigger('afterSave', 'Order', fetch);
    define('abort', async (request, run) => {
        const pending = fetch(request, run);
        await run.host({ kind: 'rest', path: 'gate' });
        __native.call(run.id, 8888, JSON.stringify({ kind: 'abort', call: request.id }));
        return pending;
    });";

/// A web server that answers by path and remembers what it was sent.
struct Web {
    address: String,
    requests: Mutex<Vec<String>>,
    /// Told when a request has been read, and when a connection is closed by its client.
    seen: Notify,
    closed: Notify,
}

impl Web {
    async fn start() -> Arc<Web> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let web = Arc::new(Web {
            address,
            requests: Mutex::default(),
            seen: Notify::new(),
            closed: Notify::new(),
        });
        let served = web.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let web = served.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65536];
                    let length = stream.read(&mut buffer).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    web.requests.lock().unwrap().push(request);
                    web.seen.notify_one();
                    let answer = match path.split_once("/to/") {
                        Some((status, target)) => {
                            let status = status.trim_start_matches('/');
                            format!("HTTP/1.1 {status} Moved\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                        }
                        None if path == "/big" => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(17 << 20)),
                        None if path == "/never" => String::new(),
                        None => "HTTP/1.1 201 Created\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi".into(),
                    };
                    let _ = stream.write_all(answer.as_bytes()).await;
                    while answer.is_empty() && stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
                    web.closed.notify_one();
                });
            }
        });
        web
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn allowing(allow: &[&Web]) -> Arc<CloudCode> {
    let allow = allow.iter().map(|web| web.address.clone()).collect();
    let config = Config {
        egress: Egress {
            allow,
            allow_private: false,
        },
        ..config()
    };
    load_with(&config, SOURCE, &TestHost::new()).await.unwrap()
}

async fn fetch(code: &CloudCode, request: Value) -> Value {
    match call(code, "fetch", request).await {
        Outcome::Returned(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_carries_method_headers_and_body_and_the_answer_comes_back_whole() {
    let web = Web::start().await;
    let code = allowing(&[&web]).await;
    let request = json!({
        "method": "POST", "url": web.url("/a?b=c"), "body": "YWJj",
        "headers": [["x-one", "1"], ["x-one", "2"], ["host", "elsewhere"], ["content-length", "99"]],
    });
    let answer = fetch(&code, request).await;
    assert_eq!(answer["status"], 201);
    assert_eq!(answer["statusText"], "Created");
    assert_eq!(
        (&answer["url"], &answer["redirected"]),
        (&json!(web.url("/a?b=c")), &json!(false))
    );
    assert_eq!(answer["body"], "aGk=");
    let cookies = answer["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|header| header[0] == "set-cookie")
        .count();
    assert_eq!(cookies, 2);
    let sent = &web.requests()[0];
    assert!(
        sent.starts_with("POST /a?b=c HTTP/1.1\r\n") && sent.ends_with("\r\n\r\nabc"),
        "{sent}"
    );
    assert!(
        sent.contains("x-one: 1\r\nx-one: 2\r\n")
            && sent.contains(&format!("host: {}", web.address)),
        "{sent}"
    );
    assert!(
        sent.contains("content-length: 3") && !sent.contains("idempotency-key"),
        "{sent}"
    );
}

#[tokio::test]
async fn private_addresses_see_no_connection_unless_allowed() {
    let (allowed, canary) = (Web::start().await, Web::start().await);
    let code = allowing(&[&allowed]).await;
    let port = canary.address.rsplit_once(':').unwrap().1.to_owned();
    let mut urls: Vec<String> = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "localhost",
        "localhost.",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "ip6-localhost",
    ]
    .iter()
    .map(|host| format!("http://{host}:{port}/"))
    .collect();
    // A redirect is judged like a first request.
    urls.extend(
        [301, 302, 303, 307, 308]
            .map(|status| allowed.url(&format!("/{status}/to/{}", canary.url("/")))),
    );
    urls.extend([
        "file:///etc/passwd".into(),
        "ftp://127.0.0.1/".into(),
        "http://".into(),
        "nonsense".into(),
    ]);
    urls.push(allowed.url("/302/to/file:///etc/passwd"));
    for url in urls {
        let answer = fetch(&code, json!({ "url": url })).await;
        assert_eq!(answer["failed"], "TypeError", "{url}: {answer}");
    }
    assert_eq!(canary.requests(), [""; 0]);
    assert_eq!(
        fetch(&code, json!({ "url": allowed.url("/") })).await["status"],
        201
    );
}

#[tokio::test]
async fn redirects_are_followed_as_the_standard_says() {
    let (first, second) = (Web::start().await, Web::start().await);
    let code = allowing(&[&first, &second]).await;
    let post = |url: String| json!({"method": "POST", "url": url, "body": "YWJj", "headers": [["authorization", "secret"], ["content-type", "a/b"]]});
    let answer = fetch(
        &code,
        post(first.url(&format!("/302/to/{}", second.url("/end")))),
    )
    .await;
    assert_eq!(
        (&answer["url"], &answer["redirected"]),
        (&json!(second.url("/end")), &json!(true))
    );
    let sent = &second.requests()[0];
    assert!(
        sent.starts_with("GET /end")
            && !sent.contains("secret")
            && !sent.contains("a/b")
            && sent.ends_with("\r\n\r\n"),
        "{sent}"
    );
    fetch(&code, post(first.url("/307/to//same"))).await;
    let sent = first.requests().pop().unwrap();
    assert!(
        sent.starts_with("POST /") && sent.contains("secret") && sent.ends_with("abc"),
        "{sent}"
    );
    let manual = fetch(
        &code,
        json!({"url": first.url("/302/to//x"), "redirect": "manual"}),
    )
    .await;
    assert_eq!(manual["status"], 302);
    let error = fetch(
        &code,
        json!({"url": first.url("/302/to//x"), "redirect": "error"}),
    )
    .await;
    assert_eq!(error["message"], "fetch failed: the answer is a redirect");
    let endless = fetch(&code, json!({"url": first.url("/302/to/?again")})).await;
    assert_eq!(endless["message"], "fetch failed: too many redirects");
}

#[tokio::test]
async fn an_answer_over_the_limit_fails() {
    let web = Web::start().await;
    let code = allowing(&[&web]).await;
    let answer = fetch(&code, json!({ "url": web.url("/big") })).await;
    assert_eq!(
        answer["message"],
        "fetch failed: the answer is longer than 16777216 bytes"
    );
    let refused = fetch(&code, json!({"url": web.url("/"), "method": "BAD METHOD"})).await;
    assert_eq!(refused["failed"], "TypeError");
    let refused = fetch(
        &code,
        json!({"url": web.url("/"), "headers": [["a b", "c"]]}),
    )
    .await;
    assert!(
        refused["message"].as_str().unwrap().contains("malformed"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_request_ends_with_the_run_that_made_it() {
    let web = Web::start().await;
    let code = allowing(&[&web]).await;
    let limit = Duration::from_millis(200);
    let run = Run {
        request: json!({ "url": web.url("/never") }),
        ..limited("fetch", limit)
    };
    let (outcome, ()) = tokio::join!(code.run(run), web.seen.notified());
    assert_eq!(outcome, Outcome::TimedOut { after: limit });
    web.closed.notified().await;
}

#[tokio::test]
async fn an_aborted_request_is_closed_and_answered() {
    let web = Web::start().await;
    let host = TestHost::new();
    let config = Config {
        isolates: 1,
        egress: Egress {
            allow_private: true,
            ..Egress::default()
        },
        ..config()
    };
    let code = load_with(&config, SOURCE, &host).await.unwrap();
    // The stand-in runtime numbers its calls from 1: the fetch is the first.
    let run = code.run(function(
        "abort",
        json!({"url": web.url("/never"), "id": 1}),
    ));
    let (outcome, ()) = tokio::join!(run, async {
        web.seen.notified().await;
        host.gate.add_permits(1);
        web.closed.notified().await;
    });
    assert_eq!(
        outcome,
        Outcome::Returned(json!({"failed": "AbortError", "message": "This operation was aborted"}))
    );
}

/// Outbound HTTP cannot be made exactly once; its receiver can be told that it is the same again.
#[tokio::test]
async fn an_after_triggers_requests_carry_the_same_key_on_each_attempt() {
    let web = Web::start().await;
    let code = allowing(&[&web]).await;
    let scope = EffectScope {
        cause: "1-16.B374D848-2:afterSave:Order".into(),
        log_offset: Some(1),
        path: String::new(),
        is_recorded: true,
        earlier: Arc::default(),
    };
    let cause = Arc::new(Cause {
        effects: Some(scope),
        ..Cause::default()
    });
    let trigger = Trigger::code(TriggerKind::AfterSave, "Order");
    for headers in [json!([]), json!([]), json!([["Idempotency-Key", "own"]])] {
        let run = Run {
            handler: Handler::Trigger(trigger.clone()),
            cause: cause.clone(),
            ..function(
                "",
                json!({"method": "POST", "url": web.url("/"), "headers": headers}),
            )
        };
        assert!(matches!(code.run(run).await, Outcome::Returned(_)));
    }
    let keys: Vec<String> = (web.requests().iter())
        .map(|request| {
            request
                .lines()
                .find_map(|line| line.strip_prefix("idempotency-key: "))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        keys,
        [
            "1-16.B374D848-2:afterSave:Order:1",
            "1-16.B374D848-2:afterSave:Order:1",
            "own"
        ]
    );
}
