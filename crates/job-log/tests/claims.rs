//! Who holds a run: claims, fences, endings.

use std::collections::HashSet;
use std::time::Duration;

use tidegate_job::RunState;
use tidegate_job_log::{Ending, Error};

use crate::fixture::*;

#[tokio::test]
async fn of_two_that_claim_the_same_each_run_goes_to_one() {
    let (_database, log) = log().await;
    log.join("w2").await.unwrap();
    for _ in 0..60 {
        start(&log, "a").await;
    }
    let ids = promote(&log).await;
    let mut backwards = ids.clone();
    backwards.reverse();
    let (one, two) = (log.clone(), log.clone());
    let first = tokio::spawn(async move { one.claim("w1", &ids).await.unwrap() });
    let second = tokio::spawn(async move { two.claim("w2", &backwards).await.unwrap() });
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let runs: HashSet<_> = first
        .iter()
        .chain(&second)
        .map(|one| one.lease.run)
        .collect();
    assert_eq!(runs.len(), 60);
    assert_eq!(first.len() + second.len(), 60);
}

#[tokio::test]
async fn a_late_ending_of_a_former_holder_is_refused() {
    let (_database, log) = log().await;
    let old = running(&log, "a").await.lease;
    assert_eq!(reap(&log, WORKER).await, [old.run]);
    log.join("w2").await.unwrap();
    let ids = promote(&log).await;
    let new = log.claim("w2", &ids).await.unwrap().remove(0);
    assert_eq!((new.attempt, new.lease.fence), (2, 3));
    let late = Ending::Succeeded { value: None };
    assert_eq!(finish(&log, &old, late).await, None);
    assert!(matches!(
        log.message(&old, "late").await,
        Err(Error::Lost { .. })
    ));
    assert_eq!(state(&log, old.run).await, RunState::Running);
    succeed(&log, &new.lease).await;
    // Once more, as after an answer that was lost.
    let again = Ending::Failed { error: "x".into() };
    assert_eq!(finish(&log, &new.lease, again).await, None);
    assert_eq!(state(&log, old.run).await, RunState::Succeeded);
}

#[tokio::test]
async fn a_worker_that_is_not_on_the_list_gets_nothing() {
    let (_database, log) = log().await;
    start(&log, "a").await;
    let ids = promote(&log).await;
    let refused = log.claim("stranger", &ids).await;
    assert!(matches!(refused, Err(Error::NotAWorker { .. })));
    assert_eq!(state(&log, ids[0]).await, RunState::Queued);
    assert_eq!(log.claim(WORKER, &ids).await.unwrap().len(), 1);
    assert!(log.claim(WORKER, &ids).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_retry_waits_and_keeps_its_attempts_and_a_hand_back_loses_none() {
    let (database, log) = log().await;
    let first = running(&log, "a").await;
    let retry = Ending::Retry {
        after: Duration::from_secs(60),
        error: "not now".into(),
    };
    assert_eq!(
        finish(&log, &first.lease, retry).await,
        Some(RunState::Pending)
    );
    assert_eq!(
        shown(&database, first.lease.run).await,
        ("running".into(), None, false)
    );
    assert!(promote(&log).await.is_empty());
    let due = "update tidegate.run set run_at = now()";
    sql(&database).await.batch_execute(due).await.unwrap();
    let second = claim_due(&log).await.remove(0);
    assert_eq!((second.attempt, second.is_resumed), (2, false));
    let back = finish(&log, &second.lease, Ending::HandedBack).await;
    assert_eq!(back, Some(RunState::Pending));
    let third = claim_due(&log).await.remove(0);
    assert_eq!((third.attempt, third.is_resumed), (2, true));
    let claimed_at = "select claimed_at from tidegate.run";
    let row = sql(&database).await.query_one(claimed_at, &[]).await;
    let claimed_at: std::time::SystemTime = row.unwrap().get(0);
    assert_eq!(std::time::SystemTime::from(third.claimed_at), claimed_at);
    fail(&log, &third.lease).await;
    let expected = ("failed".into(), Some("broken".into()), true);
    assert_eq!(shown(&database, first.lease.run).await, expected);
    let kinds = kinds(&log, first.lease.run).await;
    let expected = [
        "created",
        "queued",
        "started",
        "retry",
        "queued",
        "started",
        "handed_back",
        "queued",
        "resumed",
        "finished",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_text_with_nul_is_stored_without_it() {
    let (database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    finish(&log, &lease, failed("bro\0ken")).await;
    assert_eq!(
        shown(&database, lease.run).await.1.as_deref(),
        Some("broken")
    );
}

#[tokio::test]
async fn runs_of_a_paused_job_are_handed_back_and_come_when_it_goes_on() {
    let (_database, log) = log().await;
    let run = start(&log, "a").await;
    let ids = promote(&log).await;
    log.pause_job("a", "me").await.unwrap();
    assert!(log.claim(WORKER, &ids).await.unwrap().is_empty());
    assert_eq!(state(&log, run).await, RunState::Pending);
    let promoted = log.promote(ROOM).await.unwrap();
    assert_eq!((promoted.queued.len(), promoted.parked), (0, 1));
    assert_eq!(log.promote(ROOM).await.unwrap(), Default::default());
    assert_eq!(state(&log, run).await, RunState::Pending);
    assert_eq!(log.snapshot().await.unwrap().parked, 1);
    log.resume_job("a").await.unwrap();
    assert_eq!(claim_due(&log).await.len(), 1);
    assert!(log.pause_job("nothing", "me").await.is_err());
}

#[tokio::test]
async fn all_jobs_pause_together() {
    let (_database, log) = log().await;
    start(&log, "a").await;
    let ids = promote(&log).await;
    start(&log, "b").await;
    log.pause_all("me").await.unwrap();
    assert_eq!(
        log.paused_all().await.unwrap().unwrap().1.as_deref(),
        Some("me")
    );
    assert!(log.claim(WORKER, &ids).await.unwrap().is_empty());
    assert!(promote(&log).await.is_empty());
    log.resume_all().await.unwrap();
    assert_eq!(claim_due(&log).await.len(), 2);
}
