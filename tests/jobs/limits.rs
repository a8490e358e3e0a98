//! How many run at once over all processes, in which order, and what a pause holds back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;
use crate::code::listener::{Held, Listener};

const JOBS: &str = r#"
const call = ({ params }) => fetch(params.url);
Parse.Cloud.job("two", { concurrency: 2 }, call);
Parse.Cloud.job("free", call);
Parse.Cloud.job("keyed", { concurrency: 5, keyConcurrency: 2 }, call);
Parse.Cloud.job("one", { concurrency: 1 }, () => {});
"#;

/// How many runs that call this path may go on at once.
const LIMITS: [(&str, usize); 5] = [
    ("two", 2),
    ("free-a", 1),
    ("free-b", 1),
    ("keyed-a", 2),
    ("keyed-b", 2),
];

fn limit(path: &str) -> usize {
    let found = LIMITS.iter().find(|(limited, _)| *limited == path);
    found.map_or(1, |(_, limit)| *limit)
}

/// How many calls are open, and how many were so at most.
#[derive(Clone, Copy, Default)]
struct Calls {
    open: usize,
    most: usize,
}

/// Answers what runs call: not before there were as many as there may be, and after a pause in which more might come.
struct Counter {
    calls: Arc<Mutex<HashMap<String, Calls>>>,
    url: String,
    answering: tokio::task::JoinHandle<()>,
}

impl Counter {
    async fn start() -> Counter {
        let listener = Listener::start().await;
        let url = listener.url("");
        let calls: Arc<Mutex<HashMap<String, Calls>>> = Arc::default();
        let counted = Arc::clone(&calls);
        let answering = tokio::spawn(async move {
            loop {
                let request = listener.next().await;
                tokio::spawn(answer(request, Arc::clone(&counted)));
            }
        });
        Counter {
            calls,
            url,
            answering,
        }
    }

    fn most(&self, path: &str) -> usize {
        self.calls.lock().unwrap()[path].most
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(request: Held, calls: Arc<Mutex<HashMap<String, Calls>>>) {
    let path = request.line.trim_start_matches("GET /").to_owned();
    let change = |by: fn(&mut Calls)| {
        let mut calls = calls.lock().unwrap();
        let own = calls.entry(path.clone()).or_default();
        by(own);
        own.most = own.most.max(own.open);
        *own
    };
    change(|own| own.open += 1);
    while change(|_| ()).most < limit(&path) {
        breathe().await;
    }
    for _ in 0..5 {
        breathe().await;
    }
    change(|own| own.open -= 1);
    request.answer(200, "").await;
}

async fn all_succeed(system: &System, count: usize) {
    let all = format!("select count(*) = {count} from tidegate.run where state = 'succeeded'");
    system.wait_for_sql(&all).await;
}

#[tokio::test]
async fn limits_hold_over_all_workers() {
    let mut system = system_without_worker(JOBS).await;
    system.serve("worker");
    system.serve("worker");
    let counter = Counter::start().await;
    let url = |path: &str| json!({"url": format!("{}/{path}", counter.url)});
    for number in 0..10 {
        start(&system, "two", url("two")).await;
        let key = if number % 2 == 0 { "a" } else { "b" };
        let options = json!({"concurrencyKey": key});
        start_with(
            &system,
            "free",
            url(&format!("free-{key}")),
            options.clone(),
        )
        .await;
        start_with(&system, "keyed", url(&format!("keyed-{key}")), options).await;
    }
    all_succeed(&system, 30).await;
    for (path, limit) in LIMITS {
        assert_eq!(counter.most(path), limit, "{path}");
    }
    let workers = "select count(distinct body::json->>'worker') = 2 from tidegate.run_event where kind = 'started'";
    system.wait_for_sql(workers).await;
    // None was blocked once it had a place, and each ran once.
    system
        .wait_for_sql("select bool_and(attempts = 1) and count(*) filter (where blocked_on is not null) = 0 from tidegate.run")
        .await;
}

#[tokio::test]
async fn the_more_urgent_begins_first_and_a_pause_holds_all() {
    let system = system(JOBS).await;
    assert!(steer(&system, Method::POST, "queue/pause").await["pausedAt"].is_string());
    let mut runs = Vec::new();
    for priority in [0, -100, 7, 100, 7, 0, -1] {
        let options = json!({"priority": priority});
        runs.push((
            -priority,
            start_with(&system, "one", json!({}), options).await,
        ));
    }
    let waits = start(&system, "one", json!({})).await;
    for (_, run) in &runs {
        assert_eq!(shown(&system, run).await["attempts"], 0);
    }
    steer(&system, Method::POST, &format!("runs/{waits}/cancel")).await;
    steer(&system, Method::POST, "queue/resume").await;
    runs.sort();
    let expected: Vec<String> = runs.iter().map(|(_, run)| format!("'{run}'")).collect();
    all_succeed(&system, runs.len()).await;
    let in_order = format!(
        "select array_agg(tidegate.run_name(id) order by started_at) filter (where state = 'succeeded')
                = array[{}] from tidegate.run",
        expected.join(", ")
    );
    system.wait_for_sql(&in_order).await;
}

#[tokio::test]
async fn a_paused_job_waits_and_others_go_on() {
    let system = system(JOBS).await;
    let counter = Counter::start().await;
    let url = json!({"url": format!("{}/x", counter.url)});
    steer(&system, Method::POST, "jobs/one/pause").await;
    let waits = start(&system, "one", json!({})).await;
    let goes_on = start(&system, "two", url).await;
    succeeds(&system, &goes_on).await;
    system
        .wait_for_sql(&format!(
            "select is_parked and attempts = 0 from tidegate.run where id = {}",
            number(&waits)
        ))
        .await;
    steer(&system, Method::POST, "jobs/one/resume").await;
    succeeds(&system, &waits).await;
}
