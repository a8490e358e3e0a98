//! The workers' claims to the lanes of the queue.
//!
//! Claims live here and not in Redis, so that a flushed Redis cannot give one lane two owners.

use std::time::Duration;

use crate::{Error, EventLog};

/// One lane this worker may read, and the fence its outcomes carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLease {
    pub lane: u16,
    pub fence: u64,
}

/// One worker's claims.
#[derive(Clone)]
pub struct Lanes {
    log: EventLog,
    worker: String,
    lanes: u16,
    lease: Duration,
}

// One statement: say that this worker lives, forget the dead, keep what it holds, and take what is free up to
// the fair share, which is lanes ÷ living workers, rounded up. A lane over the share is kept too while something runs
// there ($4), and left out of the answer: its owner lets that end, and then releases it.
const RENEW: &str = "
with alive as (
    insert into tidegate.worker (name, expires_at) values ($1, clock_timestamp() + $2 * interval '1 second')
    on conflict (name) do update set expires_at = excluded.expires_at
), gone as (
    delete from tidegate.worker where expires_at < clock_timestamp() and name <> $1
), share as (
    select ceil($3::integer / count(*)::float8)::integer as lanes
      from (select name from tidegate.worker where expires_at >= clock_timestamp()
            union select $1) as worker
), candidate as (
    select lane.lane, lane.owner = $1 and lane.expires_at >= clock_timestamp() as is_held
      from tidegate.lane
     where lane.lane < $3::integer
       and (lane.owner = $1 or lane.owner is null or lane.expires_at < clock_timestamp())
     order by is_held desc nulls last, lane.lane
       for update of lane skip locked
), wanted as (
    select lane from candidate order by is_held desc nulls last, lane limit (select lanes from share)
), renewed as (
    update tidegate.lane
       set fence = case when candidate.is_held then fence else fence + 1 end,
           owner = $1, expires_at = clock_timestamp() + $2 * interval '1 second'
      from candidate
     where lane.lane = candidate.lane
       and (candidate.is_held and lane.lane = any($4::integer[])
            or lane.lane in (select lane from wanted))
    returning lane.lane, lane.fence
)
select lane, fence from renewed where lane in (select lane from wanted)";

impl EventLog {
    /// The claims of `worker` to a queue of `lanes` lanes; a claim that is not renewed ends after `lease`.
    pub async fn lanes(&self, worker: &str, lanes: u16, lease: Duration) -> Result<Lanes, Error> {
        let client = self.client().await?;
        client
            .execute(
                "insert into tidegate.lane (lane) select generate_series(0, $1 - 1)
                 on conflict do nothing",
                &[&i32::from(lanes)],
            )
            .await?;
        Ok(Lanes {
            log: self.clone(),
            worker: worker.to_owned(),
            lanes,
            lease,
        })
    }
}

impl Lanes {
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Renews the claims and returns the lanes this worker may read now. A lane it held and that is
    /// missing from the answer must be released with [`Lanes::release`] once its last run has ended.
    ///
    /// `busy`: lanes of which something still runs; only these are kept beyond the fair share.
    pub async fn renew(&self, busy: &[u16]) -> Result<Vec<LaneLease>, Error> {
        let client = self.log.client().await?;
        let statement = client.prepare_cached(RENEW).await?;
        let seconds = self.lease.as_secs_f64();
        let busy: Vec<i32> = busy.iter().map(|lane| i32::from(*lane)).collect();
        let rows = client
            .query(
                &statement,
                &[&self.worker, &seconds, &i32::from(self.lanes), &busy],
            )
            .await?;
        let lease = |row: &tokio_postgres::Row| LaneLease {
            lane: row.get::<_, i32>(0) as u16,
            fence: row.get::<_, i64>(1) as u64,
        };
        Ok(rows.iter().map(lease).collect())
    }

    /// Gives lanes back at once, so that another worker need not wait for the claim to end.
    ///
    /// A lane that has another fence by now is somebody else's and stays as it is.
    pub async fn release(&self, leases: &[LaneLease]) -> Result<(), Error> {
        let client = self.log.client().await?;
        let lanes: Vec<i32> = leases.iter().map(|lease| i32::from(lease.lane)).collect();
        let fences: Vec<i64> = leases.iter().map(|lease| lease.fence as i64).collect();
        client
            .execute(
                "update tidegate.lane set owner = null, expires_at = '-infinity'
                   from unnest($2::integer[], $3::bigint[]) as given (lane, fence)
                  where lane.owner = $1 and lane.lane = given.lane and lane.fence = given.fence",
                &[&self.worker, &lanes, &fences],
            )
            .await?;
        Ok(())
    }

    /// Gives every lane back and leaves the list of workers.
    pub async fn leave(&self) -> Result<(), Error> {
        let client = self.log.client().await?;
        client
            .execute(
                "update tidegate.lane set owner = null, expires_at = '-infinity' where owner = $1",
                &[&self.worker],
            )
            .await?;
        client
            .execute(
                "delete from tidegate.worker where name = $1",
                &[&self.worker],
            )
            .await?;
        Ok(())
    }
}
