//! Finding the events that a replay is for: a part of the log at a time, the cheap tests first.

use tidegate_event::{Operation as Change, TriggerKind, TriggerSet};
use tokio_postgres::Transaction;
use tokio_postgres::types::{PgLsn, ToSql};

use crate::Error;
use crate::append::pg_lsn;
use crate::read::LogEntry;
use crate::replay::{Replay, entries};

/// How many offsets are looked at in one query: bounds its time, whatever the filter leaves.
const WINDOW: u64 = 20_000;

/// A replay's filter, as the parameters of its queries.
pub(crate) struct Scan {
    end: u64,
    offsets: Option<Vec<i64>>,
    since: Option<String>,
    until: Option<String>,
    from_lsn: Option<PgLsn>,
    to_lsn: Option<PgLsn>,
    dead: bool,
    triggers: Vec<String>,
    /// What the stored form of an event says that one of the triggers may want.
    patterns: Vec<String>,
}

const FILTER: &str = "
      log_offset > $1 and log_offset <= $2
  and ($3::bigint[] is null or log_offset = any($3))
  and ($4::text is null or commit_time >= $4::timestamptz) and ($5::text is null or commit_time <= $5::timestamptz)
  and ($6::pg_lsn is null or commit_lsn >= $6) and ($7::pg_lsn is null or commit_lsn <= $7)
  and (redelivery is null and not $8
       or exists (select from tidegate.outcome o
                   where o.log_offset = event.log_offset and o.status = 'dead' and o.trigger = any($9)))
  and exists (select from unnest($10::text[]) as p (pattern) where strpos(left(body, 1000), p.pattern) > 0)";

/// The part of an event's stored form that says of which table it is, and what happened.
///
/// It stands at the beginning ([`tidegate_event::ChangeEvent`]'s fields in their order). A row's values cannot look
/// like it, for their quotes are escaped; a request context can, so who reads the event looks again.
pub(crate) fn pattern(schema: &str, table: &str, change: Option<Change>) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let mut pattern = format!(r#""schema":{},"table":{},"#, text(schema), text(table));
    if let Some(change) = change {
        let change = serde_json::to_string(&change).expect("an operation is a word");
        pattern.push_str(&format!(r#""operation":{change}"#));
    }
    pattern
}

impl Scan {
    pub async fn new(
        tx: &Transaction<'_>,
        replay: &Replay,
        triggers: &TriggerSet,
    ) -> Result<Scan, Error> {
        let targets = replay.targets(triggers);
        let changes = [Change::Insert, Change::Update, Change::Delete];
        let mut patterns = Vec::new();
        for target in &targets {
            let (schema, table) = target
                .class
                .split_once('.')
                .unwrap_or(("public", &target.class));
            let fires = |change: &&Change| {
                TriggerKind::fired_by(**change) == Some(target.kind)
                    && (replay.changes.is_empty() || replay.changes.contains(change))
            };
            for change in changes.iter().filter(fires) {
                patterns.push(pattern(schema, table, Some(*change)));
            }
        }
        let by_name = !replay.ids.is_empty() || !replay.offsets.is_empty();
        Ok(Scan {
            end: replay.end,
            offsets: match by_name {
                true => Some(named(tx, replay).await?),
                false => None,
            },
            since: replay.since.clone(),
            until: replay.until.clone(),
            from_lsn: replay.from_lsn.map(pg_lsn),
            to_lsn: replay.to_lsn.map(pg_lsn),
            dead: replay.dead,
            triggers: targets.iter().map(ToString::to_string).collect(),
            patterns,
        })
    }

    /// Up to `limit` entries after `after`, and the offset up to which the log has been looked at.
    pub async fn next(
        &self,
        tx: &Transaction<'_>,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<LogEntry>, u64), Error> {
        let last = self.window(after);
        let query = format!(
            "select log_offset, body, redelivery from tidegate.event
              where {FILTER} order by log_offset limit $11"
        );
        let (first, end, limit) = (after as i64, last as i64, limit as i64);
        let mut parameters = self.parameters(&first, &end);
        parameters.push(&limit);
        let found = entries(&tx.query(&query, &parameters).await?)?;
        let is_full = found.len() as i64 == limit;
        let reached = found
            .last()
            .filter(|_| is_full)
            .map_or(last, |entry| entry.log_offset);
        Ok((found, reached))
    }

    fn window(&self, after: u64) -> u64 {
        match &self.offsets {
            // Found by the primary key, however far apart.
            Some(_) => self.end,
            None => self.end.min(after + WINDOW),
        }
    }

    fn parameters<'a>(&'a self, after: &'a i64, last: &'a i64) -> Vec<&'a (dyn ToSql + Sync)> {
        vec![
            after,
            last,
            &self.offsets,
            &self.since,
            &self.until,
            &self.from_lsn,
            &self.to_lsn,
            &self.dead,
            &self.triggers,
            &self.patterns,
        ]
    }
}

/// How many entries the scan would find.
pub(crate) async fn count(tx: &Transaction<'_>, scan: &Scan) -> Result<u64, Error> {
    let query = format!("select count(*) from tidegate.event where {FILTER}");
    let (mut after, mut found) = (0, 0);
    while after < scan.end {
        let last = scan.window(after);
        let (first, end) = (after as i64, last as i64);
        let row = tx.query_one(&query, &scan.parameters(&first, &end)).await?;
        found += row.get::<_, i64>(0) as u64;
        after = last;
    }
    Ok(found)
}

/// Offsets of every entry of the events that the replay names.
async fn named(tx: &Transaction<'_>, replay: &Replay) -> Result<Vec<i64>, Error> {
    let offsets: Vec<i64> = replay.offsets.iter().map(|offset| *offset as i64).collect();
    let epochs: Vec<i32> = replay.ids.iter().map(|id| id.epoch as i32).collect();
    let lsns: Vec<PgLsn> = replay.ids.iter().map(|id| pg_lsn(id.commit_lsn)).collect();
    let ordinals: Vec<i32> = replay.ids.iter().map(|id| id.ordinal as i32).collect();
    let rows = tx
        .query(
            "with named as materialized (
                 select epoch, commit_lsn, ordinal from tidegate.event where log_offset = any($1)
                 union select * from unnest($2::integer[], $3::pg_lsn[], $4::integer[])
             )
             select e.log_offset from tidegate.event e join named using (epoch, commit_lsn, ordinal)
              where e.commit_lsn = any(array(select commit_lsn from named)) and e.log_offset <= $5
              order by 1",
            &[&offsets, &epochs, &lsns, &ordinals, &(replay.end as i64)],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_event::{ChangeEvent, EventId, RequestContext, change::FORMAT_VERSION};

    #[test]
    fn an_event_begins_with_its_pattern() {
        let event = ChangeEvent {
            v: FORMAT_VERSION,
            id: EventId {
                epoch: u32::MAX,
                commit_lsn: tidegate_event::Lsn(u64::MAX),
                ordinal: u32::MAX,
            },
            xid: u32::MAX,
            commit_time_us: i64::MIN,
            schema: "\u{1}".repeat(63),
            table: "\"".repeat(63),
            operation: Change::Delete,
            key: Default::default(),
            old: None,
            new: None,
            changed: Vec::new(),
            unchanged_toast: Vec::new(),
            truncated: Default::default(),
            context: RequestContext::direct_sql(),
        };
        let stored = serde_json::to_string(&event).unwrap();
        let beginning: String = stored.chars().take(1000).collect();
        let wanted = pattern(&event.schema, &event.table, Some(Change::Delete));
        assert!(beginning.contains(&wanted), "{beginning}");
        assert!(beginning.contains(&pattern(&event.schema, &event.table, None)));
    }
}
