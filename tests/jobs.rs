//! Jobs that run: started, repeated, put to sleep, cancelled, limited, chained, drained; and whatever is killed when, each
//! run ends once.
//!
//! A test that needs a job to stand still lets it `fetch` from a listener of its own, which answers when it is time.

mod attempts;
mod cancel;
mod crashes;
mod drain;
mod faults;
mod limits;
mod load;
mod start;
mod steps;
mod workflows;

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::system::{APP_ID, MASTER_KEY, PATIENCE, Reply, System, breathe};

/// What jobs need. Capture makes the slot, without which no process is ready.
const ALL: &str = "proxy,capture,scheduler,worker";

/// A system of one process that runs these jobs.
async fn system(main_js: &str) -> System {
    let mut system = System::prepare(main_js).await;
    system.serve(ALL);
    system
}

/// A system that starts and queues runs, and has nobody who performs them yet.
async fn system_without_worker(main_js: &str) -> System {
    let mut system = System::prepare(main_js).await;
    system.serve("proxy,capture,scheduler");
    system
}

/// The run that an answer names.
#[track_caller]
fn run_of(reply: &Reply) -> String {
    assert_eq!((reply.status, &reply.body), (200, &json!({})));
    let id = reply.header("x-parse-job-status-id");
    id.expect("the answer names the run").to_owned()
}

/// Starts a job as SDKs do, and returns its run's id.
async fn start(system: &System, job: &str, params: Value) -> String {
    run_of(
        &system
            .master(Method::POST, &format!("jobs/{job}"), params)
            .await,
    )
}

/// Starts a job with options.
async fn start_with(system: &System, job: &str, params: Value, options: Value) -> String {
    let body = json!({"job": job, "params": params, "options": options});
    let (status, started) = admin(system, Method::POST, "runs", body).await;
    assert_eq!(status, 201, "{started}");
    started["id"].as_str().unwrap().to_owned()
}

/// A request of an operator, below `/tidegate/v1/`.
async fn admin(system: &System, method: Method, path: &str, body: Value) -> (u16, Value) {
    let mut request = reqwest::Client::new()
        .request(method, format!("{}/tidegate/v1/{path}", system.url()))
        .header("X-Parse-Application-Id", APP_ID)
        .header("X-Parse-Master-Key", MASTER_KEY);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the server answers");
    let status = response.status().as_u16();
    (
        status,
        response.json().await.expect("operators are answered JSON"),
    )
}

/// An operator's request that succeeds.
async fn steer(system: &System, method: Method, path: &str) -> Value {
    let body = match method {
        Method::POST => json!({}),
        _ => Value::Null,
    };
    let (status, answer) = admin(system, method, path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Everything that is known of a run.
async fn shown(system: &System, run: &str) -> Value {
    steer(system, Method::GET, &format!("runs/{run}")).await
}

/// Waits until a run is in this state; fails when it has ended in another one.
async fn reaches(system: &System, run: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let found = shown(system, run).await;
        if found["state"] == state {
            return found;
        }
        let is_final = ["succeeded", "failed", "cancelled", "skipped"]
            .iter()
            .any(|end| found["state"] == *end);
        assert!(
            !is_final && begun.elapsed() < PATIENCE,
            "not {state}: {found:#}"
        );
        breathe().await;
    }
}

async fn succeeds(system: &System, run: &str) -> Value {
    reaches(system, run, "succeeded").await
}

/// The run's id in tables.
fn number(run: &str) -> u64 {
    run.trim_start_matches('R').parse().unwrap()
}

/// What happened to a run, but for log lines.
fn kinds(shown: &Value) -> Vec<&str> {
    let history = shown["history"].as_array().unwrap();
    history
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

fn count_of(shown: &Value, kind: &str) -> usize {
    kinds(shown).iter().filter(|found| **found == kind).count()
}

/// The texts of all lines that an attempt logged.
async fn logs(system: &System, run: &str, attempt: u32) -> Vec<String> {
    let path = format!("runs/{run}/logs?attempt={attempt}");
    let found = steer(system, Method::GET, &path).await;
    let lines = found["lines"].as_array().unwrap();
    let text = |line: &Value| line["text"].as_str().unwrap().to_owned();
    lines.iter().map(text).collect()
}

/// The `_JobStatus` object of a run.
async fn status(system: &System, run: &str) -> Value {
    let path = format!("classes/_JobStatus/{run}");
    let reply = system.master(Method::GET, &path, Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body
}
