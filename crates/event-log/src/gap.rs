//! What capture may have missed: from its finding to its being filled.

use std::time::SystemTime;

use tidegate_event::{ChangeEvent, Lsn};

use crate::append::{Columns, lsn, pg_lsn};
use crate::{Checkpoint, Error, EventLog};

/// One time that capture had to stop; at most one of a slot is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub id: i64,
    pub slot_name: String,
    /// That the log had followed.
    pub epoch: u32,
    /// Everything up to here is in the log.
    pub from_lsn: Lsn,
    /// From here on changes are captured again; None while the gap is open.
    pub to_lsn: Option<Lsn>,
    pub reason: String,
    pub found_at: SystemTime,
    pub resolved_at: Option<SystemTime>,
    /// How many events comparing tables with the log brought.
    pub recovered: Option<u64>,
}

const COLUMNS: &str =
    "id, slot_name, epoch, from_lsn, to_lsn, reason, found_at, resolved_at, recovered";

/// As capture's own append, but the gap is what fences: it must still be open.
const APPEND_RECOVERED: &str = "
with gap as (
    update tidegate.gap set recovered = coalesce(recovered, 0) + $2
     where id = $1 and resolved_at is null returning id
), log as (
    update tidegate.log set last_offset = last_offset + $2 from gap returning last_offset
), added as (
    insert into tidegate.event
           (log_offset, commit_time, epoch, commit_lsn, ordinal, xid, parent, body)
    select log.last_offset - $2 + e.n, 'epoch'::timestamptz + e.commit_time_us * interval '1 microsecond',
           $3, e.commit_lsn, e.ordinal, e.xid, e.parent, e.body
      from log,
           unnest($4::bigint[], $5::pg_lsn[], $6::integer[], $7::bigint[], $8::text[], $9::text[])
               with ordinality as e (commit_time_us, commit_lsn, ordinal, xid, parent, body, n)
)
select last_offset, pg_notify('tidegate_event', last_offset::text) from log";

/// Both in one statement: a capture that waits sees the gap closed and the new position together.
const FINISH: &str = "
with gap as (
    update tidegate.gap
       set to_lsn = $2, resolved_at = clock_timestamp(), recovered = coalesce(recovered, 0)
     where id = $1 and resolved_at is null returning slot_name, recovered
), moved as (
    update tidegate.capture as c
       set epoch = $3, system_identifier = $4, timeline = $5, commit_lsn = $6, ordinal = $7, end_lsn = $2,
           oldest_xid = $8, heartbeat_at = clock_timestamp(), updated_at = clock_timestamp()
      from gap where c.slot_name = gap.slot_name
    returning c.slot_name
)
select gap.recovered from gap join moved using (slot_name)";

impl EventLog {
    /// The open gap of `slot`.
    pub async fn open_gap(&self, slot: &str) -> Result<Option<Gap>, Error> {
        let client = self.client().await?;
        let query = format!(
            "select {COLUMNS} from tidegate.gap where slot_name = $1 and resolved_at is null"
        );
        Ok(client.query_opt(&query, &[&slot]).await?.map(gap))
    }

    /// The last gaps of `slot`, the newest first.
    pub async fn gaps(&self, slot: &str, limit: u32) -> Result<Vec<Gap>, Error> {
        let client = self.client().await?;
        let query = format!(
            "select {COLUMNS} from tidegate.gap where slot_name = $1 order by id desc limit $2"
        );
        let rows = client.query(&query, &[&slot, &i64::from(limit)]).await?;
        Ok(rows.into_iter().map(gap).collect())
    }

    /// Records a gap, unless one is open: that one holds. Returns what holds.
    pub async fn begin_gap(
        &self,
        slot: &str,
        epoch: u32,
        from: Lsn,
        reason: &str,
    ) -> Result<Gap, Error> {
        let client = self.client().await?;
        // An update that changes nothing, so that the open one is returned.
        let statement = format!(
            "insert into tidegate.gap (slot_name, epoch, from_lsn, reason) values ($1, $2, $3, $4)
             on conflict (slot_name) where resolved_at is null do update set reason = gap.reason
             returning {COLUMNS}"
        );
        let row = client
            .query_one(
                &statement,
                &[&slot, &(epoch as i32), &pg_lsn(from), &reason],
            )
            .await?;
        Ok(gap(row))
    }

    /// Closes a gap whose cause went away before anything was missed.
    pub async fn close_gap(&self, id: i64) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "update tidegate.gap set to_lsn = from_lsn, resolved_at = clock_timestamp(), recovered = 0
                  where id = $1 and resolved_at is null",
                &[&id],
            )
            .await?;
        Ok(())
    }

    /// Gives the slot's checkpoint a new epoch and leaves its position: an append under the old one is refused from here on.
    pub async fn fence(&self, slot: &str, epoch: u32) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "update tidegate.capture set epoch = $2 where slot_name = $1",
                &[&slot, &(epoch as i32)],
            )
            .await?;
        Ok(())
    }

    /// Appends events that were found by comparing; counts them to the gap.
    ///
    /// # Errors
    /// [`Error::GapClosed`]: somebody else has filled it; stop.
    pub async fn append_recovered(
        &self,
        gap: i64,
        epoch: u32,
        events: &[ChangeEvent],
    ) -> Result<(), Error> {
        let client = self.client().await?;
        let columns = Columns::of(events);
        let row = client
            .query_opt(
                APPEND_RECOVERED,
                &[
                    &gap,
                    &(events.len() as i64),
                    &(epoch as i32),
                    &columns.times,
                    &columns.lsns,
                    &columns.ordinals,
                    &columns.xids,
                    &columns.parents,
                    &columns.bodies,
                ],
            )
            .await?;
        row.map(drop).ok_or(Error::GapClosed { gap })
    }

    /// Closes the gap and moves the checkpoint to where the new slot begins; returns how many events were recovered in all.
    ///
    /// # Errors
    /// [`Error::GapClosed`].
    pub async fn finish_gap(&self, gap: i64, checkpoint: &Checkpoint) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                FINISH,
                &[
                    &gap,
                    &pg_lsn(checkpoint.end_lsn),
                    &(checkpoint.epoch as i32),
                    &checkpoint.system_identifier,
                    &(checkpoint.timeline as i32),
                    &pg_lsn(checkpoint.commit_lsn),
                    &(checkpoint.ordinal as i32),
                    &checkpoint.oldest_xid.map(|xid| xid as i64),
                ],
            )
            .await?;
        let row = row.ok_or(Error::GapClosed { gap })?;
        Ok(row.get::<_, i64>(0) as u64)
    }
}

fn gap(row: tokio_postgres::Row) -> Gap {
    Gap {
        id: row.get(0),
        slot_name: row.get(1),
        epoch: row.get::<_, i32>(2) as u32,
        from_lsn: lsn(row.get(3)),
        to_lsn: row.get::<_, Option<_>>(4).map(lsn),
        reason: row.get(5),
        found_at: row.get(6),
        resolved_at: row.get(7),
        recovered: row.get::<_, Option<i64>>(8).map(|count| count as u64),
    }
}
