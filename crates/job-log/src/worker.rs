//! The list of workers, and what becomes of the runs of one that is gone.
//!
//! A worker beats; the leading scheduler watches. A beat is a count: whether it moves is measured on the leader's own
//! monotonic clock, so no clock that is put forward or back makes a worker look lost.

use tidegate_job::{Lease, RunId};
use tokio_postgres::Row;

use crate::text::{bigints, run_id};
use crate::{Error, JobLog};

/// A claim whose answer was lost is given back after this long; a claim's answer takes milliseconds.
const STRAY_AFTER_SECONDS: f64 = 10.0;

/// What a worker learns by a beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// It was taken off the list: all that it runs is somebody else's. Join again.
    pub is_lost: bool,
    /// To be ended, and then finished as cancelled.
    pub cancel: Vec<Lease>,
    /// Not its own any more, or deleted: to be ended, and nothing more.
    pub gone: Vec<Lease>,
}

/// A worker as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerBeat {
    pub name: String,
    pub beat: u64,
}

const BEAT: &str = "
with beaten as (
    update tidegate.job_worker set beat = beat + 1 where name = $1 returning name
)
select exists (select from beaten), told.place, told.is_gone
  from (select) as one
  left join (select given.place, found.is_held is not true as is_gone, found.is_cancelled
               from unnest($2::bigint[], $3::bigint[]) with ordinality as given (id, fence, place)
               left join lateral (select run.fence = given.fence and run.worker = $1 and run.state = 'running' as is_held,
                                         run.cancel_requested_at is not null as is_cancelled
                                    from tidegate.run where run.id = given.id) as found on true) as told
    on told.is_gone or told.is_cancelled";

impl JobLog {
    /// Puts a worker on the list. Names are never used twice: a process takes a new one each time it joins.
    pub async fn join(&self, worker: &str) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "insert into tidegate.job_worker (name) values ($1)",
                &[&worker],
            )
            .await?;
        Ok(())
    }

    /// Says that a worker lives, and asks about what it runs.
    pub async fn beat(&self, worker: &str, running: &[Lease]) -> Result<Beat, Error> {
        let client = self.client().await?;
        let runs: Vec<RunId> = running.iter().map(|lease| lease.run).collect();
        let ids = bigints(&runs);
        let fences: Vec<i64> = running.iter().map(|lease| lease.fence as i64).collect();
        let statement = client.prepare_cached(BEAT).await?;
        let rows = client.query(&statement, &[&worker, &ids, &fences]).await?;
        let mut beat = Beat {
            is_lost: rows.iter().any(|row| !row.get::<_, bool>(0)),
            ..Beat::default()
        };
        for row in &rows {
            let Some(place) = row.get::<_, Option<i64>>(1) else {
                continue;
            };
            let lease = running[place as usize - 1].clone();
            match row.get(2) {
                true => beat.gone.push(lease),
                false => beat.cancel.push(lease),
            }
        }
        if !beat.is_lost {
            let strays = client
                .prepare_cached(
                    "select tidegate.return_strays($1, $2, clock_timestamp() - $3 * interval '1 second')",
                )
                .await?;
            client
                .execute(&strays, &[&worker, &ids, &STRAY_AFTER_SECONDS])
                .await?;
        }
        Ok(beat)
    }

    /// All workers, and those that are on no list but still hold runs.
    pub async fn workers(&self) -> Result<Vec<WorkerBeat>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select name, beat from tidegate.job_worker
                  union all
                 select distinct run.worker, 0::bigint from tidegate.run
                  where run.state = 'running' and run.worker is not null
                    and not exists (select from tidegate.job_worker where name = run.worker)
                  order by 1",
            )
            .await?;
        let rows = client.query(&statement, &[]).await?;
        let worker = |row: &Row| WorkerBeat {
            name: row.get(0),
            beat: row.get::<_, i64>(1) as u64,
        };
        Ok(rows.iter().map(worker).collect())
    }

    /// Takes a lost worker off the list. What it ran is pending again; at the third loss in a row a run is quarantined.
    /// Returns the runs it held. None, and nothing is done, when it has beaten since.
    ///
    /// `beat_seen`: of [`JobLog::workers`].
    pub async fn reap(&self, worker: &str, beat_seen: u64) -> Result<Option<Vec<RunId>>, Error> {
        self.remove_worker(worker, true, Some(beat_seen)).await
    }

    /// Takes a worker off the list that ends of itself. What it still ran is pending again, and has lost no attempt.
    pub async fn leave(&self, worker: &str) -> Result<Vec<RunId>, Error> {
        let runs = self.remove_worker(worker, false, None).await?;
        Ok(runs.unwrap_or_default())
    }

    async fn remove_worker(
        &self,
        worker: &str,
        crashed: bool,
        beat_seen: Option<u64>,
    ) -> Result<Option<Vec<RunId>>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("select tidegate.remove_worker($1, $2, $3)")
            .await?;
        let seen = beat_seen.map(|beat| beat as i64);
        let row = client
            .query_one(&statement, &[&worker, &crashed, &seen])
            .await?;
        let runs: Option<Vec<i64>> = row.get(0);
        Ok(runs.map(|ids| ids.into_iter().map(run_id).collect()))
    }
}
