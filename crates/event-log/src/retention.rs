//! Keeps the log as long as it is wanted: one partition a day, made ahead, dropped as a whole.

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

    /// Drops the partitions of whole days before `keep_days` ago in which every delivery is done; returns
    /// their names. A partition with an unsettled, waiting or dead delivery stays.
    pub async fn drop_expired(&self, keep_days: u32) -> Result<Vec<String>, Error> {
        let client = self.client().await?;
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
            if self.drop_partition(&client, &name).await? {
                dropped.push(name);
            }
        }
        Ok(dropped)
    }

    async fn drop_partition(
        &self,
        client: &tokio_postgres::Client,
        name: &str,
    ) -> Result<bool, Error> {
        let range = format!("select min(log_offset), max(log_offset) from tidegate.{name}");
        let row = client.query_one(&range, &[]).await?;
        if let (Some(first), Some(last)) = (row.get::<_, Option<i64>>(0), row.get(1)) {
            let last: i64 = last;
            let unfinished = client
                .query_one(
                    "select exists (select from tidegate.dispatch where settled_offset < $2)
                         or exists (select from tidegate.outcome
                                     where log_offset between $1 and $2 and status <> 'done')",
                    &[&first, &last],
                )
                .await?;
            if unfinished.get(0) {
                return Ok(false);
            }
            client
                .execute(
                    "delete from tidegate.outcome where log_offset between $1 and $2",
                    &[&first, &last],
                )
                .await?;
        }
        client
            .batch_execute(&format!("drop table tidegate.{name}"))
            .await?;
        Ok(true)
    }
}
