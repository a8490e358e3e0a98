//! How a run begins: by the routes of Parse, from cloud code, once however often it is asked for; and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use super::*;
use crate::code::listener::Listener;

const REPORT: &str = r#"
Parse.Cloud.job("report", async (request) => {
  await request.message(`working on ${request.params.day}`);
  await request.message(5);
  if (request.params.url) await fetch(request.params.url);
  return request.params.say;
});
"#;

#[tokio::test]
async fn a_run_is_shown_as_parse_shows_it_while_it_goes_on_and_after() {
    let system = system(REPORT).await;
    let listener = Listener::start().await;
    let params = json!({"day": "monday", "url": listener.url("/")});
    let run = start(&system, "report", params.clone()).await;
    assert!(run.starts_with('R') && run.len() == 10, "{run}");
    let held = listener.next().await;
    let found = status(&system, &run).await;
    let expected = [
        ("objectId", json!(run)),
        ("jobName", json!("report")),
        ("source", json!("api")),
        ("status", json!("running")),
        ("message", json!("working on monday")),
        ("params", params),
        ("ACL", json!({})),
    ];
    for (field, value) in expected {
        assert_eq!(found[field], value, "{field} of {found}");
    }
    assert!(found["createdAt"].is_string() && found.get("finishedAt").is_none());
    held.answer(200, "").await;
    succeeds(&system, &run).await;
    let found = status(&system, &run).await;
    assert_eq!(
        (&found["status"], &found["message"]),
        (&json!("succeeded"), &json!("working on monday"))
    );
    assert_eq!(found["finishedAt"]["__type"], "Date");
    let unseen = system.call(Method::GET, "classes/_JobStatus", Value::Null);
    unseen.await.expect_error(400, 119);

    // As the dashboard starts it: all of the body are its params. A text that is returned is the last message.
    let body = json!({"jobName": "report", "description": "", "input": {}, "when": 0, "day": "tuesday", "say": "bye"});
    let run = run_of(&system.master(Method::POST, "jobs", body.clone()).await);
    let ended = succeeds(&system, &run).await;
    assert_eq!((&ended["params"], &ended["result"]), (&body, &json!("bye")));
    assert_eq!(status(&system, &run).await["message"], "bye");
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_with_its_reason() {
    let system = system_without_worker(REPORT).await;
    for path in ["jobs/reprot", "jobs"] {
        let reply = system.master(Method::POST, path, json!({"jobName": "reprot"}));
        assert_eq!(reply.await.expect_error(400, 141), "Invalid job.");
    }
    let reply = system.call(Method::POST, "jobs/report", json!({})).await;
    assert_eq!(reply.status, 403, "{}", reply.body);
    assert!(
        reply.body["error"]
            .as_str()
            .is_some_and(|text| text.contains("master key"))
    );
    let large = json!({"text": "x".repeat(1_048_576)});
    let reply = system.master(Method::POST, "jobs/report", large).await;
    let error = reply.expect_error(400, 107);
    assert!(
        error.contains("1048587 bytes") && error.contains("1048576"),
        "{error}"
    );
    for (options, expected) in [
        (json!({"retries": -1}), "retries"),
        (json!({"delay": "soon"}), "delay"),
        (json!({"priority": 101}), "priority"),
        (json!({"backoff": {"factor": 0}}), "factor of backoff"),
        (json!({"runAt": "tomorrow"}), "runAt"),
        (json!({"after": ["R000000999"]}), "R000000999"),
        (json!({"concurencyKey": "a"}), "concurrencyKey"),
    ] {
        let body = json!({"_jobOptions": options});
        let reply = system.master(Method::POST, "jobs/report", body).await;
        let error = reply.expect_error(400, 107);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    system
        .wait_for_sql("select count(*) = 0 from tidegate.run")
        .await;
}

#[tokio::test]
async fn a_request_that_is_repeated_starts_nothing_twice() {
    let system = system_without_worker(REPORT).await;
    let ask = async |key: &str, body: Value| {
        let headers = [
            ("X-Parse-Master-Key", MASTER_KEY),
            ("X-Parse-Request-Id", key),
        ];
        let reply = system.request(Method::POST, "jobs/report", body, &headers);
        run_of(&reply.await)
    };
    let first = ask("a", json!({"day": "monday"})).await;
    assert_eq!(ask("a", json!({"day": "monday"})).await, first);
    assert_ne!(ask("b", json!({"day": "monday"})).await, first);
    let chosen = json!({"_jobOptions": {"idempotencyKey": "today"}});
    let third = ask("c", chosen.clone()).await;
    assert_eq!(ask("d", chosen).await, third);
    let created = "select count(*) = 3 from tidegate.run_event where kind = 'created'";
    system.wait_for_sql(created).await;
}

#[tokio::test]
async fn code_starts_jobs_and_a_repeated_attempt_starts_none_again() {
    let system = System::start(
        r#"
        Parse.Cloud.job("send", (request) => request.params.to);
        Parse.Cloud.define("order", async ({ params }) => {
          const later = await Parse.Cloud.startJob("send", { to: "later" }, { delay: 600000, priority: 5 });
          const now = await Parse.Cloud.startJob("send", { to: params.to });
          const { status } = (await Parse.Cloud.getJobStatus(later)).attributes;
          await Parse.Cloud.cancelJob(later);
          return { now, later, status };
        });
        Parse.Cloud.afterSave("Order", async (request) => {
          const to = request.object.id;
          await Parse.Cloud.startJob("send", { to, attempt: request.attempt });
          await Parse.Cloud.startJob("send", { to, attempt: request.attempt, second: true });
          if (request.attempt < 3) throw new Error("not yet");
        }, { backoff: { initial: 1 } });
        "#,
    )
    .await;
    let asked = system.function("order", json!({"to": "ann"})).await;
    assert_eq!(asked["status"], "scheduled");
    let ended = succeeds(&system, asked["now"].as_str().unwrap()).await;
    assert_eq!(ended["result"], "ann");
    let later = reaches(&system, asked["later"].as_str().unwrap(), "cancelled").await;
    assert_eq!(
        (&later["priority"], &later["attempts"]),
        (&json!(5), &json!(0))
    );

    let saved = system
        .call(Method::POST, "classes/Order", json!({}))
        .await
        .body;
    system.wait_until_settled().await;
    let runs = system
        .find("_JobStatus", json!({"params.to": saved["objectId"]}))
        .await;
    let params: Vec<&Value> = runs.iter().map(|run| &run["params"]).collect();
    let to = &saved["objectId"];
    let expected = [
        json!({"to": to, "attempt": 1}),
        json!({"to": to, "attempt": 1, "second": true}),
    ];
    assert_eq!(params, expected.iter().collect::<Vec<_>>());
}
