//! Many runs that are due at once.

use std::time::Duration;

use super::*;

const JOBS: &str = "Parse.Cloud.job('nothing', () => {});";

/// Makes runs that are due, as one statement of the job log's own; then lets them begin all at once.
async fn flood(system: &System, runs: usize) {
    steer(system, Method::POST, "queue/pause").await;
    let made = format!(
        "with made as (
           insert into tidegate.run (run_at, job, source, params, state)
           select now(), 'nothing', 'api', '{{}}', 'pending' from generate_series(1, {runs}) returning id
         ) select array_agg(id) from made"
    );
    let client = system.sql().await;
    let ids: Vec<i64> = client.query_one(&made, &[]).await.unwrap().get(0);
    let announce = "select tidegate.announce_runs($1)";
    client.execute(announce, &[&ids]).await.unwrap();
    steer(system, Method::POST, "queue/resume").await;
}

/// Waits until at most so many have not ended; fails when none ends any more.
async fn drains(system: &System, to: i64) {
    let client = system.sql().await;
    let unfinished = "select count(*) from tidegate.run where state <> 'succeeded'";
    let (mut least, mut since) = (i64::MAX, Instant::now());
    while least > to {
        let left: i64 = client.query_one(unfinished, &[]).await.unwrap().get(0);
        if left < least {
            (least, since) = (left, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "{left} are left, and none ends");
        breathe().await;
    }
}

async fn happened_once_each(system: &System, runs: usize, kind: &str) {
    let once = format!(
        "select count(*) = {runs} and count(distinct run_id) = {runs} from tidegate.run_event where kind = '{kind}'"
    );
    system.wait_for_sql(&once).await;
}

async fn all_at_once(runs: usize) -> Duration {
    let system = system(JOBS).await;
    let begun = Instant::now();
    flood(&system, runs).await;
    drains(&system, 0).await;
    let took = begun.elapsed();
    for kind in ["queued", "started", "finished"] {
        happened_once_each(&system, runs, kind).await;
    }
    took
}

#[tokio::test]
async fn two_thousand_that_are_due_at_once_run_once_each() {
    all_at_once(2_000).await;
}

#[tokio::test]
async fn a_queue_that_is_flushed_again_and_again_runs_each_once() {
    let mut system = system(JOBS).await;
    system.serve("worker");
    flood(&system, 1_000).await;
    for left in [900, 600, 300] {
        drains(&system, left).await;
        system.redis.flushall();
    }
    drains(&system, 0).await;
    for kind in ["started", "finished"] {
        happened_once_each(&system, 1_000, kind).await;
    }
}

/// A minute or more: run by hand.
#[tokio::test]
#[ignore = "takes minutes"]
async fn fifty_thousand_that_are_due_at_once_run_once_each() {
    println!("{:?}", all_at_once(50_000).await);
}
