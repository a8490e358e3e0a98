//! Pausing, resuming, triggering; and what a schedule tells of itself afterwards.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    create, held_for, history, operate, serving, succeeded, wait_for_fires, wait_for_runs,
    wait_for_state,
};
use crate::code::listener::Listener;
use crate::system::System;

async fn steer(system: &System, name: &str, what: &str) -> Value {
    let path = format!("/schedules/{name}/{what}");
    succeeded(operate(system, Method::POST, &path, Value::Null).await)
}

#[tokio::test]
async fn a_paused_schedule_does_not_fire_and_makes_nothing_up_when_it_is_resumed() {
    let system = serving(r#"Parse.Cloud.schedule("beat", { every: "1s" }, "note");"#).await;
    create(
        &system,
        "s",
        "note",
        json!({"every": "1s", "missed": "all"}),
    )
    .await;
    wait_for_fires(&system, "s", "started", 2).await;
    let paused = steer(&system, "s", "pause").await;
    assert!(
        paused["pausedAt"].is_string() && paused["nextDue"].is_null(),
        "{paused}"
    );
    let before = history(&system, "s").await.len();
    let beats = history(&system, "beat").await.len();
    wait_for_fires(&system, "beat", "started", beats + 3).await;
    assert_eq!(history(&system, "s").await.len(), before);
    let resumed = steer(&system, "s", "resume").await;
    assert_eq!(resumed["pausedAt"], Value::Null);
    let fires = wait_for_fires(&system, "s", "started", before + 2).await;
    let due = |at: usize| fires[at]["dueAt"].as_str().unwrap();
    assert!(due(before) > paused["pausedAt"].as_str().unwrap());
    // Due times of the pause are none: neither fired nor counted as missed.
    let gap = format!(
        "select '{}'::timestamptz - '{}'::timestamptz >= interval '3 s'",
        due(before),
        due(before - 1)
    );
    system.wait_for_sql(&gap).await;
    assert!(
        fires.iter().all(|fire| fire["result"] == "started"),
        "{fires:?}"
    );
}

#[tokio::test]
async fn a_triggered_schedule_fires_once_now_and_keeps_its_times() {
    let system = serving("").await;
    let options = json!({"cron": "0 0 1 1 *", "params": {"from": "trigger"}});
    create(&system, "yearly", "note", options).await;
    steer(&system, "yearly", "pause").await;
    steer(&system, "yearly", "resume").await;
    let planned = "select next_due > now() from tidegate.schedule where name = 'yearly'";
    system.wait_for_sql(planned).await;
    let next = async || {
        let shown = operate(&system, Method::GET, "/schedules/yearly", Value::Null).await;
        shown.1["nextDue"].clone()
    };
    let before = next().await;
    let triggered = steer(&system, "yearly", "trigger").await;
    let ran = wait_for_runs(&system, "yearly", 1).await;
    assert_eq!(ran[0]["params"], json!({"from": "trigger"}));
    assert_eq!(ran[0]["run"], triggered["run"], "{triggered}");
    assert_eq!(triggered["isScheduled"], true);
    assert_eq!(
        (next().await, history(&system, "yearly").await.len()),
        (before, 1)
    );

    // Paused, too.
    steer(&system, "yearly", "pause").await;
    steer(&system, "yearly", "trigger").await;
    wait_for_runs(&system, "yearly", 2).await;
    let (status, told) = operate(
        &system,
        Method::POST,
        "/schedules/yearli/trigger",
        Value::Null,
    )
    .await;
    assert_eq!(status, 404, "{told}");
    assert!(told["error"].as_str().unwrap().contains("yearly"), "{told}");
}

#[tokio::test]
async fn the_history_says_when_it_was_due_fired_begun_and_over_and_how_late() {
    let listener = Listener::start().await;
    let system = serving(
        r#"Parse.Cloud.job("broken", { retries: 0 }, () => { throw new Error("no luck"); });"#,
    )
    .await;
    let options = json!({"every": "1s", "params": {"url": listener.url("/")}});
    create(&system, "held", "held", options).await;
    let held = listener.next().await;
    let (run, _) = held_for(&held);
    let first = || async { history(&system, "held").await.pop().expect("one fired") };
    let open = first().await;
    assert_eq!(
        (&open["state"], &open["finishedAt"]),
        (&json!("running"), &Value::Null),
        "{open}"
    );
    held.answer(200, "").await;
    wait_for_state(&system, &run, "succeeded").await;
    let over = first().await;
    assert_eq!(
        (&over["state"], &over["made"]["run"]),
        (&json!("succeeded"), &json!(run))
    );
    let order = ["dueAt", "firedAt", "startedAt", "finishedAt"].map(|field| {
        let text = over[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field} is missing: {over}"));
        format!("'{text}'::timestamptz")
    });
    let [due, fired, started, finished] = &order;
    let lateness = over["latenessSeconds"].as_f64().unwrap();
    system
        .wait_for_sql(&format!(
            "select {due} <= {fired} and {fired} <= {started} and {started} < {finished}
                and abs(extract(epoch from {started} - {due})::float8 - {lateness}) < 0.001"
        ))
        .await;

    create(&system, "broken", "broken", json!({"every": "1s"})).await;
    let failed = "select count(*) > 0 from tidegate.fire_history where schedule = 'broken' and state = 'failed'";
    system.wait_for_sql(failed).await;
    let fires = history(&system, "broken").await;
    let failed = fires.iter().find(|fire| fire["state"] == "failed").unwrap();
    assert_eq!(failed["error"], "no luck", "{failed}");
}
