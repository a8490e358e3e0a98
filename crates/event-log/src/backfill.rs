//! Backfills: the existing rows of a table, for triggers that came later than the rows, merged with the live stream.
//!
//! ```text
//! log's end ─▶ read a chunk and its snapshot ─▶ lock the log's end ─▶ skip keys that changed since ─▶ append the rest
//! ```
//!
//! Invariant: no object's older version is appended after a newer one. A row of the chunk is left out when the log has
//! an event of its key from a transaction that the chunk's snapshot does not see: that event is newer, and fires the
//! triggers by itself. Whatever is not in the log yet comes after the chunk. Going by the snapshot and not by LSNs is
//! what makes this exact: a transaction's commit is in the WAL for a moment before it is visible.
//!
//! No row is missed: it is in a chunk, or it changed since the table has been captured. Transactions that had changed
//! the table before that are waited for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidegate_event::change::FORMAT_VERSION;
use tidegate_event::{
    ChangeEvent, EventId, Lsn, Operation as Change, Redelivery, RedeliveryKind, RequestContext,
    Source, TriggerSet,
};
use tokio_postgres::Transaction;

use crate::backfill_chunk::{self, Chunk, ReadRow};
use crate::backfill_live::{self, Live};
use crate::operation::{Operation, Progress, Step};
use crate::redeliver::{self, Again};
use crate::{Error, EventLog};

/// Rows in a chunk, unless the operation says otherwise.
pub const DEFAULT_CHUNK_ROWS: u32 = 500;
/// More would hold the log's end, and with it capture, for too long.
pub const MAX_CHUNK_ROWS: u32 = 5_000;

/// Which rows are for which triggers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backfill {
    pub schema: String,
    pub table: String,
    /// Names of after-save triggers; not empty.
    pub triggers: Vec<String>,
    pub chunk_rows: u32,
    /// By which the table is captured.
    pub publication: String,
}

/// What is known of a table before a backfill of it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRows {
    pub has_primary_key: bool,
    /// Exact up to a hundred thousand; Postgres's estimate above.
    pub rows: u64,
}

/// Where the next chunk begins.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    /// Transactions that were writing to the table when it was first seen to be captured; None before that.
    writers: Option<Vec<String>>,
    /// Every event of the log up to here was visible to the last chunk's snapshot.
    floor: Option<u64>,
    /// Primary key of the last row read.
    after: Option<Vec<String>>,
    appended: u64,
}

impl EventLog {
    /// What is known of a table's rows; None when there is no such table.
    pub async fn table_rows(&self, schema: &str, table: &str) -> Result<Option<TableRows>, Error> {
        const COUNTED_ROWS: i64 = 100_000;
        let client = self.client().await?;
        let found = client
            .query_opt(
                "select format('%I.%I', n.nspname, c.relname),
                        exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary),
                        (select coalesce(sum(greatest(leaf.reltuples, 0)), 0)::bigint from pg_class leaf
                          where leaf.oid = c.oid and leaf.relkind = 'r'
                             or leaf.oid in (select relid from pg_partition_tree(c.oid) where isleaf))
                   from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')",
                &[&schema, &table],
            )
            .await?;
        let Some(found) = found else { return Ok(None) };
        let (name, has_primary_key, estimate): (&str, bool, i64) =
            (found.get(0), found.get(1), found.get(2));
        let count = format!(
            "select count(*) from (select from {name} limit {}) as counted",
            COUNTED_ROWS + 1
        );
        let counted: i64 = client.query_one(&count, &[]).await?.get(0);
        let rows = if counted <= COUNTED_ROWS {
            counted
        } else {
            estimate.max(counted)
        };
        Ok(Some(TableRows {
            has_primary_key,
            rows: rows as u64,
        }))
    }
}

/// The next chunk. The caller's transaction holds the operation's row.
pub(crate) async fn step(
    tx: &Transaction<'_>,
    operation: &Operation,
    backfill: &Backfill,
    triggers: &TriggerSet,
    limit: usize,
) -> Result<Progress, Error> {
    let names = registered(backfill, triggers)?;
    let position = operation.position.as_deref();
    let mut position: Position = position
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let Some(epoch) = captured(tx, backfill).await? else {
        return Ok(wait("its table is not captured yet", &position));
    };
    if !old_writers_ended(tx, backfill, &mut position).await? {
        let reason = "transactions that changed the table before it was captured have not ended";
        return Ok(wait(reason, &position));
    }
    let mut live = Live::before_the_chunk(tx, position.floor).await?;
    let rows = limit.min(backfill.chunk_rows as usize);
    let chunk = backfill_chunk::read(tx, backfill, position.after.as_deref(), rows).await?;
    let seen = chunk.rows.len() as u64;
    let is_done = chunk.rows.len() < rows;
    if let Some(last) = chunk.rows.last() {
        position.after = Some(last.key_in_order.clone());
    }
    let entries = merge(tx, operation.id, backfill, &names, epoch, chunk, &mut live).await?;
    position.floor = Some(live.floor);
    position.appended += entries.len() as u64;
    let step = if entries.is_empty() {
        Step::Passed { seen }
    } else {
        let deliveries = (entries.len() * names.len()) as u64;
        let (first, last) = redeliver::append(tx, entries).await?;
        Step::Appended {
            seen,
            first,
            last,
            deliveries,
        }
    };
    Ok(Progress {
        step,
        position: encode(&position),
        is_done,
    })
}

/// The rows of a chunk that are not overtaken by what the log has.
async fn merge(
    tx: &Transaction<'_>,
    operation: u64,
    backfill: &Backfill,
    names: &[String],
    epoch: u32,
    chunk: Chunk,
    live: &mut Live,
) -> Result<Vec<Again>, Error> {
    // Most of it without the lock, so that capture waits for what has come in the meantime only.
    let key_columns: BTreeSet<&str> = chunk.key_columns.iter().map(String::as_str).collect();
    live.look(tx, backfill, &chunk.snapshot, &key_columns)
        .await?;
    backfill_live::lock_end(tx).await?;
    live.look(tx, backfill, &chunk.snapshot, &key_columns)
        .await?;
    let redelivery = || Redelivery {
        kind: RedeliveryKind::Backfill,
        operation: Some(operation),
        triggers: names.to_vec(),
        of: None,
        held: None,
        afresh: true,
    };
    let at = Point {
        epoch,
        lsn: chunk.lsn,
        xid: chunk.snapshot.xid,
        time_us: chunk.time_us,
    };
    let rows = (0..).zip(chunk.rows);
    Ok(rows
        .filter(|(_, row)| !live.has(&row.key))
        .map(|(ordinal, row)| Again {
            event: event(backfill, &at, ordinal, row),
            redelivery: redelivery(),
        })
        .collect())
}

/// Where and when a chunk was read.
struct Point {
    epoch: u32,
    lsn: Lsn,
    xid: u32,
    time_us: i64,
}

fn event(backfill: &Backfill, at: &Point, ordinal: u32, row: ReadRow) -> ChangeEvent {
    ChangeEvent {
        v: FORMAT_VERSION,
        id: EventId {
            epoch: at.epoch,
            commit_lsn: at.lsn,
            ordinal,
        },
        xid: at.xid,
        commit_time_us: at.time_us,
        schema: backfill.schema.clone(),
        table: backfill.table.clone(),
        operation: Change::Insert,
        key: row.key,
        old: None,
        new: Some(row.values),
        changed: Vec::new(),
        unchanged_toast: Vec::new(),
        truncated: row.truncated,
        context: RequestContext {
            source: Source::Backfill,
            master: true,
            ..RequestContext::default()
        },
    }
}

/// Those of the operation's triggers that the current release has.
fn registered(backfill: &Backfill, triggers: &TriggerSet) -> Result<Vec<String>, Error> {
    let names: BTreeSet<String> = triggers.iter().map(ToString::to_string).collect();
    let wanted = backfill.triggers.iter();
    let found: Vec<String> = wanted
        .filter(|name| names.contains(*name))
        .cloned()
        .collect();
    if found.is_empty() {
        let reason = format!(
            "the current release registers none of {}",
            backfill.triggers.join(", ")
        );
        return Err(Error::Operation { reason });
    }
    Ok(found)
}

/// The epoch for the rows' events; None while the table's changes are not captured.
async fn captured(tx: &Transaction<'_>, backfill: &Backfill) -> Result<Option<u32>, Error> {
    let row = tx
        .query_one(
            "select max(epoch), exists (select from pg_publication_tables
                                         where pubname = $1 and schemaname = $2 and tablename = $3)
               from tidegate.capture",
            &[&backfill.publication, &backfill.schema, &backfill.table],
        )
        .await?;
    let epoch: Option<i32> = row.get(0);
    Ok(epoch.filter(|_| row.get(1)).map(|epoch: i32| epoch as u32))
}

/// True when no transaction goes on that changed the table before it was published: such changes are in no event.
async fn old_writers_ended(
    tx: &Transaction<'_>,
    backfill: &Backfill,
    position: &mut Position,
) -> Result<bool, Error> {
    const WRITERS: &str = "
        select distinct l.virtualtransaction
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
          join pg_locks l on l.relation = c.oid or l.relation in (select relid from pg_partition_tree(c.oid))
         where n.nspname = $1 and c.relname = $2 and l.locktype = 'relation' and l.granted
           and l.database = (select oid from pg_database where datname = current_database())
           and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
           and l.pid is distinct from pg_backend_pid()";
    let rows = tx
        .query(WRITERS, &[&backfill.schema, &backfill.table])
        .await?;
    let now: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let before = position.writers.take().unwrap_or_else(|| now.clone());
    let left: Vec<String> = before
        .into_iter()
        .filter(|writer| now.contains(writer))
        .collect();
    let ended = left.is_empty();
    position.writers = Some(left);
    Ok(ended)
}

fn wait(reason: &'static str, position: &Position) -> Progress {
    Progress {
        step: Step::Waiting(reason),
        position: encode(position),
        is_done: false,
    }
}

fn encode(position: &Position) -> String {
    serde_json::to_string(position).expect("a position has string keys")
}
