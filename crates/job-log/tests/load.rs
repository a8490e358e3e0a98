//! With very many runs that are over and fifty thousand that are due, each hot statement is a look into an index.
//!
//! Measured by what the server says it has read: a clock would tell about this machine's other work.

use tidegate_job::{Lease, RunState};
use tidegate_job_log::list::Filter;
use tidegate_job_log::{Ending, Finished, JobLog, Room};
use tokio_postgres::Client;

use crate::fixture::*;

/// All that are over belong to workflows, and all plans are made without statistics.
const FILL: &str = "
insert into tidegate.run (run_at, finished_at, state, job, source, params, priority, workflow_id)
select now(), now(), case when n % 100 = 0 then 'failed' else 'succeeded' end, 'a', 'api', '{}', n % 3, n
  from generate_series(1, 150000) as n;
insert into tidegate.run (run_at, state, job, source, params, priority, concurrency_key)
select case when n % 5 = 0 then now() + interval '1 day' else now() end, 'pending',
       case when n % 2 = 0 then 'a' else 'keyed' end, 'api', '{}', n % 7 - 3, case when n % 2 = 1 then 'k' || n % 100 end
  from generate_series(1, 50000) as n;";

/// Rounds of promoting 100 runs of each band.
const ROUNDS: usize = 10;

#[tokio::test]
async fn what_is_hot_reads_what_it_works_on_and_nothing_else() {
    let (database, log) = log().await;
    let client = sql(&database).await;
    client.batch_execute(FILL).await.unwrap();
    client
        .batch_execute("select pg_stat_force_next_flush()")
        .await
        .unwrap();
    let (filled, _) = read(&client).await;
    for _ in 0..ROUNDS {
        promote_and_finish(&log).await;
    }
    steer(&log).await;
    drop(log);
    // A connection reports what it counted when it ends.
    let open = "select count(*) from pg_stat_activity
                 where datname = current_database() and application_name = 'tidegate job log'";
    while client.query_one(open, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let (by_index, without) = read(&client).await;
    let by_index = by_index - filled;
    // Some ten entries a run. All that are due, read once a round, were 400,000; all that are over, once, 150,000.
    assert!((3000..100_000).contains(&by_index), "{by_index}");
    assert_eq!(without, 0);
}

async fn promote_and_finish(log: &JobLog) {
    let room = Room {
        high: 100,
        normal: 100,
        low: 100,
    };
    let promoted = log.promote(room).await.unwrap();
    assert_eq!(promoted.queued.len() + promoted.blocked, 300);
    let ids: Vec<_> = promoted.queued[..50].iter().map(|(id, _)| *id).collect();
    let claimed = log.claim(WORKER, &ids).await.unwrap();
    let finished = claimed.iter().map(|one| Finished {
        lease: one.lease.clone(),
        ending: Ending::Succeeded { value: None },
    });
    let counted = log.finish(&finished.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(counted.len(), 50);
}

/// The smaller statements, once each.
async fn steer(log: &JobLog) {
    let ids = log
        .queued_longer_than(std::time::Duration::ZERO, 20)
        .await
        .unwrap();
    let claimed = log.claim(WORKER, &ids).await.unwrap();
    let held: Vec<Lease> = claimed.into_iter().map(|one| one.lease).collect();
    log.beat(WORKER, &held).await.unwrap();
    log.message(&held[0], "x").await.unwrap();
    log.cancel(held[0].run).await.unwrap();
    log.recheck_blocked().await.unwrap();
    log.next_pending_in().await.unwrap();
    log.requeue_all().await.unwrap();
    reap(log, WORKER).await;
    let failed = Filter {
        states: vec![RunState::Failed],
        ..Filter::default()
    };
    assert_eq!(log.runs(&failed, 50).await.unwrap().len(), 50);
}

/// What was read of `run`: entries of its indexes, and rows without one.
async fn read(client: &Client) -> (i64, i64) {
    let query = "select (select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes where relname = 'run'),
                        (select seq_tup_read from pg_stat_user_tables where schemaname = 'tidegate' and relname = 'run')";
    let row = client.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1))
}
