//! How far the log has got with a slot.

use std::time::SystemTime;

use tidegate_event::Lsn;

use crate::append::{lsn, pg_lsn};
use crate::{Error, EventLog};

/// How far the log has got with one slot; moved in the same statement that adds the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub slot_name: String,
    pub epoch: u32,
    pub system_identifier: String,
    pub timeline: u32,
    /// Commit of the last transaction of which an event is in the log.
    pub commit_lsn: Lsn,
    /// How many of that transaction's events are in the log.
    pub ordinal: u32,
    /// Everything up to here is in the log, or was none of ours.
    ///
    /// Invariant: never less than what was confirmed to Postgres. So a slot that has confirmed more was
    /// moved, or made anew, by somebody else.
    pub end_lsn: Lsn,
    /// Transactions older than this one had ended before `end_lsn`. None before the first heartbeat of a log that an
    /// earlier version made.
    pub oldest_xid: Option<u64>,
}

/// What a heartbeat says once it has come back through the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// `pg_snapshot_xmin` when it was sent, with its epoch: older transactions had ended by then.
    pub oldest_xid: u64,
    pub sent_at: SystemTime,
}

impl EventLog {
    /// The checkpoint of `slot`, or None when this log never followed it.
    pub async fn checkpoint(&self, slot: &str) -> Result<Option<Checkpoint>, Error> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                "select slot_name, epoch, system_identifier, timeline, commit_lsn, ordinal, end_lsn, oldest_xid
                   from tidegate.capture where slot_name = $1",
                &[&slot],
            )
            .await?;
        Ok(row.map(|row| Checkpoint {
            slot_name: row.get(0),
            epoch: row.get::<_, i32>(1) as u32,
            system_identifier: row.get(2),
            timeline: row.get::<_, i32>(3) as u32,
            commit_lsn: lsn(row.get(4)),
            ordinal: row.get::<_, i32>(5) as u32,
            end_lsn: lsn(row.get(6)),
            oldest_xid: row.get::<_, Option<i64>>(7).map(|xid| xid as u64),
        }))
    }

    /// Records that a new slot is followed from here on, unless another process has just done so; returns what holds.
    pub async fn create_checkpoint(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, Error> {
        let client = self.client().await?;
        client
            .execute(
                "insert into tidegate.capture
                     (slot_name, epoch, system_identifier, timeline, commit_lsn, ordinal, end_lsn, oldest_xid)
                 values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
                &[
                    &checkpoint.slot_name,
                    &(checkpoint.epoch as i32),
                    &checkpoint.system_identifier,
                    &(checkpoint.timeline as i32),
                    &pg_lsn(checkpoint.commit_lsn),
                    &(checkpoint.ordinal as i32),
                    &pg_lsn(checkpoint.end_lsn),
                    &checkpoint.oldest_xid.map(|xid| xid as i64),
                ],
            )
            .await?;
        let found = self.checkpoint(&checkpoint.slot_name).await?;
        Ok(found.unwrap_or_else(|| checkpoint.clone()))
    }

    /// Records that the server has gone over to another timeline that holds all that the log has.
    pub async fn set_timeline(&self, checkpoint: &Checkpoint, timeline: u32) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "update tidegate.capture set timeline = $3 where slot_name = $1 and epoch = $2",
                &[
                    &checkpoint.slot_name,
                    &(checkpoint.epoch as i32),
                    &(timeline as i32),
                ],
            )
            .await?;
        Ok(())
    }
}
