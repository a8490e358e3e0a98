//! Keeps the log as long as it is wanted: one partition a day, made ahead, dropped as a whole.
//!
//! What is unfinished goes on being wanted: when its partition is dropped it moves to the default partition, in the same
//! transaction, and stays until it is finished or its own time is over.

use std::time::Duration;

use crate::{Error, EventLog};

/// How many days ahead there is a partition; events of later days go to the default one.
pub const DAYS_AHEAD: u32 = 2;

impl EventLog {
    /// Makes the partitions of today and the next `days_ahead` days (UTC).
    pub async fn ensure_partitions(&self, days_ahead: u32) -> Result<(), Error> {
        let client = self.client().await?;
        let days = client
            .query(
                "select to_char(day, 'YYYY_MM_DD'), to_char(day, 'YYYY-MM-DD'),
                        to_char(day + interval '1 day', 'YYYY-MM-DD')
                   from generate_series(date_trunc('day', now() at time zone 'UTC'),
                                        date_trunc('day', now() at time zone 'UTC')
                                            + $1 * interval '1 day', '1 day') as day
                  where to_regclass('tidegate.event_' || to_char(day, 'YYYY_MM_DD')) is null",
                &[&f64::from(days_ahead)],
            )
            .await?;
        for day in days {
            let (name, from, to): (&str, &str, &str) = (day.get(0), day.get(1), day.get(2));
            // Fails when the default partition already holds rows of that day; they stay where they are.
            let create = format!(
                "set local lock_timeout = '5s'; create table if not exists tidegate.event_{name} partition of tidegate.event
                     for values from ('{from} 00:00:00+00') to ('{to} 00:00:00+00')"
            );
            if let Err(error) = client.batch_execute(&create).await {
                tracing::warn!(partition = name, %error, "cannot create a partition of the event log");
            }
        }
        Ok(())
    }

    /// Drops the partitions of whole days before `keep_days` ago; returns their names.
    ///
    /// Events with an unsettled, held or dead delivery move to the default partition. Outcomes and effects of the others
    /// go with them.
    pub async fn drop_expired(&self, keep_days: u32) -> Result<Vec<String>, Error> {
        let mut client = self.client().await?;
        let expired = client
            .query(
                "select c.relname::text
                   from pg_inherits i join pg_class c on c.oid = i.inhrelid
                  where i.inhparent = 'tidegate.event'::regclass
                    and c.relname ~ '^event_\\d{4}_\\d\\d_\\d\\d$'
                    and to_date(substr(c.relname, 7), 'YYYY_MM_DD')
                        < (now() at time zone 'UTC')::date - $1::integer
                  order by 1",
                &[&(keep_days as i32)],
            )
            .await?;
        let mut dropped = Vec::new();
        for row in expired {
            let name: String = row.get(0);
            let tx = client.transaction().await?;
            tx.batch_execute(&drop_partition(&name)).await?;
            tx.commit().await?;
            dropped.push(name);
        }
        Ok(dropped)
    }

    /// Deletes from the default partition what was kept for being unfinished and is finished by now, and dead and held
    /// deliveries of events older than `keep_dead_days`. Returns how many events went though they were unfinished.
    ///
    /// `keep_days`: as for [`EventLog::drop_expired`]; younger events are not touched.
    pub async fn prune_kept(&self, keep_days: u32, keep_dead_days: u32) -> Result<u64, Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let row = tx
            .query_one(
                "with expired as (
                     delete from tidegate.event_default as event
                      where logged_at < now() - $1 * interval '1 day'
                        and log_offset <= (select settled_offset from tidegate.dispatch)
                        and (logged_at < now() - $2 * interval '1 day'
                             or not exists (select from tidegate.outcome
                                             where outcome.log_offset = event.log_offset
                                               and status in ('retry', 'dead', 'held')))
                     returning log_offset
                 ), outcomes as (
                     delete from tidegate.outcome using expired where outcome.log_offset = expired.log_offset
                     returning status in ('retry', 'dead', 'held') as is_unfinished, outcome.log_offset
                 ), effects as (
                     delete from tidegate.effect using expired where effect.log_offset = expired.log_offset
                 )
                 select count(distinct log_offset) from outcomes where is_unfinished",
                &[&f64::from(keep_days), &f64::from(keep_dead_days)],
            )
            .await?;
        tx.commit().await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// How large the log is.
    pub async fn size(&self, keep_days: u32) -> Result<Size, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select (select coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint from pg_inherits
                          where inhparent = 'tidegate.event'::regclass),
                        (select extract(epoch from clock_timestamp() - logged_at)::float8
                           from tidegate.event order by log_offset limit 1),
                        (select count(*) from tidegate.event_default where logged_at < now() - $1 * interval '1 day')",
                &[&f64::from(keep_days)],
            )
            .await?;
        let age: Option<f64> = row.get(1);
        Ok(Size {
            bytes: row.get::<_, i64>(0) as u64,
            oldest: age.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
            kept_beyond: row.get::<_, i64>(2) as u64,
        })
    }
}

/// The size of the log on disk and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// With indexes.
    pub bytes: u64,
    /// Age of the first event; None: the log is empty.
    pub oldest: Option<Duration>,
    /// Events that are older than the log is kept, because they are unfinished.
    pub kept_beyond: u64,
}

/// Statements of one transaction. The default partition takes rows of that day only once the partition is detached.
fn drop_partition(name: &str) -> String {
    format!(
        "set local lock_timeout = '5s';
         alter table tidegate.event detach partition tidegate.{name};
         insert into tidegate.event_default
         select event.* from tidegate.{name} as event, tidegate.dispatch
          where event.log_offset > settled_offset
             or exists (select from tidegate.outcome
                         where outcome.log_offset = event.log_offset and status in ('retry', 'dead', 'held'));
         delete from tidegate.outcome using tidegate.{name} as event
          where outcome.log_offset = event.log_offset
            and not exists (select from tidegate.event_default as kept where kept.log_offset = event.log_offset);
         delete from tidegate.effect
          where log_offset between (select min(log_offset) from tidegate.{name})
                               and (select max(log_offset) from tidegate.{name})
            and exists (select from tidegate.{name} as event where event.log_offset = effect.log_offset)
            and not exists (select from tidegate.event_default as kept where kept.log_offset = effect.log_offset);
         drop table tidegate.{name}"
    )
}
