//! Capture's side: appending events under the checkpoint, and moving it where there are none.

use std::time::SystemTime;

use tidegate_event::{ChangeEvent, Lsn};
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Statement};

use crate::checkpoint::Heartbeat;
use crate::{Checkpoint, Error, EventLog};

/// Most events in one append; a transaction larger than this is cut and resumed by ordinal.
pub const MAX_EVENTS_PER_APPEND: usize = 5_000;

/// Capture's way into the log; holds a connection of its own. One at a time can move a slot's checkpoint.
pub struct Appender {
    client: Client,
    append: Statement,
    advance: Statement,
    checkpoint: Checkpoint,
}

const APPEND: &str = "
with moved as (
    update tidegate.capture
       set commit_lsn = $5, ordinal = $6, end_lsn = $7, updated_at = clock_timestamp()
     where slot_name = $1 and epoch = $2 and commit_lsn = $3 and ordinal = $4
    returning slot_name
), log as (
    update tidegate.log set last_offset = last_offset + $8 from moved returning last_offset
), added as (
    insert into tidegate.event
           (log_offset, commit_time, epoch, commit_lsn, ordinal, xid, parent, body)
    select log.last_offset - $8 + e.n, 'epoch'::timestamptz + e.commit_time_us * interval '1 microsecond',
           $2, e.commit_lsn, e.ordinal, e.xid, e.parent, e.body
      from log,
           unnest($9::bigint[], $10::pg_lsn[], $11::integer[], $12::bigint[], $13::text[], $14::text[])
               with ordinality as e (commit_time_us, commit_lsn, ordinal, xid, parent, body, n)
)
select last_offset, pg_notify('tidegate_event', last_offset::text) from log";

const ADVANCE: &str = "
update tidegate.capture
   set end_lsn = greatest(end_lsn, $5), oldest_xid = coalesce($6, oldest_xid),
       heartbeat_at = coalesce($7, heartbeat_at), updated_at = clock_timestamp()
 where slot_name = $1 and epoch = $2 and commit_lsn = $3 and ordinal = $4";

impl EventLog {
    /// Becomes the writer that continues at `checkpoint`.
    pub async fn appender(&self, checkpoint: Checkpoint) -> Result<Appender, Error> {
        let (client, connection) = self.dedicated().await?;
        tokio::spawn(connection);
        // The log is the promise that a change is not lost: whatever the database's default is, wait for the disk.
        client.batch_execute("set synchronous_commit = on").await?;
        let append = client.prepare(APPEND).await?;
        let advance = client.prepare(ADVANCE).await?;
        Ok(Appender {
            client,
            append,
            advance,
            checkpoint,
        })
    }
}

impl Appender {
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// True when `event` is already in the log: Postgres sends again what was not confirmed.
    pub fn has(&self, commit_lsn: Lsn, ordinal: u32) -> bool {
        let at = &self.checkpoint;
        commit_lsn < at.commit_lsn || (commit_lsn == at.commit_lsn && ordinal < at.ordinal)
    }

    /// Appends events and moves the checkpoint, in one statement; returns the last offset.
    ///
    /// `events`: in commit order, none for which [`Appender::has`] is true, non-empty, at most
    /// [`MAX_EVENTS_PER_APPEND`]. `end_lsn`: end of the last transaction that is whole with these events.
    /// Offsets are dense, from 1.
    ///
    /// # Errors
    /// [`Error::Fenced`]: another appender has taken over; stop. [`Error::Unavailable`]: whether the
    /// events were added is unknown; load the checkpoint again and continue from it.
    pub async fn append(&mut self, events: &[ChangeEvent], end_lsn: Lsn) -> Result<u64, Error> {
        let last = events
            .last()
            .expect("the caller appends at least one event");
        let at = &self.checkpoint;
        let columns = Columns::of(events);
        let row = self
            .client
            .query_opt(
                &self.append,
                &[
                    &at.slot_name,
                    &(at.epoch as i32),
                    &pg_lsn(at.commit_lsn),
                    &(at.ordinal as i32),
                    &pg_lsn(last.id.commit_lsn),
                    &(last.id.ordinal as i32 + 1),
                    &pg_lsn(end_lsn),
                    &(events.len() as i64),
                    &columns.times,
                    &columns.lsns,
                    &columns.ordinals,
                    &columns.xids,
                    &columns.parents,
                    &columns.bodies,
                ],
            )
            .await?;
        let row = row.ok_or_else(|| Error::Fenced {
            slot: at.slot_name.clone(),
        })?;
        self.checkpoint.commit_lsn = last.id.commit_lsn;
        self.checkpoint.ordinal = last.id.ordinal + 1;
        self.checkpoint.end_lsn = end_lsn;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// Records that everything up to `end_lsn` is in the log, or was none of ours; with it, the heartbeat seen by then.
    ///
    /// Must be done before a position is confirmed to Postgres: see [`Checkpoint::end_lsn`].
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub async fn advance(
        &mut self,
        end_lsn: Lsn,
        heartbeat: Option<Heartbeat>,
    ) -> Result<(), Error> {
        let at = &mut self.checkpoint;
        let oldest_xid = heartbeat.map(|heartbeat| heartbeat.oldest_xid as i64);
        let sent_at: Option<SystemTime> = heartbeat.map(|heartbeat| heartbeat.sent_at);
        let moved = self
            .client
            .execute(
                &self.advance,
                &[
                    &at.slot_name,
                    &(at.epoch as i32),
                    &pg_lsn(at.commit_lsn),
                    &(at.ordinal as i32),
                    &pg_lsn(end_lsn),
                    &oldest_xid,
                    &sent_at,
                ],
            )
            .await?;
        if moved == 0 {
            return Err(Error::Fenced {
                slot: at.slot_name.clone(),
            });
        }
        at.end_lsn = at.end_lsn.max(end_lsn);
        at.oldest_xid = heartbeat
            .map(|heartbeat| heartbeat.oldest_xid)
            .or(at.oldest_xid);
        Ok(())
    }
}

/// Events as the columns of one insert.
pub(crate) struct Columns {
    pub times: Vec<i64>,
    pub lsns: Vec<PgLsn>,
    pub ordinals: Vec<i32>,
    pub xids: Vec<i64>,
    pub parents: Vec<Option<String>>,
    pub bodies: Vec<String>,
}

impl Columns {
    pub fn of(events: &[ChangeEvent]) -> Columns {
        let parent = |event: &ChangeEvent| event.context.parent.map(|id| id.to_string());
        Columns {
            times: events.iter().map(|event| event.commit_time_us).collect(),
            lsns: events
                .iter()
                .map(|event| pg_lsn(event.id.commit_lsn))
                .collect(),
            ordinals: events.iter().map(|event| event.id.ordinal as i32).collect(),
            xids: events.iter().map(|event| i64::from(event.xid)).collect(),
            parents: events.iter().map(parent).collect(),
            bodies: events.iter().map(encode).collect(),
        }
    }
}

fn encode(event: &ChangeEvent) -> String {
    serde_json::to_string(event).expect("an event is maps with string keys")
}

pub(crate) fn pg_lsn(lsn: Lsn) -> PgLsn {
    PgLsn::from(lsn.0)
}

pub(crate) fn lsn(lsn: PgLsn) -> Lsn {
    Lsn(lsn.into())
}
