//! Ending a run before its time, from another process than the one that has it.

use serde_json::json;

use super::*;
use crate::code::listener::Listener;

const JOBS: &str = r#"
const master = { useMasterKey: true };
Parse.Cloud.job("endless", async () => { await new Parse.Object("Begun").save(null, master); while (true) {} });
Parse.Cloud.job("native", async () => {
  await new Parse.Object("Begun").save(null, master);
  [].join.call({ length: 2 ** 53 - 1 });
});
Parse.Cloud.job("forever", async () => { await new Parse.Object("Begun").save(null, master); await new Promise(() => {}); });
Parse.Cloud.job("calling", ({ params }) => fetch(params.url));
Parse.Cloud.job("attentive", (request) => new Promise((resolve, reject) => {
  request.signal.addEventListener("abort", () => {
    console.log(`told: ${request.signal.reason.name}`);
    if (request.params.finish) resolve("complete"); else reject(new Error("it was to end"));
  });
  new Parse.Object("Begun").save(null, master);
}));
Parse.Cloud.job("sleepy", (request) => request.sleep(600000));
Parse.Cloud.job("single", { concurrency: 1 }, ({ params }) => fetch(params.url));
"#;

async fn cancel(system: &System, run: &str) -> Value {
    steer(system, Method::POST, &format!("runs/{run}/cancel")).await
}

/// Waits until it is cancelled. How soon is printed, not asserted: a busy machine may take its time.
async fn is_cancelled(system: &System, run: &str) -> Value {
    let ended = reaches(system, run, "cancelled").await;
    let took = format!(
        "select (finished_at - cancel_requested_at)::text from tidegate.run where id = {}",
        number(run)
    );
    let row = system.sql().await.query_one(&took, &[]).await.unwrap();
    eprintln!("{run} cancelled after {}", row.get::<_, String>(0));
    assert_eq!(
        ended["history"].as_array().unwrap().last().unwrap()["body"]["state"],
        "cancelled"
    );
    let found = status(system, run).await;
    assert_eq!(
        (&found["status"], &found["message"]),
        (&json!("failed"), &json!("cancelled"))
    );
    ended
}

#[tokio::test]
async fn a_run_is_ended_whatever_it_does() {
    let mut system = system_without_worker(JOBS).await;
    system.serve("worker");
    let listener = Listener::start().await;
    let mut runs = Vec::new();
    for job in ["endless", "native", "forever"] {
        runs.push(start(&system, job, json!({})).await);
    }
    runs.push(start(&system, "calling", json!({"url": listener.url("/")})).await);
    system.wait_for_objects("Begun", json!({}), 3).await;
    let _held = listener.next().await;
    for run in &runs {
        let asked = cancel(&system, run).await;
        assert_eq!(asked["isCancelRequested"], true);
        let ended = is_cancelled(&system, run).await;
        assert_eq!(ended["attempts"], 1);
        assert_eq!(count_of(&ended, "cancel_requested"), 1);
    }
    // The process that ran them is well.
    let next = start(&system, "calling", json!({"url": listener.url("/")})).await;
    listener.next().await.answer(200, "").await;
    succeeds(&system, &next).await;
}

#[tokio::test]
async fn a_job_is_told_and_may_still_complete() {
    let mut system = system_without_worker(JOBS).await;
    system.serve("worker");
    let fails = start(&system, "attentive", json!({})).await;
    let completes = start(&system, "attentive", json!({"finish": true})).await;
    system.wait_for_objects("Begun", json!({}), 2).await;
    cancel(&system, &fails).await;
    cancel(&system, &completes).await;
    is_cancelled(&system, &fails).await;
    let ended = succeeds(&system, &completes).await;
    assert_eq!(ended["result"], "complete");
    assert_eq!(logs(&system, &fails, 1).await[0], "told: AbortError");
    assert_eq!(logs(&system, &completes, 1).await, ["told: AbortError"]);
}

#[tokio::test]
async fn what_does_not_run_never_begins() {
    let mut system = system_without_worker(JOBS).await;
    let listener = Listener::start().await;
    let url = json!({"url": listener.url("/")});
    let later = start_with(&system, "calling", url.clone(), json!({"delay": 600_000})).await;
    let waits = start_with(&system, "calling", url.clone(), json!({"after": [later]})).await;
    let queued = start(&system, "calling", url.clone()).await;
    reaches(&system, &waits, "waiting").await;
    reaches(&system, &queued, "queued").await;
    for run in [&queued, &later] {
        cancel(&system, run).await;
        is_cancelled(&system, run).await;
    }
    // What needed it cannot begin either.
    let skipped = reaches(&system, &waits, "skipped").await;
    assert!(skipped["message"].as_str().unwrap().contains(&later));

    system.serve("worker");
    let sleeps = start(&system, "sleepy", json!({})).await;
    reaches(&system, &sleeps, "sleeping").await;
    let runs = start(&system, "single", url.clone()).await;
    let held = listener.next().await;
    let blocked = start(&system, "single", url.clone()).await;
    reaches(&system, &blocked, "blocked").await;
    for run in [&sleeps, &blocked] {
        cancel(&system, run).await;
        is_cancelled(&system, run).await;
    }
    held.answer(200, "").await;
    succeeds(&system, &runs).await;
    // Its place is free for the next, and a run that has ended cannot be cancelled.
    let next = start(&system, "single", url).await;
    listener.next().await.answer(200, "").await;
    succeeds(&system, &next).await;
    let path = format!("runs/{next}/cancel");
    let (status, refused) = admin(&system, Method::POST, &path, json!({})).await;
    assert_eq!(status, 409, "{refused}");
    succeeds(&system, &next).await;
}
