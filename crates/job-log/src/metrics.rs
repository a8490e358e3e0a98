//! The numbers that tell whether jobs flow. Cheap whatever has finished: only what is open is counted.

use std::time::Duration;

use crate::promote::{DUE, LEVELS};
use crate::{Error, JobLog};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub waiting: u64,
    /// Pending or sleeping, due or not; without those of paused jobs.
    pub pending: u64,
    pub parked: u64,
    pub blocked: u64,
    pub queued: u64,
    pub running: u64,
    pub workers: u64,
    /// How long the oldest due run has been due; zero: none is.
    pub oldest_due: Duration,
    /// How long the oldest due schedule has been due.
    pub schedule_lateness: Duration,
}

impl JobLog {
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let client = self.client().await?;
        let query = format!(
            "{LEVELS}, due as (select min(due.run_at) as at {DUE})
             select (select coalesce(sum(runs), 0)::bigint from tidegate.job
                       cross join lateral (select count(*) as runs from tidegate.run
                                            where run.job = job.name and run.state = 'waiting') as counted),
                    (select count(*) from tidegate.run where state in ('pending', 'sleeping') and not is_parked),
                    (select count(*) from tidegate.run where is_parked),
                    (select count(*) from tidegate.run where blocked_on is not null and state = 'blocked'),
                    count(*) filter (where active.state = 'queued'), count(*) filter (where active.state = 'running'),
                    (select count(*) from tidegate.job_worker),
                    (select extract(epoch from clock_timestamp() - at)::float8 from due),
                    (select extract(epoch from clock_timestamp() - min(next_due))::float8 from tidegate.schedule
                      where paused_at is null and deleted_at is null and next_due > '-infinity')
               from (select state from tidegate.run where state in ('queued', 'running')) as active"
        );
        let statement = client.prepare_cached(&query).await?;
        let row = client.query_one(&statement, &[]).await?;
        let count = |column| row.get::<_, i64>(column) as u64;
        let age = |column| {
            let seconds: Option<f64> = row.get(column);
            Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0))
        };
        Ok(Snapshot {
            waiting: count(0),
            pending: count(1),
            parked: count(2),
            blocked: count(3),
            queued: count(4),
            running: count(5),
            workers: count(6),
            oldest_due: age(7),
            schedule_lateness: age(8),
        })
    }

    /// How many runs failed for good, and were not run again or deleted. It counts them one by one: not for each second.
    pub async fn dead_runs(&self) -> Result<u64, Error> {
        let client = self.client().await?;
        let query = "select coalesce(sum(runs), 0)::bigint from tidegate.job
                      cross join lateral (select count(*) as runs from tidegate.run
                                           where run.job = job.name and run.state = 'failed') as counted";
        let row = client.query_one(query, &[]).await?;
        Ok(row.get::<_, i64>(0) as u64)
    }
}
