//! Due runs reach the queue, whatever is lost on the way, and leave those who are gone.

use std::time::Instant;

use tidegate_job::{RunState, StartOptions};
use tidegate_job_log::{Ending, Finished};

use crate::stage::{LEASE, Stage, give_way};

fn in_band(priority: i16) -> StartOptions {
    StartOptions {
        priority: Some(priority),
        ..StartOptions::default()
    }
}

#[tokio::test]
async fn a_due_run_is_queued_in_the_band_of_its_priority() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    for priority in [-1, 0, 0, 5] {
        stage.start("report", in_band(priority)).await;
    }
    stage.until_queued(4).await;
    let waiting = stage.queue.queued().await.unwrap();
    assert_eq!((waiting.high, waiting.normal, waiting.low), (1, 2, 1));
}

#[tokio::test]
async fn a_run_that_is_not_due_waits_and_then_does_not() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    let later = StartOptions {
        delay_ms: Some(300),
        ..StartOptions::default()
    };
    let run = stage.start("report", later).await;
    stage.until_queued(1).await;
    let early = format!(
        "select queued_at < run_at or run_at < created_at + interval '300 ms' from tidegate.run where id = {}",
        run.0
    );
    let row = stage.sql().await.query_one(&early, &[]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
}

#[tokio::test]
async fn what_a_flushed_or_restarted_redis_has_lost_is_queued_again() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    for _ in 0..30 {
        stage.start("report", StartOptions::default()).await;
    }
    stage.until_queued(30).await;
    stage.redis.flushall();
    stage.until_queued(30).await;
    stage.redis.kill9();
    stage.redis.restart();
    stage.until_queued(30).await;
}

#[tokio::test]
async fn a_new_leader_queues_what_the_one_before_only_counted() {
    let stage = Stage::new().await;
    let run = stage.start("report", StartOptions::default()).await;
    // As if a leader had ended between counting and pushing.
    let room = tidegate_job_log::Room {
        high: 1,
        normal: 1,
        low: 1,
    };
    assert_eq!(stage.log.promote(room).await.unwrap().queued[0].0, run);
    let _scheduler = stage.schedule();
    stage.until_queued(1).await;
}

#[tokio::test]
async fn a_worker_that_does_not_beat_loses_its_runs_and_one_that_does_keeps_them() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    stage.log.join("silent").await.unwrap();
    stage.join("alive").await;
    let lost = stage.start("report", StartOptions::default()).await;
    let kept = stage.start("report", StartOptions::default()).await;
    let first = stage.claim("silent", lost).await;
    let held = stage.claim("alive", kept).await;
    let begun = Instant::now();
    // The other one's beats go on until the first is given up, and a lease longer.
    let mut again = None;
    while again.is_none() || begun.elapsed() < LEASE * 3 {
        let beat = stage
            .log
            .beat("alive", std::slice::from_ref(&held.lease))
            .await
            .unwrap();
        assert!(!beat.is_lost && beat.gone.is_empty());
        let claimed = stage.log.claim("alive", &[lost]).await.unwrap();
        again = again.or(claimed.into_iter().next());
        give_way(begun, "the run of a silent worker is not given to others").await;
    }
    let again = again.unwrap();
    assert_eq!((first.attempt, again.attempt), (1, 2));
    assert!(again.lease.fence > first.lease.fence);
    // What the lost one says afterwards counts for nothing.
    let late = Finished {
        lease: first.lease,
        ending: Ending::Succeeded { value: None },
    };
    assert!(stage.log.finish(&[late]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_limit_holds_and_the_next_begins_when_one_ends() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    stage.join("w").await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(stage.start("single", StartOptions::default()).await);
    }
    for run in runs {
        let claimed = stage.claim("w", run).await;
        let others = "select count(*) = 1 from tidegate.run where state in ('queued', 'running')";
        stage.until(others).await;
        let finished = Finished {
            lease: claimed.lease,
            ending: Ending::Succeeded { value: None },
        };
        let states = stage.log.finish(&[finished]).await.unwrap();
        assert_eq!(states[&run], RunState::Succeeded);
    }
}
