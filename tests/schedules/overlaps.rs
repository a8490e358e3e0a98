//! What a due time does while the run of an earlier one goes on. The test holds that run for as long as it wants.

use serde_json::{Value, json};

use super::{create, held_for, history, release, results, serving, wait_for_fires, wait_for_state};
use crate::code::listener::Listener;

/// A schedule of each second whose runs the test holds.
fn options(overlap: &str, listener: &Listener) -> Value {
    json!({"every": "1s", "overlap": overlap, "params": {"url": listener.url("/")}})
}

fn run_of(fire: &Value) -> &str {
    fire["made"]["run"].as_str().expect("it made a run")
}

#[tokio::test]
async fn skip_passes_over_until_the_run_is_over() {
    let listener = Listener::start().await;
    let system = serving("").await;
    create(&system, "s", "held", options("skip", &listener)).await;
    let held = listener.next().await;
    let (run, _) = held_for(&held);
    let fires = wait_for_fires(&system, "s", "skipped", 3).await;
    assert_eq!(results(&fires)[0], "started");
    assert_eq!(run_of(&fires[0]), run);
    assert!(
        results(&fires)[1..]
            .iter()
            .all(|result| *result == "skipped")
    );
    assert_eq!(fires[1]["detail"]["reason"], "an earlier one has not ended");
    assert_eq!(fires[1]["made"], Value::Null);
    held.answer(200, "").await;
    wait_for_state(&system, &run, "succeeded").await;
    let (next, _) = release(&listener).await;
    assert_ne!(next, run);
}

#[tokio::test]
async fn queue_lets_one_wait_and_passes_over_the_others() {
    let listener = Listener::start().await;
    let system = serving("").await;
    create(&system, "s", "held", options("queue", &listener)).await;
    let held = listener.next().await;
    let (run, _) = held_for(&held);
    let fires = wait_for_fires(&system, "s", "skipped", 2).await;
    assert_eq!(
        results(&fires)[..4],
        ["started", "queued", "skipped", "skipped"]
    );
    let waiting = run_of(&fires[1]).to_owned();
    wait_for_state(&system, &waiting, "waiting").await;
    held.answer(200, "").await;
    // It begins when the other is over, and not before: whoever connects next is it.
    let (next, due) = release(&listener).await;
    assert_eq!(next, waiting);
    // JavaScript writes the milliseconds, too.
    let known = fires[1]["dueAt"].as_str().unwrap().trim_end_matches('Z');
    assert!(due.starts_with(known), "{due} is not {known}");
    wait_for_state(&system, &run, "succeeded").await;
    wait_for_state(&system, &waiting, "succeeded").await;
}

#[tokio::test]
async fn cancel_ends_the_old_run_and_begins_the_new_one() {
    let listener = Listener::start().await;
    let system = serving("").await;
    create(&system, "s", "held", options("cancel", &listener)).await;
    let first = listener.next().await;
    let second = listener.next().await;
    let ((old, _), (new, _)) = (held_for(&first), held_for(&second));
    assert_ne!(old, new);
    wait_for_state(&system, &old, "cancelled").await;
    let fires = history(&system, "s").await;
    assert!(results(&fires).iter().all(|result| *result == "started"));
    let shown = system
        .find("_JobStatus", json!({"objectId": old}))
        .await
        .remove(0);
    assert_eq!(shown["status"], "failed", "{shown}");
    assert!(
        shown["message"].as_str().unwrap().contains("cancel"),
        "{shown}"
    );
    // Too late: its run is over.
    first.answer(200, "").await;
    wait_for_state(&system, &old, "cancelled").await;
}

#[tokio::test]
async fn allow_lets_them_run_side_by_side() {
    let listener = Listener::start().await;
    let system = serving("").await;
    create(&system, "s", "held", options("allow", &listener)).await;
    let held = [
        listener.next().await,
        listener.next().await,
        listener.next().await,
    ];
    let runs: Vec<String> = held.iter().map(|held| held_for(held).0).collect();
    for (held, run) in held.into_iter().zip(&runs) {
        wait_for_state(&system, run, "running").await;
        held.answer(200, "").await;
        wait_for_state(&system, run, "succeeded").await;
    }
}
