//! Asking for runs.

use serde_json::json;
use tidegate_job::{RunId, RunState};
use tidegate_job_log::{Ending, Error};

use crate::fixture::*;

#[tokio::test]
async fn a_run_goes_from_start_to_success_and_job_status_shows_it() {
    let (database, log) = log().await;
    let run = start(&log, "a").await;
    assert_eq!(shown(&database, run).await, ("running".into(), None, false));
    let claimed = claim_due(&log).await.remove(0);
    assert_eq!(
        (claimed.lease.run, claimed.attempt, claimed.lease.fence),
        (run, 1, 1)
    );
    assert_eq!(claimed.params, "{}");
    let ending = Ending::Succeeded {
        value: Some(r#""all done""#.to_owned()),
    };
    assert_eq!(
        finish(&log, &claimed.lease, ending).await,
        Some(RunState::Succeeded)
    );
    let expected = ("succeeded".into(), Some("all done".into()), true);
    assert_eq!(shown(&database, run).await, expected);
    assert_eq!(
        kinds(&log, run).await,
        ["created", "queued", "started", "finished"]
    );
    let detail = log.run(run).await.unwrap();
    assert_eq!(detail.result, Some(json!("all done")));
    assert_eq!(detail.summary.attempts, 1);
}

#[tokio::test]
async fn ids_are_answered_in_the_order_given_and_all_or_none_are_made() {
    let (_database, log) = log().await;
    let runs: Vec<_> = ["a", "b", "a", "c"]
        .map(|job| new_run(job, json!({})))
        .to_vec();
    let started = log.start(&runs).await.unwrap();
    for (new, started) in runs.iter().zip(&started) {
        let summary = log.run(started.id).await.unwrap().summary;
        assert_eq!(summary.job, new.job);
    }
    let mixed = [new_run("a", json!({})), new_run("reprot", json!({}))];
    let error = log.start(&mixed).await.unwrap_err().to_string();
    assert_eq!(error, "there is no job \"reprot\"");
    let error = log.start(&[new_run("keyd", json!({}))]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no job \"keyd\"; did you mean \"keyed\"?"
    );
    assert_eq!(log.runs(&Default::default(), 100).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_run_of_later_is_scheduled_and_not_promoted() {
    let (database, log) = log().await;
    let run = start_with(&log, "a", json!({ "delay": 60_000 })).await;
    assert_eq!(shown(&database, run).await.0, "scheduled");
    assert!(promote(&log).await.is_empty());
    let due = log.next_pending_in().await.unwrap().unwrap();
    assert!((50..=60).contains(&due.as_secs()), "{due:?}");
    start(&log, "a").await;
    let due = log.next_pending_in().await.unwrap();
    assert_eq!(due, Some(std::time::Duration::ZERO));
    assert_eq!(promote(&log).await.len(), 1);
}

#[tokio::test]
async fn the_same_key_makes_one_run_also_when_asked_at_once() {
    let (_database, log) = log().await;
    let keyed = || new_run("a", json!({ "idempotencyKey": "k" }));
    let batch: Vec<_> = (0..4).map(|_| keyed()).collect();
    let asks = (0..8).map(|_| {
        let (log, batch) = (log.clone(), batch.clone());
        tokio::spawn(async move { log.start(&batch).await.unwrap() })
    });
    let mut ids: Vec<RunId> = Vec::new();
    let mut new = 0;
    for ask in asks.collect::<Vec<_>>() {
        let started = ask.await.unwrap();
        new += started.iter().filter(|one| one.is_new).count();
        ids.extend(started.iter().map(|one| one.id));
    }
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), new), (1, 1));
    assert_eq!(log.runs(&Default::default(), 100).await.unwrap().len(), 1);
    // Another job's key is another key.
    let other = start_with(&log, "b", json!({ "idempotencyKey": "k" })).await;
    assert_ne!(other, ids[0]);
}

#[tokio::test]
async fn a_run_waits_for_those_it_needs_and_gets_their_results() {
    let (database, log) = log().await;
    let (one, two) = (start(&log, "a").await, start(&log, "b").await);
    let after = start_with(&log, "c", json!({ "after": [one, two] })).await;
    assert_eq!(state(&log, after).await, RunState::Waiting);
    assert_eq!(shown(&database, after).await.0, "scheduled");
    let claimed = claim_due(&log).await;
    succeed(&log, &claimed[0].lease).await;
    assert_eq!(state(&log, after).await, RunState::Waiting);
    succeed(&log, &claimed[1].lease).await;
    assert_eq!(state(&log, after).await, RunState::Pending);
    assert_eq!(shown(&database, after).await.0, "running");
    let last = claim_due(&log).await.remove(0);
    let result = json!({ "done": true });
    assert_eq!(last.inputs[&one.to_string()], result);
    assert_eq!(last.inputs[&two.to_string()], result);
}

#[tokio::test]
async fn what_failed_before_or_after_the_start_skips_or_not_as_was_said() {
    let (database, log) = log().await;
    let bad = running(&log, "a").await.lease;
    let before = start_with(&log, "b", json!({ "after": [bad.run] })).await;
    let chained = start_with(&log, "b", json!({ "after": [before] })).await;
    let goes_on = start_with(
        &log,
        "b",
        json!({ "after": [bad.run], "onFailure": "continue" }),
    )
    .await;
    fail(&log, &bad).await;
    let late = start_with(&log, "c", json!({ "after": [bad.run] })).await;
    let late_goes_on = start_with(
        &log,
        "c",
        json!({ "after": [bad.run], "onFailure": "continue" }),
    )
    .await;
    for run in [before, chained, late] {
        assert_eq!(state(&log, run).await, RunState::Skipped, "{run}");
        let (status, message, has_end) = shown(&database, run).await;
        assert_eq!((status.as_str(), has_end), ("failed", true));
        assert!(message.unwrap().starts_with("skipped: R0000"), "{run}");
    }
    for run in [goes_on, late_goes_on] {
        assert_eq!(state(&log, run).await, RunState::Pending, "{run}");
    }
    let claimed = claim_due(&log).await;
    assert_eq!(claimed[0].inputs[&bad.run.to_string()], json!(null));
}

#[tokio::test]
async fn a_run_that_is_not_there_cannot_be_needed() {
    let (_database, log) = log().await;
    let run = new_run("a", json!({ "after": ["R000000999"] }));
    let error = log.start(&[run]).await.unwrap_err();
    assert!(
        matches!(error, Error::Unknown { kind: "run", .. }),
        "{error}"
    );
    assert_eq!(error.to_string(), "there is no run \"R000000999\"");
}

#[tokio::test]
async fn the_last_need_and_the_start_of_who_needs_it_never_miss_each_other() {
    let (_database, log) = log().await;
    for _ in 0..20 {
        let lease = running(&log, "a").await.lease;
        let (starter, need) = (log.clone(), lease.run);
        let started =
            tokio::spawn(
                async move { start_with(&starter, "b", json!({ "after": [need] })).await },
            );
        succeed(&log, &lease).await;
        let run = started.await.unwrap();
        assert_eq!(state(&log, run).await, RunState::Pending);
        log.delete(run, false).await.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_an_earlier_log_left_in_job_status_is_taken_over() {
    let (database, log) = log().await;
    let old = r#"insert into "_JobStatus" ("objectId", "jobName", "status", "message", "finishedAt")
                 values ('R000000001', 'old', 'failed', 'old', now())"#;
    sql(&database).await.batch_execute(old).await.unwrap();
    let run = start(&log, "a").await;
    assert_eq!(run, RunId(1));
    assert_eq!(shown(&database, run).await, ("running".into(), None, false));
}
