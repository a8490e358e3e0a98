//! Functions and triggers that never end or take too much, and those who work beside them.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::process::wait_until_burning;
use super::{HOSTILE, all_succeed, call};
use crate::code::listener::Listener;
use crate::system::{APP_ID, System};

/// Functions of [`HOSTILE`] that never end, each of which is ended by another means.
const ENDLESS: &[&str] = &["loop", "native", "microtasks", "regex", "never"];

/// Those that take more than there is of something, and the words of the error that their callers get.
const EXHAUSTING: &[(&str, &str)] = &[
    ("memory", "memory"),
    ("string", "string too long"),
    ("recursion", "call stack"),
    ("output", "too large"),
    ("circular", "call stack"),
];

#[tokio::test]
async fn a_function_that_never_ends_costs_its_caller_one_error_and_nobody_else_anything() {
    let mut system = System::prepare(HOSTILE).await;
    system
        .set("function_timeout_ms", 2000)
        .serve("proxy,capture,dispatch,worker");
    for name in ENDLESS {
        let endless = join_all((0..3).map(|_| call(&system, name, json!({}))));
        let polite = all_succeed(&system, "polite", 20, name);
        let saving = all_succeed(&system, "saving", 10, name);
        let (endless, (), ()) = tokio::join!(endless, polite, saving);
        for reply in endless {
            let message = reply.expect_error(400, 124);
            let expected = format!("function {name} was ended: it took longer than 2 s");
            assert_eq!(message, expected);
        }
    }
    let saved = system.find("Entry", json!({})).await.len();
    assert_eq!(saved, 10 * ENDLESS.len(), "none saved twice");
}

#[tokio::test]
async fn a_function_that_takes_too_much_costs_its_caller_one_error_and_nobody_else_anything() {
    let mut system = System::prepare(HOSTILE).await;
    system
        .set("isolate_memory_mb", 64)
        .serve("proxy,capture,dispatch,worker");
    for (name, words) in EXHAUSTING {
        let exhausting = join_all((0..3).map(|_| call(&system, name, json!({}))));
        let (exhausting, ()) = tokio::join!(exhausting, all_succeed(&system, "polite", 30, name));
        for reply in exhausting {
            let message = reply.expect_error(400, 141);
            assert!(message.contains(words), "{name}: {message}");
        }
    }
    all_succeed(&system, "saving", 10, "nothing").await;
}

#[tokio::test]
async fn those_who_had_begun_before_it_finish_while_it_burns() {
    let mut system = System::prepare(HOSTILE).await;
    // It burns for longer than any test may take: nobody can finish by waiting for its end.
    system.set("function_timeout_ms", 600_000);
    let server = system.serve("proxy,capture,dispatch,worker");
    let pid = system.server(server).pid();
    for name in ["loop", "native"] {
        let listener = Listener::start().await;
        let params = json!({"url": listener.url("/"), "beside": name});
        let begun = join_all((0..6).map(|_| call(&system, "held", params.clone())));
        let burn = async {
            let mut held = Vec::new();
            for _ in 0..6 {
                held.push(listener.next().await);
            }
            let url = format!("{}/parse/functions/{name}", system.url());
            for _ in 0..3 {
                let request = reqwest::Client::new().post(&url);
                tokio::spawn(request.header("X-Parse-Application-Id", APP_ID).send());
            }
            wait_until_burning(pid).await;
            for held in held {
                held.answer(200, "answered").await;
            }
        };
        let (begun, ()) = tokio::join!(begun, burn);
        for reply in begun {
            assert_eq!(reply.body, json!({"result": "answered"}), "beside {name}");
        }
        let steps = system.find("Step", json!({"beside": name})).await;
        assert_eq!(steps.len(), 12, "two of each call, none twice");
    }
}

#[tokio::test]
async fn a_hostile_trigger_writes_nothing_and_stops_nobody() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.beforeSave("Item", ({ object }) => {
          if (object.get("n") === 0) while (true) {}
          object.set("ran", true);
        });
        Parse.Cloud.afterSave("Slow", async ({ object }) => {
          if (object.get("n") === 0) [].join.call({ length: 2 ** 53 - 1 });
          await new Parse.Object("Done").save({ n: object.get("n") }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    system
        .set("trigger_timeout_ms", 3000)
        .set("trigger_attempts", 1);
    system.serve("proxy,capture,dispatch,worker");
    let save = async |class: &str, n: usize| {
        system
            .request(
                Method::POST,
                &format!("classes/{class}"),
                json!({"n": n}),
                &[("X-Tidegate-Wait", "none")],
            )
            .await
    };
    let mut replies = join_all((0..10).map(|n| save("Item", n))).await;
    let hostile = replies.remove(0);
    let message = hostile.expect_error(400, 124);
    assert!(message.contains("beforeSave trigger of Item"), "{message}");
    for reply in replies {
        assert_eq!(
            (reply.status, &reply.body["ran"]),
            (201, &json!(true)),
            "{}",
            reply.body
        );
    }
    assert_eq!(system.find("Item", json!({})).await.len(), 9);

    let replies = join_all((0..10).map(|n| save("Slow", n))).await;
    assert!(replies.iter().all(|reply| reply.status == 201));
    system.wait_for_objects("Done", json!({}), 9).await;
    system.wait_until_settled().await;
    let dead = "select count(*) from tidegate.outcome where status = 'dead'";
    let dead: i64 = system
        .sql()
        .await
        .query_one(dead, &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(
        (dead, system.find("Done", json!({})).await.len()),
        (1, 9),
        "the hostile one alone is a dead letter"
    );
}

#[tokio::test]
async fn what_a_function_did_before_it_failed_stays_done() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.define("half", async ({ params }) => {
          await new Parse.Object("Step").save({ how: params.how });
          if (params.how === "throw") throw new Parse.Error(999, "halfway");
          if (params.how === "loop") while (true) {}
          await new Promise(() => {});
        });
        "#,
    )
    .await;
    system
        .set("function_timeout_ms", 300)
        .serve("proxy,capture,dispatch,worker");
    for (how, code) in [("throw", 999), ("loop", 124), ("never", 124)] {
        let reply = call(&system, "half", json!({"how": how})).await;
        assert!(!reply.expect_error(400, code).is_empty());
        // Once: a run that has had an effect is not run again by itself.
        assert_eq!(
            system.find("Step", json!({"how": how})).await.len(),
            1,
            "{how}"
        );
    }
}
