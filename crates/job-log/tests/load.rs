//! With a million runs that are over and fifty thousand that are due, each hot statement is a look into an index.

use std::time::{Duration, Instant};

use tidegate_job::{Lease, RunState};
use tidegate_job_log::{Ending, Finished, Room};

use crate::fixture::*;

/// 300,000 runs that are over stand for the million: what reads them all takes seconds with either.
const FILL: &str = "
insert into tidegate.run (run_at, finished_at, state, job, source, params, priority, workflow_id)
select now(), now(), case when n % 100 = 0 then 'failed' else 'succeeded' end, 'a', 'api', '{}', n % 3, n
  from generate_series(1, 300000) as n;
insert into tidegate.run (run_at, state, job, source, params, priority, concurrency_key)
select case when n % 5 = 0 then now() + interval '1 day' else now() end, 'pending',
       case when n % 2 = 0 then 'a' else 'keyed' end, 'api', '{}', n % 7 - 3, case when n % 2 = 1 then 'k' || n % 100 end
  from generate_series(1, 50000) as n;";

#[tokio::test]
async fn fifty_thousand_due_runs_are_promoted_in_bounded_time() {
    let (database, log) = log().await;
    let client = sql(&database).await;
    client.batch_execute(FILL).await.unwrap();
    let room = Room {
        high: 500,
        normal: 500,
        low: 500,
    };
    let mut slowest = Duration::ZERO;
    let mut queued = 0;
    for _ in 0..10 {
        let began = Instant::now();
        let promoted = log.promote(room).await.unwrap();
        slowest = slowest.max(began.elapsed());
        let ids: Vec<_> = promoted.queued.iter().map(|(id, _)| *id).collect();
        queued += ids.len();
        let claimed = log.claim(WORKER, &ids[..50]).await.unwrap();
        let finished: Vec<Finished> = claimed
            .iter()
            .map(|one| Finished {
                lease: one.lease.clone(),
                ending: Ending::Succeeded { value: None },
            })
            .collect();
        let began = Instant::now();
        assert_eq!(log.finish(&finished).await.unwrap().len(), 50);
        slowest = slowest.max(began.elapsed());
    }
    assert!(queued > 2000, "{queued}");
    // Some tens of milliseconds; reading through all runs, or all that are pending, is much more.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    for (what, took) in timed(&log).await {
        assert!(took < Duration::from_millis(500), "{what}: {took:?}");
    }
}

/// How long the small statements take.
async fn timed(log: &tidegate_job_log::JobLog) -> Vec<(&'static str, Duration)> {
    let mut took = Vec::new();
    let mut began = Instant::now();
    let mut lap = |what| {
        took.push((what, began.elapsed()));
        began = Instant::now();
    };
    let run = start(log, "a").await;
    lap("start");
    log.next_pending_in().await.unwrap();
    lap("next_pending_in");
    log.recheck_blocked().await.unwrap();
    lap("recheck_blocked");
    log.beat(WORKER, &[]).await.unwrap();
    lap("beat");
    log.snapshot().await.unwrap();
    lap("snapshot");
    let filter = tidegate_job_log::list::Filter {
        states: vec![RunState::Failed],
        ..Default::default()
    };
    assert_eq!(log.runs(&filter, 50).await.unwrap().len(), 50);
    lap("list of failed");
    log.cancel(run).await.unwrap();
    lap("cancel");
    took
}

/// Counted by the server: entries of indexes of `run` that were read, and rows that were read without one.
#[tokio::test]
async fn no_hot_statement_reads_what_is_over() {
    let (database, log) = log().await;
    let client = sql(&database).await;
    let fill = FILL.replace("300000", "100000").replace("50000", "3000");
    client.batch_execute(&fill).await.unwrap();
    client
        .batch_execute("select pg_stat_force_next_flush()")
        .await
        .unwrap();
    let (filled, _) = read(&client).await;
    let ids = promote(&log).await;
    let claimed = log.claim(WORKER, &ids[..20]).await.unwrap();
    let finished: Vec<Finished> = claimed[..10]
        .iter()
        .map(|one| Finished {
            lease: one.lease.clone(),
            ending: failed("x"),
        })
        .collect();
    log.finish(&finished).await.unwrap();
    let held: Vec<Lease> = claimed[10..].iter().map(|one| one.lease.clone()).collect();
    log.beat(WORKER, &held).await.unwrap();
    log.message(&held[0], "x").await.unwrap();
    log.cancel(held[0].run).await.unwrap();
    log.recheck_blocked().await.unwrap();
    log.next_pending_in().await.unwrap();
    log.requeue_all().await.unwrap();
    log.reap(WORKER).await.unwrap();
    drop(log);
    // A connection reports what it counted when it ends.
    let open = "select count(*) from pg_stat_activity
                 where datname = current_database() and application_name = 'tidegate job log'";
    while client.query_one(open, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let (by_index, without) = read(&client).await;
    let by_index = by_index - filled;
    assert!((2000..80_000).contains(&by_index), "{by_index}");
    assert_eq!(without, 0);
}

/// What was read of `run`: entries of its indexes, and rows without one.
async fn read(client: &tokio_postgres::Client) -> (i64, i64) {
    let query = "select (select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes where relname = 'run'),
                        (select seq_tup_read from pg_stat_user_tables where schemaname = 'tidegate' and relname = 'run')";
    let row = client.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1))
}
