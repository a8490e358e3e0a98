//! Capture's side: the checkpoint, and appending events under it.

use tidegate_event::{ChangeEvent, Lsn};
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Statement};

use crate::{Error, EventLog};

/// Most events in one append; a transaction larger than this is cut and resumed by ordinal.
pub const MAX_EVENTS_PER_APPEND: usize = 5_000;

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
    /// End of the last transaction that is wholly in the log: what may be confirmed to Postgres.
    pub end_lsn: Lsn,
}

/// Capture's way into the log; holds a connection of its own. One at a time can move a slot's checkpoint.
pub struct Appender {
    client: Client,
    append: Statement,
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

impl EventLog {
    /// The checkpoint of `slot`, or None when this log never followed it.
    pub async fn checkpoint(&self, slot: &str) -> Result<Option<Checkpoint>, Error> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                "select slot_name, epoch, system_identifier, timeline, commit_lsn, ordinal, end_lsn
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
        }))
    }

    /// Records that a new slot is followed from here on, unless another process has just done so; returns what holds.
    pub async fn create_checkpoint(&self, checkpoint: &Checkpoint) -> Result<Checkpoint, Error> {
        let client = self.client().await?;
        client
            .execute(
                "insert into tidegate.capture
                     (slot_name, epoch, system_identifier, timeline, commit_lsn, ordinal, end_lsn)
                 values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
                &[
                    &checkpoint.slot_name,
                    &(checkpoint.epoch as i32),
                    &checkpoint.system_identifier,
                    &(checkpoint.timeline as i32),
                    &pg_lsn(checkpoint.commit_lsn),
                    &(checkpoint.ordinal as i32),
                    &pg_lsn(checkpoint.end_lsn),
                ],
            )
            .await?;
        let found = self.checkpoint(&checkpoint.slot_name).await?;
        Ok(found.unwrap_or_else(|| checkpoint.clone()))
    }

    /// Becomes the writer that continues at `checkpoint`.
    pub async fn appender(&self, checkpoint: Checkpoint) -> Result<Appender, Error> {
        let (client, connection) = self.dedicated().await?;
        tokio::spawn(connection);
        // The log is the promise that a change is not lost: whatever the database's default is, wait for the disk.
        client.batch_execute("set synchronous_commit = on").await?;
        let append = client.prepare(APPEND).await?;
        Ok(Appender {
            client,
            append,
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
