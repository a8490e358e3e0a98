//! Workers that are gone, or only seem to be; jobs that take their worker or their process with them.

use std::process::Command;
use std::time::Instant;

use serde_json::json;
use tidegate_event::failpoint;

use super::*;
use crate::code::listener::Listener;
use crate::limits::process::descendants;

const CALLING: &str = r#"
Parse.Cloud.job("call", { backoff: { initial: 1 } }, async (request) => {
  await fetch(request.params.url);
  await new Parse.Object("Done").save({ run: request.jobId, attempt: request.attempt }, { useMasterKey: true });
  return request.attempt;
});
"#;

#[tokio::test]
async fn what_a_killed_worker_ran_is_taken_over_and_counts_as_an_attempt() {
    let mut system = system_without_worker(CALLING).await;
    let first = system.serve("worker");
    let listener = Listener::start().await;
    let run = start(&system, "call", json!({"url": listener.url("/")})).await;
    let held = listener.next().await;
    system.serve("worker");
    let killed = Instant::now();
    system.server(first).kill();
    let again = listener.next().await;
    eprintln!("taken over after {:?}", killed.elapsed());
    again.answer(200, "").await;
    let ended = succeeds(&system, &run).await;
    assert_eq!(
        (&ended["attempts"], &ended["result"]),
        (&json!(2), &json!(2))
    );
    let ends = |place: usize| &ended["tries"][place]["end"];
    assert_eq!((ends(0), ends(1)), (&json!("lost"), &json!("succeeded")));
    assert_ne!(ended["tries"][0]["worker"], ended["tries"][1]["worker"]);
    drop(held);
}

#[tokio::test]
async fn a_worker_that_was_stopped_comes_too_late() {
    let mut system = system_without_worker(CALLING).await;
    let first = system.serve("worker");
    let listener = Listener::start().await;
    let run = start(&system, "call", json!({"url": listener.url("/")})).await;
    let held = listener.next().await;
    let pid = system.server(first).pid().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(signal("-STOP").success());
    system.serve("worker");
    let again = listener.next().await;
    // Both go on at once: what the first says is refused while the second still runs.
    held.answer(200, "").await;
    assert!(signal("-CONT").success());
    system
        .server(first)
        .wait_for("this worker was taken for lost");
    system
        .server(first)
        .wait_for("the end of this attempt is not recorded");
    assert_eq!(shown(&system, &run).await["state"], "running");
    again.answer(200, "").await;
    let ended = succeeds(&system, &run).await;
    assert_eq!(
        (&ended["attempts"], &ended["result"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(count_of(&ended, "finished"), 1);
    assert_eq!(system.find("Done", json!({"run": run})).await.len(), 1);
    // It is a worker again, under another name.
    let next = start(&system, "call", json!({"url": listener.url("/")})).await;
    listener.next().await.answer(200, "").await;
    succeeds(&system, &next).await;
}

#[tokio::test]
async fn a_run_that_kills_its_workers_is_quarantined() {
    let mut system = System::prepare(
        "Parse.Cloud.job('poison', { retries: 9 }, () => 'never'); Parse.Cloud.job('food', () => 'eaten');",
    )
    .await;
    system.set("job_lease_ms", 1000);
    system.serve("proxy,capture,scheduler");
    let run = start(&system, "poison", json!({})).await;
    for _ in 0..3 {
        let mut worker = system.spawn_armed("worker", failpoint::JOB_POISON, "poison");
        assert_eq!(worker.wait(), None);
    }
    let last = system.spawn_armed("worker", failpoint::JOB_POISON, "poison");
    let last = system.adopt(last);
    let ended = reaches(&system, &run, "failed").await;
    assert_eq!(
        (&ended["attempts"], &ended["crashes"]),
        (&json!(3), &json!(3))
    );
    let error = ended["error"].as_str().unwrap();
    assert!(error.starts_with("quarantined: "), "{error}");
    let history = ended["history"].as_array().unwrap();
    assert_eq!(history.last().unwrap()["body"]["isQuarantined"], true);
    assert_eq!(status(&system, &run).await["message"], error);
    let food = start(&system, "food", json!({})).await;
    succeeds(&system, &food).await;
    assert!(system.server(last).is_running());
}

#[tokio::test]
async fn a_process_that_ends_under_a_job_is_a_failed_attempt() {
    let mut system = System::prepare(CALLING).await;
    let server = system.serve(ALL);
    let listener = Listener::start().await;
    let url = listener.url("/");
    let run = start(&system, "call", json!({"url": url})).await;
    let once = start_with(&system, "call", json!({"url": url}), json!({"retries": 0})).await;
    let _held = [listener.next().await, listener.next().await];
    let children = descendants(system.server(server).pid()).into_keys();
    let killed = Command::new("kill")
        .arg("-9")
        .args(children.map(|pid| pid.to_string()))
        .status();
    assert!(killed.unwrap().success());
    listener.next().await.answer(200, "").await;
    let ended = succeeds(&system, &run).await;
    assert_eq!(
        (&ended["attempts"], &ended["crashes"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(ended["tries"][0]["end"], "retry");
    let ended = reaches(&system, &once, "failed").await;
    assert_eq!(ended["attempts"], 1);
    assert!(ended["error"].is_string(), "{ended:#}");
}

/// All are lost together, until it is known which one it is.
#[tokio::test]
async fn those_that_run_beside_a_poisonous_one_are_done() {
    let mut system = System::prepare(
        r#"
        const master = { useMasterKey: true };
        Parse.Cloud.job("poison", { retries: 9 }, () => "never");
        Parse.Cloud.job("food", { retries: 9 }, async () => {
          await new Parse.Object("Begun").save(null, master);
          while (!(await new Parse.Query("Gate").first(master))) await new Promise((resolve) => setTimeout(resolve, 20));
        });
        "#,
    )
    .await;
    system.set("job_lease_ms", 1000);
    system.serve("proxy,capture,scheduler");
    let spawn = |system: &System| system.spawn_armed("worker", failpoint::JOB_POISON, "poison");
    let mut worker = spawn(&system);
    let mut food = Vec::new();
    for _ in 0..4 {
        food.push(start(&system, "food", json!({})).await);
    }
    system
        .wait_for_objects("Begun", json!({}), food.len())
        .await;
    let poison = start(&system, "poison", json!({})).await;
    assert_eq!(worker.wait(), None);
    assert_eq!(spawn(&system).wait(), None);
    let twice = "select count(*) = 5 from tidegate.run where crashes = 2";
    system.wait_for_sql(twice).await;
    let gate = system.master(Method::POST, "classes/Gate", json!({})).await;
    assert_eq!(gate.status, 201);
    assert_eq!(spawn(&system).wait(), None);
    let last = spawn(&system);
    system.adopt(last);
    for run in &food {
        let ended = succeeds(&system, run).await;
        assert_eq!(
            (count_of(&ended, "lost"), &ended["attempts"]),
            (2, &json!(3))
        );
    }
    let ended = reaches(&system, &poison, "failed").await;
    assert!(
        ended["error"]
            .as_str()
            .unwrap()
            .starts_with("quarantined: "),
        "{ended:#}"
    );
}
