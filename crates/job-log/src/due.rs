//! Which schedules are to be looked at, and when next.

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;

use crate::schedule::{COLUMNS, DueSchedules, schedule};
use crate::text::{from_postgres, json};
use crate::{Error, JobLog};

impl JobLog {
    /// Schedules that are due or to be planned, at most `limit`.
    pub async fn due_schedules(&self, limit: u32) -> Result<DueSchedules, Error> {
        let client = self.client().await?;
        let query = format!(
            "select {COLUMNS}, clock.at from (select clock_timestamp() as at) as clock
               left join lateral (select * from tidegate.schedule
                                   where paused_at is null and deleted_at is null and next_due <= clock.at
                                   order by next_due, id limit $1) as schedule on true"
        );
        let statement = client.prepare_cached(&query).await?;
        let rows = client.query(&statement, &[&i64::from(limit)]).await?;
        let now = from_postgres(rows[0].get(13));
        let due = rows
            .iter()
            .filter(|row| row.get::<_, Option<i64>>(0).is_some());
        Ok(DueSchedules {
            now,
            schedules: due.map(schedule).collect::<Result<_, _>>()?,
        })
    }

    /// When the next schedule is due; the beginning of time, when one is to be planned.
    pub async fn next_schedule_at(&self) -> Result<Option<Timestamp>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select greatest(next_due, 'epoch') from tidegate.schedule
                  where paused_at is null and deleted_at is null and next_due is not null
                  order by next_due limit 1",
            )
            .await?;
        let row = client.query_opt(&statement, &[]).await?;
        Ok(row.map(|row| from_postgres(row.get(0))))
    }

    /// Has Postgres say so whenever a row of `_JobSchedule` changes, whoever changes it.
    pub async fn announce_parse_schedules(&self) -> Result<(), Error> {
        let client = self.client().await?;
        let found = "select from pg_trigger where tgrelid = 'public.\"_JobSchedule\"'::regclass and tgname = 'tidegate_schedule'";
        // Making it again would lock the table for nothing.
        if client.query_opt(found, &[]).await?.is_some() {
            return Ok(());
        }
        let create = "create or replace trigger tidegate_schedule after insert or update or delete or truncate
                      on public.\"_JobSchedule\" for each statement execute function tidegate.announce_schedules()";
        Ok(client.batch_execute(create).await?)
    }

    /// The rows of `_JobSchedule` as JSON, by objectId: what a stock dashboard has asked for.
    pub async fn parse_schedule_rows(&self) -> Result<Vec<(String, Value)>, Error> {
        let client = self.client().await?;
        let query = "select row.\"objectId\", to_jsonb(row)::text from public.\"_JobSchedule\" as row order by 1";
        let rows = client.query(query, &[]).await?;
        let read = |row: &Row| {
            let id: String = row.get(0);
            let value = json(|| format!("_JobSchedule {id}"), row.get(1))?;
            Ok((id, value))
        };
        rows.iter().map(read).collect()
    }
}
