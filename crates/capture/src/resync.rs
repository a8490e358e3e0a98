//! Fills a gap: a new slot, and an event for each difference between the captured tables and what the log last knew.
//!
//! ```text
//! fence ─▶ drop the useless slot ─▶ new slot + snapshot ─▶ compare ─▶ append … ─▶ checkpoint moved, gap closed
//! ```
//!
//! Invariants:
//! - The tables are read at the very position where the new slot begins, by the snapshot that its creation exports: a
//!   change is either a difference that is found here or one that the slot brings later, never both, and none is older
//!   than what the log has.
//! - The checkpoint moves and the gap closes in one statement, the last one. Ended anywhere before it, the gap is still
//!   open; run again, it starts over with a newer slot, and finds no difference where it has appended its event.

use std::time::{SystemTime, UNIX_EPOCH};

use postgres_replication::Connection;
use tidegate_event::{ChangeEvent, EventId, Lsn, TriggerSet, failpoint};
use tidegate_event_log::append::MAX_EVENTS_PER_APPEND;
use tidegate_event_log::{Checkpoint, EventLog, Gap};
use tokio_postgres::Client;

use crate::compare::{self, Comparison};
use crate::difference::Difference;
use crate::guardian::{self, Cause, Look, Slot};
use crate::{Config, Error, publication, slot};

/// Most bytes of rows in one append, beside [`MAX_EVENTS_PER_APPEND`].
const MAX_BYTES_PER_APPEND: usize = 8 * 1024 * 1024;

/// What a resync has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resynced {
    pub tables: Vec<TableResynced>,
    /// As it was filled: from, to, and how many events it took in all, those of an attempt that was ended included.
    pub gap: Gap,
}

/// What was found in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableResynced {
    /// Quoted, with its schema.
    pub table: String,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    /// It has no primary key, so its rows cannot be told apart: nothing was compared.
    pub skipped: bool,
}

/// How far a resync is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Quoted, with its schema.
    pub table: &'a str,
    /// Tables that are done, of all.
    pub tables_done: usize,
    pub tables: usize,
    /// Events appended so far, over all tables.
    pub events: u64,
}

/// How a slot stands, for people.
#[derive(Clone, Debug)]
pub struct SlotStatus {
    pub slot_name: String,
    /// As Postgres has it; None when there is none of this name.
    pub slot: Option<Slot>,
    /// None when this log never followed it.
    pub checkpoint: Option<Checkpoint>,
    /// Of the server that answers.
    pub system_identifier: String,
    pub timeline: u32,
    /// Where the server's WAL ends.
    pub server_end: Lsn,
    /// Why it cannot be followed, as an error says it; None when it can.
    pub problem: Option<guardian::Stopped>,
    /// The last gaps, the newest first.
    pub gaps: Vec<Gap>,
}

/// Looks at the slot, the log and the server, and changes nothing.
///
/// # Errors
/// Postgres or the log cannot be reached.
pub async fn slot_status(config: &Config, log: &EventLog) -> Result<SlotStatus, Error> {
    let sql = slot::sql_client(config).await?;
    let mut connection = slot::connect(config).await?;
    let look = Look::take(config, log, &sql, &mut connection).await?;
    Ok(SlotStatus {
        slot_name: config.slot.clone(),
        system_identifier: look.server.system_identifier.clone(),
        timeline: look.server.timeline,
        server_end: Lsn(look.server.xlogpos),
        problem: look.problem(config),
        gaps: log.gaps(&config.slot, 20).await?,
        slot: look.slot,
        checkpoint: look.checkpoint,
    })
}

/// Makes a new slot, and appends an event for each change that the log missed, as far as tables and log tell.
///
/// `triggers`: their tables join the publication first. `progress` is called after each append and each table.
/// The capture that waits follows the new slot within seconds of the end.
///
/// # Errors
/// [`Error::NothingToResync`]: the slot is well. [`Error::NeverFollowed`], [`Error::ResyncAtWork`].
/// [`postgres_replication::Error::SlotBusy`]: somebody follows the slot. [`Error::OtherDatabase`], [`Error::Unusable`]:
/// what has the slot's name is not ours to drop. Whatever it is, the gap stays open, and a later call starts over.
pub async fn resync(
    config: &Config,
    log: &EventLog,
    triggers: &TriggerSet,
    mut progress: impl FnMut(&Progress<'_>),
) -> Result<Resynced, Error> {
    let sql = slot::sql_client(config).await?;
    take_lock(config, &sql).await?;
    let mut connection = slot::connect(config).await?;
    let look = Look::take(config, log, &sql, &mut connection).await?;
    let checkpoint = look.checkpoint.clone();
    let before = checkpoint.ok_or_else(|| Error::NeverFollowed {
        slot: config.slot.clone(),
    })?;
    may_replace(config, look.slot.as_ref())?;
    let gap = claim(config, log, &look, &before).await?;
    publication::bring_in_step(config, triggers, publication::Change::Add).await;

    let epoch = log.next_epoch().await?.max(gap.epoch + 1);
    log.fence(&config.slot, epoch).await?;
    let begin = begin_anew(config, &sql, &mut connection, look.slot.is_some()).await?;
    failpoint::pass(failpoint::RESYNC_SLOT_CREATED);
    let known_from = match look.server.system_identifier == before.system_identifier {
        true => before.oldest_xid,
        // Transaction numbers of two servers say nothing of each other.
        false => None,
    };
    let comparison = Comparison::prepare(&sql, &config.publication, known_from).await?;
    let mut writer = Writer::new(log, &gap, epoch, begin);
    let tables = write_differences(&comparison, &mut writer, &mut progress).await?;
    let after = Checkpoint {
        slot_name: config.slot.clone(),
        epoch,
        system_identifier: look.server.system_identifier.clone(),
        timeline: look.server.timeline,
        commit_lsn: writer.commit_lsn(),
        ordinal: writer.next_ordinal,
        end_lsn: begin,
        oldest_xid: Some(comparison.oldest_xid()),
    };
    let recovered = log.finish_gap(gap.id, &after).await?;
    tracing::info!(slot = config.slot, from = %gap.from_lsn, to = %begin, recovered, "the gap is filled");
    let gap = Gap {
        to_lsn: Some(begin),
        resolved_at: Some(SystemTime::now()),
        recovered: Some(recovered),
        ..gap
    };
    Ok(Resynced { tables, gap })
}

/// Two resyncs would drop each other's slots. The lock ends with the session.
async fn take_lock(config: &Config, sql: &Client) -> Result<(), Error> {
    let row = sql
        .query_one(
            "select pg_try_advisory_lock(hashtextextended('tidegate resync ' || $1, 0))",
            &[&config.slot],
        )
        .await?;
    match row.get(0) {
        true => Ok(()),
        false => Err(Error::ResyncAtWork {
            slot: config.slot.clone(),
        }),
    }
}

/// Whether what has the slot's name, if anything, may be dropped.
fn may_replace(config: &Config, found: Option<&Slot>) -> Result<(), Error> {
    let slot = config.slot.clone();
    match found {
        Some(Slot {
            active_pid: Some(pid),
            ..
        }) => Err(postgres_replication::Error::SlotBusy { slot, pid: *pid }.into()),
        Some(Slot {
            foreign: Some(Cause::OtherDatabase),
            ..
        }) => Err(Error::OtherDatabase { slot }),
        Some(Slot {
            foreign: Some(_), ..
        }) => Err(Error::Unusable { slot }),
        _ => Ok(()),
    }
}

/// The open gap; made here when no capture has found it yet.
async fn claim(
    config: &Config,
    log: &EventLog,
    look: &Look,
    before: &Checkpoint,
) -> Result<Gap, Error> {
    if let Some(gap) = log.open_gap(&config.slot).await? {
        return Ok(gap);
    }
    let Some(problem) = look.problem(config) else {
        return Err(Error::NothingToResync {
            slot: config.slot.clone(),
        });
    };
    let reason = problem.cause.to_string();
    let gap = log.begin_gap(&config.slot, before.epoch, before.end_lsn, &reason);
    Ok(gap.await?)
}

/// Makes the slot and opens, in `sql`, a transaction that sees the tables as they are where it begins; returns that place.
async fn begin_anew(
    config: &Config,
    sql: &Client,
    connection: &mut Connection,
    is_there: bool,
) -> Result<Lsn, Error> {
    if is_there {
        connection.drop_slot(&config.slot).await?;
    }
    let slot = connection.create_slot_with_snapshot(&config.slot).await?;
    let snapshot = slot.snapshot.unwrap_or_default();
    sql.batch_execute(&format!(
        "begin isolation level repeatable read; set transaction snapshot '{snapshot}'"
    ))
    .await?;
    Ok(Lsn(slot.consistent_point))
}

async fn write_differences(
    comparison: &Comparison<'_>,
    writer: &mut Writer<'_>,
    progress: &mut impl FnMut(&Progress<'_>),
) -> Result<Vec<TableResynced>, Error> {
    let tables = comparison.tables().await?;
    let mut results = Vec::new();
    for (tables_done, table) in tables.iter().enumerate() {
        let mut result = TableResynced {
            table: table.quoted.clone(),
            skipped: table.key.is_empty(),
            ..TableResynced::default()
        };
        let mut report = |tables_done: usize, events: u64| {
            progress(&Progress {
                table: &table.quoted,
                tables_done,
                tables: tables.len(),
                events,
            });
        };
        if result.skipped {
            tracing::warn!(
                table = table.quoted,
                "has no primary key: what was missed of it cannot be found"
            );
        } else {
            let mut rows = comparison.open(table).await?;
            while let Some(differences) = rows.next_page().await? {
                for difference in differences {
                    result.count(&difference);
                    if writer.add(table, difference).await? {
                        report(tables_done, writer.appended);
                    }
                }
            }
        }
        writer.flush().await?;
        report(tables_done + 1, writer.appended);
        results.push(result);
    }
    Ok(results)
}

impl TableResynced {
    fn count(&mut self, difference: &Difference) {
        let count = match difference.operation {
            tidegate_event::Operation::Insert => &mut self.inserted,
            tidegate_event::Operation::Update => &mut self.updated,
            _ => &mut self.deleted,
        };
        *count += 1;
    }
}

/// Gathers differences into appends.
struct Writer<'a> {
    log: &'a EventLog,
    gap: i64,
    epoch: u32,
    begin: Lsn,
    next_ordinal: u32,
    appended: u64,
    waiting: Vec<ChangeEvent>,
    bytes: usize,
}

impl<'a> Writer<'a> {
    fn new(log: &'a EventLog, gap: &Gap, epoch: u32, begin: Lsn) -> Self {
        Writer {
            log,
            gap: gap.id,
            epoch,
            begin,
            next_ordinal: 0,
            appended: 0,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Just before the slot's beginning, where no record of the WAL begins: a commit may stand at the beginning itself,
    /// and must not be taken for one that the log has.
    fn commit_lsn(&self) -> Lsn {
        Lsn(self.begin.0 - 1)
    }

    /// True when something was appended.
    async fn add(&mut self, table: &compare::Table, difference: Difference) -> Result<bool, Error> {
        let id = EventId {
            epoch: self.epoch,
            commit_lsn: self.commit_lsn(),
            ordinal: self.next_ordinal,
        };
        self.next_ordinal += 1;
        self.bytes += difference.bytes();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_micros() as i64;
        self.waiting.push(difference.into_event(table, id, now));
        let is_full = self.waiting.len() >= MAX_EVENTS_PER_APPEND;
        if is_full || self.bytes >= MAX_BYTES_PER_APPEND {
            self.flush().await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        self.log
            .append_recovered(self.gap, self.epoch, &events)
            .await?;
        self.appended += events.len() as u64;
        failpoint::pass(failpoint::RESYNC_APPENDED);
        Ok(())
    }
}
