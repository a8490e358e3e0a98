//! Beats, lost workers, drains.

use std::time::Duration;

use tidegate_job::RunState;
use tidegate_job_log::{Beat, Ending, Error};

use crate::fixture::*;

#[tokio::test]
async fn a_beat_moves_and_tells_what_to_end() {
    let (_database, log) = log().await;
    let [kept, cancelled, deleted] = ["a", "b", "c"];
    let mut leases = Vec::new();
    for job in [kept, cancelled, deleted] {
        leases.push(running(&log, job).await.lease);
    }
    assert_eq!(log.beat(WORKER, &leases).await.unwrap(), Beat::default());
    assert_eq!(log.cancel(leases[1].run).await.unwrap(), RunState::Running);
    log.delete(leases[2].run, true).await.unwrap();
    let beat = log.beat(WORKER, &leases).await.unwrap();
    assert!(!beat.is_lost);
    assert_eq!(beat.cancel, [leases[1].clone()]);
    assert_eq!(beat.gone, [leases[2].clone()]);
    assert_eq!(log.workers().await.unwrap()[0].beat, 2);
    reap(&log, WORKER).await;
    let beat = log.beat(WORKER, &leases).await.unwrap();
    assert!(beat.is_lost);
    assert_eq!(beat.gone, leases);
    assert!(log.beat(WORKER, &[]).await.unwrap().is_lost);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_given_back() {
    let (database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    log.beat(WORKER, &[]).await.unwrap();
    assert_eq!(state(&log, lease.run).await, RunState::Running);
    let long_ago = "update tidegate.run set claimed_at = claimed_at - interval '11 seconds'";
    sql(&database).await.batch_execute(long_ago).await.unwrap();
    log.beat(WORKER, std::slice::from_ref(&lease))
        .await
        .unwrap();
    assert_eq!(state(&log, lease.run).await, RunState::Running);
    log.beat(WORKER, &[]).await.unwrap();
    assert_eq!(state(&log, lease.run).await, RunState::Pending);
    assert_eq!(claim_due(&log).await[0].attempt, 1);
}

#[tokio::test]
async fn a_run_that_loses_three_workers_in_a_row_is_quarantined() {
    let (database, log) = log().await;
    let run = start(&log, "a").await;
    for crash in 1..=3 {
        let worker = format!("poisoned-{crash}");
        log.join(&worker).await.unwrap();
        let ids = promote(&log).await;
        let claimed = log.claim(&worker, &ids).await.unwrap().remove(0);
        assert_eq!((claimed.attempt, claimed.crashes), (crash, crash - 1));
        assert_eq!(reap(&log, &worker).await, [run]);
    }
    assert_eq!(state(&log, run).await, RunState::Failed);
    let (status, message, _) = shown(&database, run).await;
    assert_eq!(status, "failed");
    assert!(message.unwrap().starts_with("quarantined"));
    let events = log.history(run, 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().body["isQuarantined"], true);
    assert_eq!(
        events.iter().filter(|event| event.kind == "lost").count(),
        3
    );
}

#[tokio::test]
async fn an_attempt_that_ends_by_itself_begins_the_count_of_losses_anew() {
    let (_database, log) = log().await;
    let run = start_with(&log, "a", serde_json::json!({ "retries": 10 })).await;
    for round in 0..2 {
        for crash in 0..2 {
            let worker = format!("w-{round}-{crash}");
            log.join(&worker).await.unwrap();
            let ids = promote(&log).await;
            log.claim(&worker, &ids).await.unwrap();
            reap(&log, &worker).await;
        }
        let lease = claim_due(&log).await.remove(0).lease;
        let retry = Ending::Retry {
            after: Duration::ZERO,
            error: "x".into(),
        };
        assert_eq!(finish(&log, &lease, retry).await, Some(RunState::Pending));
    }
    assert_eq!(state(&log, run).await, RunState::Pending);
}

#[tokio::test]
async fn a_run_without_retries_is_not_begun_again_when_its_worker_is_lost() {
    let (_database, log) = log().await;
    let by_job = running(&log, "keyed").await.lease.run;
    let by_start = start_with(&log, "a", serde_json::json!({ "retries": 0 })).await;
    claim_due(&log).await;
    reap(&log, WORKER).await;
    for run in [by_job, by_start] {
        assert_eq!(state(&log, run).await, RunState::Failed, "{run}");
    }
}

#[tokio::test]
async fn who_leaves_hands_back_and_no_attempt_is_lost() {
    let (_database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    assert_eq!(log.leave(WORKER).await.unwrap(), [lease.run]);
    assert!(log.workers().await.unwrap().is_empty());
    assert!(matches!(
        log.message(&lease, "x").await,
        Err(Error::Lost { .. })
    ));
    log.join("w2").await.unwrap();
    let ids = promote(&log).await;
    let again = log.claim("w2", &ids).await.unwrap().remove(0);
    assert_eq!(
        (again.attempt, again.crashes, again.is_resumed),
        (1, 0, true)
    );
    // A name that is on no list and still holds runs is seen, and can be reaped.
    let delete = "delete from tidegate.job_worker";
    sql(&_database).await.batch_execute(delete).await.unwrap();
    assert_eq!(log.workers().await.unwrap()[0].name, "w2");
    assert_eq!(reap(&log, "w2").await, [lease.run]);
}

#[tokio::test]
async fn a_worker_that_has_beaten_since_it_was_looked_at_is_not_lost() {
    let (_database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    let seen = log.workers().await.unwrap()[0].beat;
    log.beat(WORKER, std::slice::from_ref(&lease))
        .await
        .unwrap();
    assert_eq!(log.reap(WORKER, seen).await.unwrap(), None);
    assert_eq!(state(&log, lease.run).await, RunState::Running);
    assert_eq!(log.workers().await.unwrap().len(), 1);
    let reaped = log.reap(WORKER, seen + 1).await.unwrap();
    assert_eq!(reaped, Some(vec![lease.run]));
    assert_eq!(state(&log, lease.run).await, RunState::Pending);
}

#[tokio::test]
async fn a_claim_at_the_moment_of_the_loss_leaves_no_run_behind() {
    let (_database, log) = log().await;
    for round in 0..30 {
        let worker = format!("r-{round}");
        log.join(&worker).await.unwrap();
        let run = start(&log, "a").await;
        let ids = promote(&log).await;
        let (claimer, name) = (log.clone(), worker.clone());
        let claim = tokio::spawn(async move { claimer.claim(&name, &ids).await });
        reap(&log, &worker).await;
        let was_refused = matches!(claim.await.unwrap(), Err(Error::NotAWorker { .. }));
        let expected = if was_refused {
            RunState::Queued
        } else {
            RunState::Pending
        };
        assert_eq!(state(&log, run).await, expected);
        log.delete(run, false).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_queue_lost_is_pending_again() {
    let (_database, log) = log().await;
    for _ in 0..3 {
        start(&log, "a").await;
    }
    let ids = promote(&log).await;
    let zero = Duration::ZERO;
    assert_eq!(log.queued_longer_than(zero, 10).await.unwrap(), ids);
    let minute = Duration::from_secs(60);
    assert!(log.queued_longer_than(minute, 10).await.unwrap().is_empty());
    assert_eq!(log.requeue(&ids[..1]).await.unwrap(), 1);
    assert_eq!(log.requeue_all().await.unwrap(), 2);
    assert_eq!(promote(&log).await, ids);
}

/// As if Postgres's clock had been put back by an hour after they were due.
#[tokio::test]
async fn what_was_due_stays_due_when_the_clock_goes_back() {
    let (database, log) = log().await;
    let client = sql(&database).await;
    let put_back = async || {
        let update = "update tidegate.run set run_at = run_at + interval '1 hour'";
        client.batch_execute(update).await.unwrap();
    };
    let queued = start(&log, "a").await;
    assert_eq!(promote(&log).await, [queued]);
    put_back().await;
    assert_eq!(log.requeue(&[queued]).await.unwrap(), 1);
    let lease = claim_due(&log).await.remove(0).lease;
    put_back().await;
    assert_eq!(
        finish(&log, &lease, Ending::HandedBack).await,
        Some(RunState::Pending)
    );
    claim_due(&log).await.remove(0);
    put_back().await;
    assert_eq!(reap(&log, WORKER).await, [queued]);
    log.join("w2").await.unwrap();
    let ids = promote(&log).await;
    assert_eq!(ids, [queued]);
    put_back().await;
    log.pause_all("me").await.unwrap();
    assert!(log.claim("w2", &ids).await.unwrap().is_empty());
    log.resume_all().await.unwrap();
    assert_eq!(promote(&log).await, [queued]);
}

#[tokio::test]
async fn what_a_limit_held_back_stays_due_when_the_clock_goes_back() {
    let (database, log) = log().await;
    let first = running(&log, "one").await.lease;
    let blocked = start(&log, "one").await;
    promote(&log).await;
    assert_eq!(state(&log, blocked).await, RunState::Blocked);
    let update = "update tidegate.run set run_at = run_at + interval '1 hour'";
    sql(&database).await.batch_execute(update).await.unwrap();
    succeed(&log, &first).await;
    assert_eq!(promote(&log).await, [blocked]);
}

#[tokio::test]
async fn one_process_leads_and_words_are_heard() {
    let (_database, log) = log().await;
    let leader = log.lead().await.unwrap().unwrap();
    assert!(log.is_led().await.unwrap());
    assert!(log.lead().await.unwrap().is_none());
    leader.confirm().await.unwrap();
    let mut listener = log.listen().await.unwrap();
    let long = Duration::from_secs(20);
    let run = start(&log, "a").await;
    assert_eq!(
        listener.next(long).await.unwrap(),
        Some(tidegate_job_log::Notice::Changed)
    );
    claim_due(&log).await;
    log.cancel(run).await.unwrap();
    assert_eq!(
        listener.next(long).await.unwrap(),
        Some(tidegate_job_log::Notice::Cancel(run))
    );
    let short = Duration::from_millis(10);
    assert_eq!(listener.next(short).await.unwrap(), None);
}

#[tokio::test]
async fn a_change_of_schedules_is_a_word_of_its_own() {
    use tidegate_job_log::Notice;
    use tidegate_job_log::schedule::{NewSchedule, Source, Target};
    let (database, log) = log().await;
    log.announce_parse_schedules().await.unwrap();
    let schedule = NewSchedule {
        name: "s".into(),
        source: Source::Api,
        target: Target::Job("a".into()),
        options: serde_json::json!({ "every": "1h" }),
    };
    let mut listener = log.listen().await.unwrap();
    let long = Duration::from_secs(20);
    log.put_schedule(&schedule, true).await.unwrap();
    log.pause_schedule("s", "me").await.unwrap();
    log.resume_schedule("s").await.unwrap();
    log.replace_schedules(Source::Api, &[]).await.unwrap();
    let row = r#"insert into "_JobSchedule" ("objectId") values ('x')"#;
    sql(&database).await.batch_execute(row).await.unwrap();
    for _ in 0..5 {
        assert_eq!(listener.next(long).await.unwrap(), Some(Notice::Schedules));
    }
    start(&log, "a").await;
    assert_eq!(listener.next(long).await.unwrap(), Some(Notice::Changed));
}

/// A process that is stopped confirms nothing, and closes nothing either.
#[tokio::test]
async fn a_leader_that_stands_still_loses_the_lead() {
    let (_database, log) = log().await;
    let leader = log.lead().await.unwrap().unwrap();
    while log.is_led().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(leader.confirm().await.unwrap_err().is_transient());
    assert!(log.lead().await.unwrap().is_some());
}

#[tokio::test]
async fn an_isolate_that_ends_counts_with_the_workers_that_are_lost() {
    let (_database, log) = log().await;
    let run = start(&log, "a").await;
    for crashes in 0..2 {
        let claimed = claim_due(&log).await.remove(0);
        assert_eq!(claimed.crashes, crashes);
        let crashed = Ending::Crashed {
            after: Duration::ZERO,
            error: "the isolate ended".into(),
        };
        assert_eq!(
            finish(&log, &claimed.lease, crashed).await,
            Some(RunState::Pending)
        );
    }
    claim_due(&log).await;
    reap(&log, WORKER).await;
    assert_eq!(state(&log, run).await, RunState::Failed);
}
