//! Looking at the log: events with what became of their deliveries.

use std::collections::HashMap;

use serde::Serialize;
use tidegate_event::{EventId, Operation as Change, Redelivery, Source, TriggerSet};
use tokio_postgres::types::ToSql;

use crate::append::pg_lsn;
use crate::replay::entries;
use crate::replay_scan::pattern;
use crate::{Error, EventLog, LogEntry};

/// How many offsets are looked at in one query, from the end of the log backwards.
const WINDOW: u64 = 20_000;

/// Which events are shown: those of which each part that is given is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Schema and table.
    pub table: Option<(String, String)>,
    /// Text values of the primary key, joined by commas in the order of the columns' names.
    pub key: Option<String>,
    /// Name of a trigger that has an outcome for it.
    pub trigger: Option<String>,
    /// An outcome's status; with `trigger`, that trigger's.
    pub status: Option<String>,
    /// ISO 8601, inclusive, by commit time.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Only what stands before this offset.
    pub before: Option<u64>,
}

/// An event as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLine {
    pub log_offset: u64,
    pub id: EventId,
    /// ISO 8601, UTC.
    pub committed_at: String,
    pub change: Change,
    /// A class, or `schema.table`.
    pub table: String,
    /// Text values of the primary key, in the order of the columns' names.
    pub key: Vec<Option<String>>,
    pub source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivery: Option<Redelivery>,
    pub deliveries: Vec<DeliveryLine>,
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryLine {
    pub trigger: String,
    /// `waiting` before its first attempt; else as the outcome has it.
    pub status: String,
    pub attempts: u32,
    pub crashes: u32,
    /// Of the last attempt; null when there was none.
    pub duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// Of the last attempt. ISO 8601, UTC.
    pub finished_at: Option<String>,
}

impl EventLog {
    /// Schema and name of every table that can have after-triggers.
    pub async fn tables(&self) -> Result<Vec<(String, String)>, Error> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'
                    and n.nspname not in ('information_schema', 'tidegate') order by 1, 2",
                &[],
            )
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The latest `limit` entries that are wanted, the last first.
    pub async fn list_events(
        &self,
        wanted: &Wanted,
        triggers: &TriggerSet,
        limit: u32,
    ) -> Result<Vec<EventLine>, Error> {
        let end = self.last_offset().await?;
        let mut before = wanted.before.map_or(end + 1, |before| before.min(end + 1));
        let mut found = Vec::new();
        while before > 1 && found.len() < limit as usize {
            let from = before.saturating_sub(WINDOW).max(1);
            let missing = i64::from(limit) - found.len() as i64;
            let mut part = self.scan_backwards(wanted, from, before, missing).await?;
            let is_full = part.len() as i64 == missing;
            before = match part.last() {
                Some(last) if is_full => last.log_offset,
                _ => from,
            };
            if let Some(key) = &wanted.key {
                part.retain(|entry| key_text(entry) == *key);
            }
            found.append(&mut part);
        }
        self.lines(found, triggers).await
    }

    async fn scan_backwards(
        &self,
        wanted: &Wanted,
        from: u64,
        before: u64,
        limit: i64,
    ) -> Result<Vec<LogEntry>, Error> {
        const SCAN: &str = "
            select log_offset, body, redelivery from tidegate.event e
             where log_offset >= $1 and log_offset < $2
               and ($3::text is null or commit_time >= $3::timestamptz)
               and ($4::text is null or commit_time <= $4::timestamptz)
               and ($5::text is null or strpos(left(body, 1000), $5) > 0)
               and ($6::text is null and $7::text is null
                    or exists (select from tidegate.outcome o
                                where o.log_offset = e.log_offset and ($6::text is null or o.trigger = $6)
                                  and ($7::text is null or o.status = $7)))
             order by log_offset desc limit $8";
        let pattern = (wanted.table.as_ref()).map(|(schema, table)| pattern(schema, table, None));
        let (from, before) = (from as i64, before as i64);
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &from,
            &before,
            &wanted.since,
            &wanted.until,
            &pattern,
            &wanted.trigger,
            &wanted.status,
            &limit,
        ];
        let client = self.client().await?;
        entries(&client.query(SCAN, &parameters).await?)
    }

    /// Every entry of one event: where it was first put into the log, and where it stands once more. Ascending.
    pub async fn entries_of(&self, ids: &[EventId]) -> Result<Vec<LogEntry>, Error> {
        let epochs: Vec<i32> = ids.iter().map(|id| id.epoch as i32).collect();
        let lsns: Vec<_> = ids.iter().map(|id| pg_lsn(id.commit_lsn)).collect();
        let ordinals: Vec<i32> = ids.iter().map(|id| id.ordinal as i32).collect();
        let client = self.client().await?;
        let rows = client
            .query(
                "select e.log_offset, e.body, e.redelivery
                   from tidegate.event e
                   join unnest($1::integer[], $2::pg_lsn[], $3::integer[]) as wanted (epoch, commit_lsn, ordinal)
                  using (epoch, commit_lsn, ordinal)
                  where e.commit_lsn = any($2) order by e.log_offset",
                &[&epochs, &lsns, &ordinals],
            )
            .await?;
        entries(&rows)
    }

    /// Entries as lines, with the outcomes of their deliveries and what still waits.
    pub async fn lines(
        &self,
        entries: Vec<LogEntry>,
        triggers: &TriggerSet,
    ) -> Result<Vec<EventLine>, Error> {
        let offsets: Vec<u64> = entries.iter().map(|entry| entry.log_offset).collect();
        let mut outcomes = self.outcomes_of(&offsets).await?;
        let settled = self.dispatch_state().await?.settled_offset;
        let line = |entry: LogEntry| {
            let mut deliveries = outcomes.remove(&entry.log_offset).unwrap_or_default();
            if entry.log_offset > settled {
                deliveries.extend(waiting(&entry, triggers, &deliveries));
            }
            let event = &entry.event;
            EventLine {
                log_offset: entry.log_offset,
                id: event.id,
                committed_at: iso(event.commit_time_us),
                change: event.operation,
                table: shown_table(&entry),
                key: event.key.values().cloned().collect(),
                source: event.context.source,
                redelivery: entry.redelivery,
                deliveries,
            }
        };
        Ok(entries.into_iter().map(line).collect())
    }

    /// What is recorded of the deliveries of entries, by log offset.
    pub(crate) async fn outcomes_of(
        &self,
        offsets: &[u64],
    ) -> Result<HashMap<u64, Vec<DeliveryLine>>, Error> {
        let offsets: Vec<i64> = offsets.iter().map(|offset| *offset as i64).collect();
        let client = self.client().await?;
        let rows = client
            .query(
                "select log_offset, trigger, status, attempts, crashes, duration_us, error, logs,
                        to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')
                   from tidegate.outcome where log_offset = any($1) order by log_offset, trigger",
                &[&offsets],
            )
            .await?;
        let mut outcomes: HashMap<u64, Vec<DeliveryLine>> = HashMap::new();
        for row in rows {
            let attempts = row.get::<_, i32>(3) as u32;
            let duration_ms = row.get::<_, i64>(5) as f64 / 1_000.0;
            let delivery = DeliveryLine {
                trigger: row.get(1),
                status: row.get(2),
                attempts,
                crashes: row.get::<_, i32>(4) as u32,
                duration_ms: (attempts > 0).then_some(duration_ms),
                error: row.get(6),
                logs: row.get(7),
                finished_at: row.get(8),
            };
            let log_offset = row.get::<_, i64>(0) as u64;
            outcomes.entry(log_offset).or_default().push(delivery);
        }
        Ok(outcomes)
    }
}

/// Deliveries that dispatch owes and that have no outcome.
fn waiting(
    entry: &LogEntry,
    triggers: &TriggerSet,
    recorded: &[DeliveryLine],
) -> Vec<DeliveryLine> {
    let names = triggers.matching(&entry.event).into_iter();
    let names = names.map(|(trigger, _)| trigger.to_string());
    let is_owed = |name: &String| {
        (entry.redelivery.as_ref()).is_none_or(|redelivery| redelivery.triggers.contains(name))
            && recorded.iter().all(|delivery| delivery.trigger != *name)
    };
    let line = |trigger: String| DeliveryLine {
        trigger,
        status: "waiting".into(),
        attempts: 0,
        crashes: 0,
        duration_ms: None,
        error: None,
        logs: None,
        finished_at: None,
    };
    names.filter(is_owed).map(line).collect()
}

/// A class, or `schema.table`.
pub(crate) fn shown_table(entry: &LogEntry) -> String {
    let event = &entry.event;
    match event.class() {
        Some(class) => class.to_owned(),
        None => format!("{}.{}", event.schema, event.table),
    }
}

pub(crate) fn key_text(entry: &LogEntry) -> String {
    let values = entry.event.key.values();
    let values: Vec<&str> = values
        .map(|value| value.as_deref().unwrap_or_default())
        .collect();
    values.join(",")
}

/// Microseconds since 1970 as ISO 8601, UTC, with milliseconds.
pub fn iso(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us)
        .map_or_else(|_| time_us.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_postgres_shows_them() {
        for (time_us, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123_456, "2000-02-29T00:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_795_574_096_000_000, "2026-11-25T02:34:56.000Z"),
        ] {
            assert_eq!(iso(time_us), text);
        }
    }
}
