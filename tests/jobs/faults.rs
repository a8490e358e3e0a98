//! Redis and Postgres are lost while runs are in every state; a run is deleted while it runs. Each ends once.

use std::time::Duration;

use serde_json::json;
use tidegate_testkit::Postgres;

use super::*;
use crate::code::listener::Listener;

/// Each run writes one row at its end.
const JOBS: &str = r#"
const done = (request) => new Parse.Object("Done").save({ run: request.jobId }, { useMasterKey: true });
const patient = { retries: 20, backoff: { initial: 50, factor: 1 } };
Parse.Cloud.job("quick", patient, done);
Parse.Cloud.job("call", patient, async (request) => {
  await request.step("call", async () => (await fetch(request.params.url)).text());
  await done(request);
});
Parse.Cloud.job("single", { ...patient, concurrency: 1 }, async (request) => {
  await request.step("call", async () => (await fetch(request.params.url)).text());
  await done(request);
});
Parse.Cloud.job("sleepy", patient, async (request) => { await request.sleep(2500); await done(request); });
Parse.Cloud.job("after", patient, done);
"#;

/// Longer than a worker's lease of 2 s.
const STANDSTILL: Duration = Duration::from_secs(4);

/// A system with runs in every state that is not final, and two calls that wait for their answers.
struct Stage {
    system: System,
    scheduler: usize,
    worker: usize,
    listener: Listener,
    runs: Vec<String>,
}

impl Stage {
    async fn set(mut system: System) -> Stage {
        let scheduler = system.serve("proxy,capture,scheduler");
        let worker = system.serve("worker");
        let listener = Listener::start().await;
        let url = json!({"url": listener.url("/")});
        let mut runs = Vec::new();
        runs.push(start(&system, "call", url.clone()).await);
        runs.push(start(&system, "single", url.clone()).await);
        for run in &runs {
            reaches(&system, run, "running").await;
        }
        let blocked = start(&system, "single", url).await;
        reaches(&system, &blocked, "blocked").await;
        let waiting = start_with(&system, "after", json!({}), json!({"after": [runs[0]]})).await;
        let sleeping = start(&system, "sleepy", json!({})).await;
        reaches(&system, &sleeping, "sleeping").await;
        let pending = start_with(&system, "quick", json!({}), json!({"delay": 2000})).await;
        runs.extend([blocked, waiting, sleeping, pending]);
        // Some of them are in the queue when it happens, or about to be.
        for _ in 0..10 {
            runs.push(start(&system, "quick", json!({})).await);
        }
        Stage {
            system,
            scheduler,
            worker,
            listener,
            runs,
        }
    }

    /// Answers all calls, and looks at what became of the runs.
    async fn check(self) -> System {
        let Stage {
            system,
            listener,
            runs,
            ..
        } = self;
        let answering = tokio::spawn(async move {
            loop {
                listener.next().await.answer(200, "").await;
            }
        });
        for run in &runs {
            let ended = succeeds(&system, run).await;
            assert_eq!(count_of(&ended, "finished"), 1, "{ended:#}");
        }
        answering.abort();
        let done = system.find("Done", json!({})).await;
        let mut written: Vec<&str> = done
            .iter()
            .map(|row| row["run"].as_str().unwrap())
            .collect();
        written.sort_unstable();
        let mut expected: Vec<&str> = runs.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(written, expected, "each has made its write once");
        system
    }
}

#[tokio::test]
async fn redis_is_flushed_with_runs_in_every_state() {
    let stage = Stage::set(System::prepare(JOBS).await).await;
    stage.system.redis.flushall();
    stage.check().await;
}

#[tokio::test]
async fn redis_is_killed_and_comes_back_empty_with_runs_in_every_state() {
    let mut stage = Stage::set(System::prepare(JOBS).await).await;
    stage.system.redis.kill9();
    for _ in 0..5 {
        let run = start(&stage.system, "quick", json!({})).await;
        stage.runs.push(run);
    }
    stage.system.redis.restart();
    stage.check().await;
}

#[tokio::test]
async fn postgres_is_killed_and_comes_back_with_runs_in_every_state() {
    let postgres = Postgres::start();
    let stage = Stage::set(System::prepare_on(&postgres, JOBS).await).await;
    postgres.kill9();
    postgres.restart();
    // The first requests may meet connections that are gone.
    stage.system.wait_for_sql("select true").await;
    let begun = Instant::now();
    let path = format!("classes/_JobStatus/{}", stage.runs[0]);
    while stage
        .system
        .master(Method::GET, &path, Value::Null)
        .await
        .status
        != 200
    {
        assert!(begun.elapsed() < PATIENCE);
        breathe().await;
    }
    stage.check().await;
}

/// For longer than a lease: nobody can beat, and nobody is lost.
#[tokio::test]
async fn a_postgres_that_stands_still_costs_no_attempt() {
    let postgres = Postgres::start();
    let stage = Stage::set(System::prepare_on(&postgres, JOBS).await).await;
    postgres.pause();
    tokio::time::sleep(STANDSTILL).await;
    postgres.resume();
    let system = stage.check().await;
    system
        .wait_for_sql("select bool_and(attempts = 1 and crashes = 0) from tidegate.run")
        .await;
}

#[tokio::test]
async fn a_redis_that_stands_still_costs_no_attempt() {
    let mut stage = Stage::set(System::prepare(JOBS).await).await;
    stage.system.redis.pause();
    let run = start(&stage.system, "quick", json!({})).await;
    stage.runs.push(run);
    tokio::time::sleep(STANDSTILL).await;
    stage.system.redis.resume();
    let system = stage.check().await;
    system
        .wait_for_sql("select bool_and(attempts = 1 and crashes = 0) from tidegate.run")
        .await;
}

#[tokio::test]
async fn every_process_is_killed_with_runs_in_every_state() {
    let mut stage = Stage::set(System::prepare(JOBS).await).await;
    for server in [stage.scheduler, stage.worker] {
        stage.system.server(server).kill();
    }
    stage.system.serve(ALL);
    stage.check().await;
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_by_another() {
    let mut stage = Stage::set(System::prepare(JOBS).await).await;
    stage.system.serve("proxy,capture,scheduler");
    let leader = stage.scheduler;
    stage.system.server(leader).kill();
    let run = start(&stage.system, "quick", json!({})).await;
    stage.runs.push(run);
    let system = stage.check().await;
    system
        .wait_for_sql("select bool_and(attempts = 1 and crashes = 0) from tidegate.run")
        .await;
}

#[tokio::test]
async fn a_run_that_is_deleted_while_it_runs_leaves_nothing() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.job("call", { concurrency: 1 }, async (request) => {
          await fetch(request.params.url);
          await new Parse.Object("Done").save({ run: request.jobId }, { useMasterKey: true });
          await request.message("done");
        });
        "#,
    )
    .await;
    system.serve("proxy,capture,scheduler");
    let worker = system.serve("worker");
    let listener = Listener::start().await;
    let url = json!({"url": listener.url("/")});
    let run = start(&system, "call", url.clone()).await;
    let held = listener.next().await;
    let path = format!("runs/{run}");
    let (status, refused) = admin(&system, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 409, "{refused}");
    let waits = start_with(&system, "call", url.clone(), json!({"after": [run]})).await;
    let deleted = steer(&system, Method::DELETE, &format!("{path}?force=true")).await;
    assert_eq!(deleted["state"], "running");
    system
        .server(worker)
        .wait_for("the end of this attempt is not recorded");
    held.answer(200, "").await;
    let (status, _) = admin(&system, Method::GET, &path, Value::Null).await;
    assert_eq!(status, 404);
    reaches(&system, &waits, "skipped").await;
    // Its place is free.
    let next = start(&system, "call", url).await;
    listener.next().await.answer(200, "").await;
    succeeds(&system, &next).await;
    let done = system.find("Done", json!({})).await;
    assert_eq!(done.len(), 1);
    assert_eq!(done[0]["run"], json!(next));
    let left = format!(
        "select count(*) = 0 from tidegate.run_event where run_id = {}",
        number(&run)
    );
    system.wait_for_sql(&left).await;
}
