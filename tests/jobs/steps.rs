//! What a run keeps over its attempts: results of steps, sleeps, writes. A process dies at each place where it hurts.

use serde_json::json;
use tidegate_event::failpoint;

use super::*;

/// Every step writes, and so does what is between them; each write says in which attempt it was made.
const LONG: &str = r#"
const write = (request, text) =>
  new Parse.Object("Row").save({ run: request.jobId, text, attempt: request.attempt }, { useMasterKey: true });
Parse.Cloud.job("long", { backoff: { initial: 1 } }, async (request) => {
  const first = await request.step("first", async () => {
    await write(request, "in first");
    return { attempt: request.attempt, at: new Date(5) };
  });
  await write(request, "between");
  await request.sleep(300);
  const second = await request.step("second", async () => {
    await write(request, "in second");
    return first.at.getTime();
  });
  await write(request, "last");
  return { first: first.attempt, second };
});
"#;

const TEXTS: [&str; 4] = ["in first", "between", "in second", "last"];

/// Kills a worker at a named place while it runs the job, lets another one finish it, and looks at what there is.
async fn survives_a_kill_at(place: &str, nth: u32, attempts: u32) {
    let mut system = system_without_worker(LONG).await;
    system.set("job_lease_ms", 1500);
    let mut doomed = system.spawn_armed("worker", place, nth);
    let run = start(&system, "long", json!({})).await;
    assert_eq!(doomed.wait(), None, "it was ended by a signal at {place}");
    system.serve("worker");
    let ended = succeeds(&system, &run).await;
    assert_eq!(ended["attempts"], attempts, "{ended:#}");
    assert_eq!(ended["result"]["second"], 5);
    assert_eq!(count_of(&ended, "step"), 2, "each is recorded once");
    assert_eq!(count_of(&ended, "finished"), 1);
    let rows = system.find("Row", json!({"run": run})).await;
    let texts: Vec<&str> = rows
        .iter()
        .map(|row| row["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, TEXTS, "{place} {nth}: {rows:?}");
}

macro_rules! kill_tests {
    ($($name:ident: $place:ident $nth:literal, $attempts:literal attempts;)+) => {
        $(#[tokio::test]
        async fn $name() {
            survives_a_kill_at(failpoint::$place, $nth, $attempts).await;
        })+
    };
}

kill_tests! {
    killed_before_the_job_begins: JOB_CLAIMED 1, 2 attempts;
    killed_within_a_step: WORKER_WROTE 1, 2 attempts;
    killed_between_a_step_and_what_follows: JOB_STEPPED 1, 2 attempts;
    killed_between_two_steps: WORKER_WROTE 2, 2 attempts;
    killed_when_it_goes_to_sleep: JOB_SUSPENDED 1, 1 attempts;
    killed_after_its_last_write: WORKER_WROTE 4, 2 attempts;
    killed_before_its_end_is_recorded: JOB_RAN 2, 2 attempts;
    killed_after_its_end_is_recorded: JOB_FINISHED 1, 1 attempts;
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_is_one_run() {
    let mut system = System::prepare(LONG).await;
    let doomed = system.spawn_armed("proxy,capture,scheduler,worker", failpoint::JOB_ASKED, 1);
    let doomed = system.adopt(doomed);
    system.server(doomed).wait_for("listening");
    let server = system.server(doomed);
    let url = format!("{}/parse/jobs/long", server.url.clone().unwrap());
    let ask = async |url: &str| {
        let request = reqwest::Client::new().post(url);
        let request = request.header("X-Parse-Application-Id", APP_ID);
        let request = request.header("X-Parse-Master-Key", MASTER_KEY);
        request.header("X-Parse-Request-Id", "one").send().await
    };
    assert!(ask(&url).await.is_err(), "it ended before it answered");
    assert_eq!(system.server(doomed).wait(), None);
    system.serve(ALL);
    let again = ask(&format!("{}/parse/jobs/long", system.url()))
        .await
        .unwrap();
    let run = again.headers()["x-parse-job-status-id"].to_str().unwrap();
    succeeds(&system, run).await;
    system
        .wait_for_sql("select count(*) = 1 from tidegate.run")
        .await;
}

/// A worker is not needed for a sleep, and a step that threw is not remembered.
#[tokio::test]
async fn a_sleep_outlives_every_process() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.job("sleepy", { retries: 1, backoff: { initial: 1 } }, async (request) => {
          await request.step("before", () => request.attempt);
          await request.sleep(new Date(Date.now() + 1500));
          return request.step("after", () => {
            if (request.attempt === 1) throw new Error("not yet");
            return request.attempt;
          });
        });
        "#,
    )
    .await;
    let first = system.serve(ALL);
    let run = start(&system, "sleepy", json!({})).await;
    let asleep = reaches(&system, &run, "sleeping").await;
    assert_eq!(asleep["worker"], Value::Null);
    assert_eq!(status(&system, &run).await["status"], "scheduled");
    system.server(first).kill();
    system.serve(ALL);
    let ended = succeeds(&system, &run).await;
    assert_eq!(ended["steps"], json!({"before": 1, "after": 2}));
    let expected = [
        "created", "queued", "started", "step", "sleeping", "queued", "resumed", "retry", "queued",
        "started", "step", "finished",
    ];
    assert_eq!(kinds(&ended), expected);
}
