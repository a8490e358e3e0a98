//! What a run writes while it runs.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_job::{LogBudget, LogLevel, LogLine, RunState};
use tidegate_job_log::Error;
use tidegate_job_log::attempt::Progress;

use crate::fixture::*;

fn line(text: &str) -> LogLine {
    LogLine {
        at_ms: 1_800_000_000_000,
        level: LogLevel::Info,
        text: text.to_owned(),
    }
}

#[tokio::test]
async fn progress_message_warning_and_logs_are_seen_while_it_runs() {
    let (database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    let progress = Progress {
        done: 40.0,
        total: Some(100.0),
        message: Some("rows".into()),
    };
    log.progress(&lease, &progress).await.unwrap();
    log.message(&lease, "half\0way").await.unwrap();
    log.warn(&lease, "nearly over").await.unwrap();
    let mut budget = LogBudget::default();
    let lost = log
        .logs(vec![(&lease, &mut budget, vec![line("one"), line("two")])])
        .await
        .unwrap();
    assert!(lost.is_empty());
    let summary = log.run(lease.run).await.unwrap().summary;
    assert_eq!(
        summary.progress,
        Some(json!({ "done": 40.0, "total": 100.0, "message": "rows" }))
    );
    let expected = ("running".into(), Some("halfway".into()), false);
    assert_eq!(shown(&database, lease.run).await, expected);
    let first = log.log_lines(lease.run, None, 0, 10).await.unwrap();
    let texts: Vec<&str> = first.iter().map(|one| one.line.text.as_str()).collect();
    assert_eq!(texts, ["one", "two"]);
    // A follower goes on after the last that it has seen.
    log.logs(vec![(&lease, &mut budget, vec![line("three")])])
        .await
        .unwrap();
    let more = log
        .log_lines(lease.run, Some(1), first[1].event, 10)
        .await
        .unwrap();
    assert_eq!(more.len(), 1);
    assert_eq!(more[0].line.text, "three");
    assert!(
        log.log_lines(lease.run, Some(2), 0, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let expected = [
        "created", "queued", "started", "progress", "message", "warned", "log", "log",
    ];
    assert_eq!(kinds(&log, lease.run).await, expected);
}

#[tokio::test]
async fn logs_of_many_runs_go_in_one_batch_and_those_of_lost_ones_are_named() {
    let (_database, log) = log().await;
    let one = running(&log, "a").await.lease;
    let two = running(&log, "b").await.lease;
    let old = lease(two.run, WORKER, 0);
    let (mut first, mut second) = (LogBudget::default(), LogBudget::default());
    let batches = vec![
        (&one, &mut first, vec![line("mine")]),
        (&old, &mut second, vec![line("not mine")]),
    ];
    assert_eq!(log.logs(batches).await.unwrap(), [two.run]);
    assert_eq!(log.log_lines(one.run, None, 0, 10).await.unwrap().len(), 1);
    assert!(
        log.log_lines(two.run, None, 0, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn who_does_not_hold_the_run_writes_nothing() {
    let (_database, log) = log().await;
    let held = running(&log, "a").await.lease;
    for other in [
        lease(held.run, "w2", held.fence),
        lease(held.run, WORKER, held.fence + 1),
    ] {
        let progress = Progress {
            done: 1.0,
            total: None,
            message: None,
        };
        let refused = [
            log.progress(&other, &progress).await.err(),
            log.message(&other, "x").await.err(),
            log.warn(&other, "x").await.err(),
            log.step(&other, "s", &json!(1)).await.err(),
            log.sleep(&other, "s", 1).await.err(),
            log.suspend(&other, Timestamp::now()).await.err(),
        ];
        for error in refused {
            assert!(matches!(error, Some(Error::Lost { .. })), "{error:?}");
        }
    }
    assert_eq!(
        kinds(&log, held.run).await,
        ["created", "queued", "started"]
    );
}

#[tokio::test]
async fn a_step_is_remembered_once_and_given_to_the_next_attempt() {
    let (_database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    let value = json!({ "rows": [1.5, "ä", null] });
    assert_eq!(log.step(&lease, "fetch", &value).await.unwrap(), value);
    assert_eq!(
        log.step(&lease, "fetch", &json!("other")).await.unwrap(),
        value
    );
    assert_eq!(
        log.step(&lease, "empty", &json!(null)).await.unwrap(),
        json!(null)
    );
    assert_eq!(
        log.sleep(&lease, "fetch", 1_800_000_000_000).await.unwrap(),
        1_800_000_000_000
    );
    assert_eq!(
        log.sleep(&lease, "fetch", 5).await.unwrap(),
        1_800_000_000_000
    );
    let too_large = json!("x".repeat(1_048_577));
    let error = log
        .step(&lease, "large", &too_large)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1048579 bytes") && error.contains("1048576"),
        "{error}"
    );
    assert!(matches!(
        log.step(&lease, "", &value).await,
        Err(Error::Invalid { .. })
    ));
    let retry = tidegate_job_log::Ending::Retry {
        after: std::time::Duration::ZERO,
        error: "x".into(),
    };
    finish(&log, &lease, retry).await;
    let next = claim_due(&log).await.remove(0);
    assert_eq!(next.attempt, 2);
    assert_eq!(next.steps["fetch"], value);
    assert_eq!(next.steps["empty"], json!(null));
    assert_eq!(next.sleeps["fetch"], 1_800_000_000_000);
    assert_eq!(log.run(lease.run).await.unwrap().steps["fetch"], value);
}

#[tokio::test]
async fn steps_have_a_limit_and_those_that_are_there_are_answered_beyond_it() {
    let (database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    let fill = format!(
        "insert into tidegate.run_step (run_id, kind, name, value, attempt)
         select {}, 'step', 's' || n, n::text, 1 from generate_series(1, 1000) as n",
        lease.run.0
    );
    sql(&database).await.batch_execute(&fill).await.unwrap();
    assert_eq!(log.step(&lease, "s7", &json!(0)).await.unwrap(), json!(7));
    let error = log
        .step(&lease, "one more", &json!(0))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("1000 steps"), "{error}");
}

#[tokio::test]
async fn a_sleeping_run_frees_its_worker_and_goes_on_with_the_same_attempt() {
    let (database, log) = log().await;
    let lease = running(&log, "one").await.lease;
    let blocked = start(&log, "one").await;
    promote(&log).await;
    assert_eq!(state(&log, blocked).await, RunState::Blocked);
    let until = Timestamp::now() + SignedDuration::from_secs(60);
    assert_eq!(
        log.suspend(&lease, until).await.unwrap(),
        RunState::Sleeping
    );
    assert_eq!(shown(&database, lease.run).await.0, "scheduled");
    // What it blocked may run.
    assert_eq!(promote(&log).await, [blocked]);
    let woken = format!(
        "update tidegate.run set run_at = now() where id = {}",
        lease.run.0
    );
    sql(&database).await.batch_execute(&woken).await.unwrap();
    let claimed = log.claim(WORKER, &[blocked]).await.unwrap();
    promote(&log).await;
    assert_eq!(state(&log, lease.run).await, RunState::Blocked);
    succeed(&log, &claimed[0].lease).await;
    let resumed = claim_due(&log).await.remove(0);
    assert_eq!((resumed.attempt, resumed.is_resumed), (1, true));
    assert_eq!(shown(&database, lease.run).await.0, "running");
    let expected = [
        "created", "queued", "started", "sleeping", "blocked", "queued", "resumed",
    ];
    assert_eq!(kinds(&log, lease.run).await, expected);
}
