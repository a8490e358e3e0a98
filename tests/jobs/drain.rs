//! SIGTERM: what is short ends, what is long goes on elsewhere, and nothing is lost.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::*;
use crate::code::listener::Listener;

const JOBS: &str = r#"
Parse.Cloud.job("call", async (request) => {
  const text = await request.step("call", async () => (await fetch(request.params.url)).text());
  return { text, attempt: request.attempt };
});
Parse.Cloud.job("deaf", () => { while (true) {} });
"#;

#[tokio::test]
async fn a_worker_that_is_terminated_finishes_or_hands_back() {
    let mut system = system_without_worker(JOBS).await;
    system.set("drain_timeout_ms", 3000);
    let first = system.serve("worker");
    let listener = Listener::start().await;
    let url = |path: &str| json!({"url": listener.url(path)});
    let short = start(&system, "call", url("/short")).await;
    let held = listener.next().await;
    let long = start(&system, "call", url("/long")).await;
    let _abandoned = listener.next().await;
    let deaf = start(&system, "deaf", json!({})).await;
    reaches(&system, &deaf, "running").await;
    kill(Pid::from_raw(system.server(first).pid()), Signal::SIGTERM).unwrap();
    let begun = Instant::now();
    // It takes nothing new.
    let next = start(&system, "call", url("/next")).await;
    reaches(&system, &next, "queued").await;
    held.answer(200, "done").await;
    let ended = succeeds(&system, &short).await;
    assert_eq!(ended["result"], json!({"text": "done", "attempt": 1}));
    assert_eq!(system.server(first).wait(), Some(0));
    eprintln!("drained after {:?}", begun.elapsed());
    for run in [&long, &deaf] {
        let found = shown(&system, run).await;
        assert!(
            ["pending", "queued"]
                .iter()
                .any(|state| found["state"] == *state),
            "at the next worker's disposal at once: {found:#}"
        );
        assert_eq!(
            (count_of(&found, "handed_back"), &found["worker"]),
            (1, &Value::Null)
        );
    }
    steer(&system, Method::POST, &format!("runs/{deaf}/cancel")).await;
    reaches(&system, &deaf, "cancelled").await;

    system.serve("worker");
    for _ in 0..2 {
        listener.next().await.answer(200, "later").await;
    }
    for (run, kind) in [(&long, "resumed"), (&next, "started")] {
        let ended = succeeds(&system, run).await;
        assert_eq!(ended["result"], json!({"text": "later", "attempt": 1}));
        assert_eq!(count_of(&ended, "lost"), 0);
        let last = kinds(&ended);
        assert_eq!(last[last.len() - 3], kind, "{last:?}");
    }
}
