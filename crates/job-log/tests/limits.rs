//! Limits of jobs and keys, and the order of priorities.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tidegate_job::{Band, JobDefinition, JobOptions, NewRun, RunId, RunState};
use tidegate_job_log::{Ending, Finished, JobLog, Room};

use crate::fixture::*;

#[tokio::test]
async fn runs_come_by_priority_then_time_then_id_and_each_band_has_its_room() {
    let (_database, log) = log().await;
    let priorities = [0, 5, -5, 100, 0, -100, 5];
    let mut ids = Vec::new();
    for priority in priorities {
        ids.push(start_with(&log, "a", json!({ "priority": priority })).await);
    }
    let room = Room {
        high: 2,
        normal: 10,
        low: 1,
    };
    let promoted = log.promote(room).await.unwrap();
    let expected = [
        (ids[3], Band::High),
        (ids[1], Band::High),
        (ids[0], Band::Normal),
        (ids[4], Band::Normal),
        (ids[2], Band::Low),
    ];
    assert_eq!(promoted.queued, expected);
    assert_eq!(promote(&log).await, [ids[6], ids[5]]);
}

#[tokio::test]
async fn a_limit_holds_back_and_the_next_by_priority_follows() {
    let (_database, log) = log().await;
    let first = start(&log, "one").await;
    let low = start_with(&log, "one", json!({ "priority": -1 })).await;
    let high = start_with(&log, "one", json!({ "priority": 1 })).await;
    let promoted = log.promote(ROOM).await.unwrap();
    assert_eq!(
        (promoted.queued.as_slice(), promoted.blocked),
        (&[(high, Band::High)][..], 2)
    );
    let summary = log.run(low).await.unwrap().summary;
    assert_eq!(summary.blocked_on.as_deref(), Some("job one"));
    let claimed = log.claim(WORKER, &[high]).await.unwrap();
    assert_eq!(log.recheck_blocked().await.unwrap(), 0);
    succeed(&log, &claimed[0].lease).await;
    assert_eq!(state(&log, first).await, RunState::Pending);
    assert_eq!(state(&log, low).await, RunState::Blocked);
    let claimed = claim_due(&log).await;
    fail(&log, &claimed[0].lease).await;
    assert_eq!(promote(&log).await, [low]);
}

#[tokio::test]
async fn keys_are_counted_apart_and_one_is_the_limit_when_nothing_is_said() {
    let (_database, log) = log().await;
    for key in ["x", "y"] {
        for _ in 0..3 {
            start_with(&log, "keyed", json!({ "concurrencyKey": key })).await;
        }
    }
    start(&log, "keyed").await;
    assert_eq!(promote(&log).await.len(), 5);
    for _ in 0..2 {
        start_with(&log, "a", json!({ "concurrencyKey": "x" })).await;
    }
    let promoted = log.promote(ROOM).await.unwrap();
    assert_eq!((promoted.queued.len(), promoted.blocked), (1, 1));
}

#[tokio::test]
async fn what_ends_otherwise_frees_its_place_too() {
    let (_database, log) = log().await;
    for _ in 0..7 {
        start(&log, "one").await;
    }
    // Cancelled while queued.
    let queued = promote(&log).await;
    log.cancel(queued[0]).await.unwrap();
    // Deleted while queued.
    let queued = promote(&log).await;
    log.delete(queued[0], false).await.unwrap();
    // Its worker was lost.
    let queued = promote(&log).await;
    log.claim(WORKER, &queued).await.unwrap();
    reap(&log, WORKER).await;
    log.join("w2").await.unwrap();
    let next = promote(&log).await;
    assert_eq!(next.len(), 1);
    // Tried again later.
    let lease = log.claim("w2", &next).await.unwrap().remove(0).lease;
    let retry = Ending::Retry {
        after: std::time::Duration::from_secs(60),
        error: "x".into(),
    };
    finish(&log, &lease, retry).await;
    let next = promote(&log).await;
    assert_eq!(next.len(), 1);
    // Lost by the queue.
    assert_eq!(log.requeue(&next).await.unwrap(), 1);
    assert_eq!(promote(&log).await.len(), 1);
}

#[tokio::test]
async fn a_raised_limit_and_a_cancelled_middleman_wake_the_blocked() {
    let (_database, log) = log().await;
    for _ in 0..4 {
        start(&log, "one").await;
    }
    promote(&log).await;
    let mut jobs = jobs();
    let one = jobs.iter_mut().find(|job| job.name == "one").unwrap();
    one.options.concurrency = Some(3);
    log.register(&jobs, &[], "r2").await.unwrap();
    assert_eq!(log.recheck_blocked().await.unwrap(), 2);
    assert_eq!(promote(&log).await.len(), 2);
    assert_eq!(log.recheck_blocked().await.unwrap(), 0);
}

/// Three promote, three claim and finish, at once: no more run together than may, and none is forgotten. Nobody looks at
/// blocked groups from time to time here: whoever ends a run wakes the next, or nothing does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_passed_and_no_wake_up_is_lost() {
    const RUNS: usize = 240;
    let (_database, log) = log().await;
    for at in 0..RUNS {
        match at % 3 {
            0 => start(&log, "one").await,
            _ => {
                start_with(
                    &log,
                    "keyed",
                    json!({ "concurrencyKey": format!("k{}", at % 2) }),
                )
                .await
            }
        };
    }
    let finished = Arc::new(AtomicUsize::new(0));
    let worker = |name: &'static str| {
        let (log, finished) = (log.clone(), finished.clone());
        async move {
            log.join(name).await.unwrap();
            let mut idle = 0;
            while finished.load(Ordering::SeqCst) < RUNS {
                let done = work(&log, name).await;
                finished.fetch_add(done, Ordering::SeqCst);
                idle = if done == 0 { idle + 1 } else { 0 };
                assert!(idle < 2000, "runs wait that nobody wakes");
            }
        }
    };
    let workers = ["x", "y", "z"].map(|name| tokio::spawn(worker(name)));
    for worker in workers {
        worker.await.unwrap();
    }
    let counts = log.counts().await.unwrap();
    assert!(
        counts
            .iter()
            .all(|count| count.state == RunState::Succeeded),
        "{counts:?}"
    );
    assert_eq!(
        counts.iter().map(|count| count.runs).sum::<u64>(),
        RUNS as u64
    );
}

/// Promotes, claims and ends what it got; checks the limits meanwhile. Returns how many ended.
async fn work(log: &JobLog, name: &str) -> usize {
    let ids = match log.promote(ROOM).await {
        Ok(promoted) => promoted
            .queued
            .into_iter()
            .map(|(id, _)| id)
            .collect::<Vec<_>>(),
        Err(error) => panic!("{error:?}"),
    };
    let claimed = log.claim(name, &ids).await.unwrap();
    if claimed.is_empty() {
        return 0;
    }
    let filter = tidegate_job_log::list::Filter {
        states: vec![RunState::Running, RunState::Queued],
        ..Default::default()
    };
    let mut active: BTreeMap<(String, Option<String>), usize> = BTreeMap::new();
    for run in log.runs(&filter, 1000).await.unwrap() {
        *active.entry((run.job, run.concurrency_key)).or_default() += 1;
    }
    for ((job, key), count) in active {
        assert!(
            count <= if job == "one" { 1 } else { 2 },
            "{count} of {job} {key:?}"
        );
    }
    let finished: Vec<Finished> = claimed
        .iter()
        .map(|one| Finished {
            lease: one.lease.clone(),
            ending: Ending::Succeeded { value: None },
        })
        .collect();
    let counted = log.finish(&finished).await.unwrap();
    assert_eq!(counted.len(), claimed.len());
    counted.len()
}

#[tokio::test]
async fn a_param_can_be_the_key() {
    let (_database, log) = log().await;
    let options = json!({ "concurrencyKey": "customer" });
    let job = JobDefinition {
        name: "per customer".into(),
        options: JobOptions::parse("the options", &options).unwrap(),
    };
    log.register(&[job], &[], "r2").await.unwrap();
    let run = |params: serde_json::Value, options: serde_json::Value| NewRun {
        params: params.to_string(),
        ..new_run("per customer", options)
    };
    let runs = [
        run(json!({ "customer": "a" }), json!({})),
        run(json!({ "customer": "a" }), json!({})),
        run(json!({ "customer": 7 }), json!({})),
        run(
            json!({ "customer": "a" }),
            json!({ "concurrencyKey": "its own" }),
        ),
        run(json!({}), json!({})),
        run(json!({}), json!({})),
    ];
    let started = log.start(&runs).await.unwrap();
    let promoted = log.promote(ROOM).await.unwrap();
    let queued: Vec<RunId> = promoted.queued.iter().map(|(run, _)| *run).collect();
    // Only the second of customer a waits; a run without the param has no key.
    let expected: Vec<RunId> = [0, 2, 3, 4, 5]
        .map(|place: usize| started[place].id)
        .to_vec();
    assert_eq!((queued, promoted.blocked), (expected, 1));
}
