//! Requests and logs that are too large.

use serde_json::{Value, json};

use super::call;
use crate::system::{APP_ID, System};

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut system =
        System::prepare("Parse.Cloud.define('length', ({ params }) => params.text.length)").await;
    system
        .set("max_body_bytes", 1000)
        .serve("proxy,capture,dispatch,worker");
    let frame = json!({"text": ""}).to_string().len();
    let text = |bytes: usize| json!({"text": "x".repeat(bytes - frame)});
    assert_eq!(
        call(&system, "length", text(1000)).await.body,
        json!({"result": 1000 - frame})
    );
    for bytes in [1001, 100_000] {
        let reply = call(&system, "length", text(bytes)).await;
        assert!(
            reply.expect_error(413, 116).contains("1000 bytes"),
            "{}",
            reply.body
        );
    }
    let deep = format!("{}1{}", "[".repeat(400), "]".repeat(400));
    let request = reqwest::Client::new().post(format!("{}/parse/functions/length", system.url()));
    let request = request.header("X-Parse-Application-Id", APP_ID);
    let reply: Value = request
        .body(format!(r#"{{"text":{deep}}}"#))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(reply["code"], 107, "{reply}");
}

#[tokio::test]
async fn a_handler_that_talks_too_much_is_cut_off_and_nothing_else_is() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.define("flood", () => {
          for (let n = 0; n < 100; n += 1) console.log("FLOOD " + "x".repeat(100_000));
          for (let n = 0; n < 10_000; n += 1) console.log("FLOOD " + "y".repeat(1000));
          return "done";
        });
        Parse.Cloud.define("talk", () => console.log("TALK"));
        "#,
    )
    .await;
    let server = system.serve("proxy,capture,dispatch,worker");
    assert_eq!(system.function("flood", json!({})).await, "done");
    system.function("talk", json!({})).await;
    system.server(server).wait_for("TALK");
    let lines = system.server(server).wait_for_lines("FLOOD", 1);
    let lengths: Vec<usize> = lines
        .iter()
        .map(|line| line["message"].as_str().unwrap().len())
        .collect();
    assert!(
        lengths.iter().all(|length| *length <= 8 * 1024 + 10),
        "a line has at most 8 KiB"
    );
    assert!(
        lengths.iter().sum::<usize>() <= 3 * 1024 * 1024,
        "{} bytes of one run",
        lengths.iter().sum::<usize>()
    );
}
