//! The replication slot: how capture stands, and finding what it missed.

use std::time::SystemTime;

use serde::Serialize;
use tidegate_capture::resync::Progress;
use tidegate_event::Lsn;
use tidegate_event_log::Gap;

use crate::{Admin, Error};

/// How a slot stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotLine {
    pub slot: String,
    /// `reserved`, `extended`, `unreserved` or `lost`, as Postgres has it; null when there is no such slot.
    pub wal_status: Option<String>,
    /// The backend that follows it.
    pub active_pid: Option<i32>,
    pub confirmed: Option<Lsn>,
    /// WAL that is kept for it, in bytes.
    pub retained_bytes: Option<u64>,
    /// Everything up to here is in the log; null when this log never followed the slot.
    pub log_end: Option<Lsn>,
    pub epoch: Option<u32>,
    /// WAL that is not in the log yet, in bytes.
    pub lag_bytes: Option<u64>,
    pub server_end: Lsn,
    pub system_identifier: String,
    pub timeline: u32,
    /// Why it cannot be followed; null when it can.
    pub problem: Option<String>,
    /// The last ones, the newest first.
    pub gaps: Vec<GapLine>,
}

/// What capture missed, or may have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GapLine {
    pub id: i64,
    pub epoch: u32,
    pub from: Lsn,
    /// Null while it is open.
    pub to: Option<Lsn>,
    pub reason: String,
    /// ISO 8601, UTC.
    pub found_at: String,
    pub resolved_at: Option<String>,
    /// Events that comparing tables with the log brought.
    pub recovered: Option<u64>,
}

/// What a resync came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resynced {
    pub gap: GapLine,
    pub tables: Vec<TableLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableLine {
    pub table: String,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    /// It has no primary key: nothing was compared.
    pub is_skipped: bool,
}

impl Admin {
    /// Looks at slot, log and server, and changes nothing.
    pub async fn slot_status(&self) -> Result<SlotLine, Error> {
        let status = tidegate_capture::slot_status(&self.capture, &self.log).await?;
        let end = status.server_end;
        let behind = |lsn: Lsn| end.0.saturating_sub(lsn.0);
        let slot = status.slot.as_ref();
        let checkpoint = status.checkpoint.as_ref();
        Ok(SlotLine {
            wal_status: slot.map(|slot| slot.wal_status.clone()),
            active_pid: slot.and_then(|slot| slot.active_pid),
            confirmed: slot.and_then(|slot| slot.confirmed),
            retained_bytes: slot.and_then(|slot| slot.restart).map(behind),
            log_end: checkpoint.map(|checkpoint| checkpoint.end_lsn),
            epoch: checkpoint.map(|checkpoint| checkpoint.epoch),
            lag_bytes: checkpoint.map(|checkpoint| behind(checkpoint.end_lsn)),
            server_end: end,
            problem: status.problem.map(|problem| problem.to_string()),
            gaps: status.gaps.into_iter().map(gap_line).collect(),
            slot: status.slot_name,
            system_identifier: status.system_identifier,
            timeline: status.timeline,
        })
    }

    /// Makes a new slot, and appends an event for each change that was missed, as far as tables and log tell.
    /// `progress` is called after each append and each table.
    pub async fn resync_slot(
        &self,
        progress: impl FnMut(&Progress<'_>),
    ) -> Result<Resynced, Error> {
        let triggers = self.triggers().await?;
        let done = tidegate_capture::resync(&self.capture, &self.log, &triggers, progress).await?;
        let table = |table: tidegate_capture::resync::TableResynced| TableLine {
            table: table.table,
            inserted: table.inserted,
            updated: table.updated,
            deleted: table.deleted,
            is_skipped: table.skipped,
        };
        Ok(Resynced {
            gap: gap_line(done.gap),
            tables: done.tables.into_iter().map(table).collect(),
        })
    }
}

fn gap_line(gap: Gap) -> GapLine {
    GapLine {
        id: gap.id,
        epoch: gap.epoch,
        from: gap.from_lsn,
        to: gap.to_lsn,
        reason: gap.reason,
        found_at: iso(gap.found_at),
        resolved_at: gap.resolved_at.map(iso),
        recovered: gap.recovered,
    }
}

fn iso(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}
