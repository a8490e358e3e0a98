//! The leading scheduler's side of runs: which may begin now.
//!
//! ```text
//! pending, due ─▶ promote ─▶ queued ─▶ (Redis)
//!                    ├─▶ blocked: its job's or its key's limit is reached; the end of another wakes it
//!                    └─▶ parked: its job is paused; resuming wakes it
//! ```
//!
//! Invariant: of a job or key, no more runs are queued and running than its limit says. Its row in `job` is held while they
//! are counted.

use std::time::Duration;

use tidegate_job::{Band, RunId};

use crate::text::{bigints, run_id};
use crate::{Error, JobLog};

/// How many runs the queue can take, by band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub high: u32,
    pub normal: u32,
    pub low: u32,
}

/// What one look at the due runs brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// To be put into the queue, in this order.
    pub queued: Vec<(RunId, Band)>,
    pub blocked: usize,
    pub parked: usize,
}

impl Promoted {
    /// True when runs took room in this look that they did not use: look again at once.
    pub fn has_more(&self) -> bool {
        self.blocked + self.parked > 0
    }
}

impl JobLog {
    /// Chooses the due runs that may begin, by priority, due time and id.
    ///
    /// They count as queued from now on. Who cannot put them into the queue says so with [`JobLog::requeue`].
    pub async fn promote(&self, room: Room) -> Result<Promoted, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("select id, priority, verdict from tidegate.promote_runs($1, $2, $3)")
            .await?;
        let [high, normal, low] = [room.high, room.normal, room.low].map(|room| room as i32);
        let rows = client.query(&statement, &[&high, &normal, &low]).await?;
        let mut promoted = Promoted::default();
        for row in &rows {
            match row.get(2) {
                "queued" => {
                    let band = Band::of(row.get(1));
                    promoted.queued.push((run_id(row.get(0)), band));
                }
                "blocked" => promoted.blocked += 1,
                _ => promoted.parked += 1,
            }
        }
        Ok(promoted)
    }

    /// How long until the next pending or sleeping run is due; zero, when one is due already. None: there is none.
    pub async fn next_pending_in(&self) -> Result<Option<Duration>, Error> {
        let client = self.client().await?;
        let query = format!(
            "{LEVELS} select extract(epoch from min(due.run_at) - clock_timestamp())::float8 {DUE}"
        );
        let statement = client.prepare_cached(&query).await?;
        let row = client.query_one(&statement, &[]).await?;
        let seconds: Option<f64> = row.get(0);
        // A hundred years are as good as never.
        Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 3.2e9))))
    }

    /// Wakes blocked and parked runs that need not wait any more, and returns how many. What ends a run does so too;
    /// this is for words that were lost and limits that were raised. To be called each second.
    pub async fn recheck_blocked(&self) -> Result<u64, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("select tidegate.recheck_blocked()")
            .await?;
        let row = client.query_one(&statement, &[]).await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// Runs that have been queued for longer than `age`, the oldest first, at most `limit`. Their ids may have been lost.
    pub async fn queued_longer_than(&self, age: Duration, limit: u32) -> Result<Vec<RunId>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select id from tidegate.run
                  where state = 'queued' and queued_at <= clock_timestamp() - $1 * interval '1 second'
                  order by queued_at, id limit $2",
            )
            .await?;
        let rows = client
            .query(&statement, &[&age.as_secs_f64(), &i64::from(limit)])
            .await?;
        Ok(rows.iter().map(|row| run_id(row.get(0))).collect())
    }

    /// Sets queued runs pending again, because their ids are not in the queue; returns how many. An id that is there
    /// after all does no harm: a claim of what is not queued gets nothing, and of what is queued again gets it once.
    pub async fn requeue(&self, runs: &[RunId]) -> Result<u64, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("select tidegate.requeue_runs($1)")
            .await?;
        let row = client.query_one(&statement, &[&bigints(runs)]).await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// [`JobLog::requeue`] for all that is queued: the queue is lost.
    pub async fn requeue_all(&self) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select tidegate.requeue_runs(array(select id from tidegate.run where state = 'queued'))",
                &[],
            )
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }
}

/// The priorities that occur among pending runs, each found by one look into the index: however many runs there are.
pub(crate) const LEVELS: &str = "
with recursive level (priority) as (
    (select priority from tidegate.run where state in ('pending', 'sleeping') and not is_parked
      order by priority desc limit 1)
     union all
    select (select run.priority from tidegate.run
             where state in ('pending', 'sleeping') and not is_parked and run.priority < level.priority
             order by run.priority desc limit 1)
      from level where level.priority is not null
)";

/// The first due run of each level.
pub(crate) const DUE: &str = "
  from level
 cross join lateral (select run_at from tidegate.run
                      where state in ('pending', 'sleeping') and not is_parked and run.priority = level.priority
                      order by run.priority desc, run_at, id limit 1) as due";
