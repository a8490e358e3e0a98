//! Many runs that are due at once.

use super::*;

const JOBS: &str = "Parse.Cloud.job('nothing', () => {});";

/// Makes runs that are due, as one statement of the job log's own; then lets them begin all at once.
async fn drain(runs: usize) -> std::time::Duration {
    let system = system(JOBS).await;
    steer(&system, Method::POST, "queue/pause").await;
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
    let begun = Instant::now();
    steer(&system, Method::POST, "queue/resume").await;
    let left = "select count(*) from tidegate.run where state <> 'succeeded'";
    let mut last = (runs as i64, Instant::now());
    while last.0 > 0 {
        let now = client.query_one(left, &[]).await.unwrap().get(0);
        if now < last.0 {
            last = (now, Instant::now());
        }
        assert!(last.1.elapsed() < PATIENCE, "{now} are left, and none ends");
        breathe().await;
    }
    let took = begun.elapsed();
    for kind in ["queued", "started", "finished"] {
        let once = format!(
            "select count(*) = {runs} and count(distinct run_id) = {runs} from tidegate.run_event where kind = '{kind}'"
        );
        system.wait_for_sql(&once).await;
    }
    took
}

#[tokio::test]
async fn two_thousand_that_are_due_at_once_run_once_each() {
    drain(2_000).await;
}

/// A minute or more: run by hand.
#[tokio::test]
#[ignore = "takes minutes"]
async fn fifty_thousand_that_are_due_at_once_run_once_each() {
    println!("{:?}", drain(50_000).await);
}
