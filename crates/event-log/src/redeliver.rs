//! Putting events into the log once more, within the transaction of whoever asked for it.

use tidegate_event::{ChangeEvent, Redelivery};
use tokio_postgres::Transaction;

use crate::Error;
use crate::append::Columns;

/// An event that is to stand in the log once more, or without having been in the WAL.
pub(crate) struct Again {
    pub event: ChangeEvent,
    pub redelivery: Redelivery,
}

/// Appends entries and returns the first and the last offset; holds the end of the log until the transaction ends.
///
/// `entries`: non-empty, in the order in which they are to be delivered.
pub(crate) async fn append(tx: &Transaction<'_>, entries: Vec<Again>) -> Result<(u64, u64), Error> {
    let mut events = Vec::with_capacity(entries.len());
    let mut redeliveries = Vec::with_capacity(entries.len());
    for Again {
        mut event,
        redelivery,
    } in entries
    {
        // Whoever waited for its first delivery waits no more.
        event.context.reply_to = None;
        events.push(event);
        redeliveries.push(
            serde_json::to_string(&redelivery).expect("a redelivery is a map with string keys"),
        );
    }
    let columns = Columns::of(&events);
    let epochs: Vec<i32> = events.iter().map(|event| event.id.epoch as i32).collect();
    let count = events.len() as i64;
    let row = tx
        .query_one(
            "with log as (
                 update tidegate.log set last_offset = last_offset + $1 returning last_offset
             ), added as (
                 insert into tidegate.event (log_offset, commit_time, epoch, commit_lsn, ordinal, xid, parent,
                                             redelivery, body)
                 select log.last_offset - $1 + e.n,
                        'epoch'::timestamptz + e.commit_time_us * interval '1 microsecond',
                        e.epoch, e.commit_lsn, e.ordinal, e.xid, e.parent, e.redelivery, e.body
                   from log, unnest($2::bigint[], $3::integer[], $4::pg_lsn[], $5::integer[], $6::bigint[],
                                    $7::text[], $8::text[], $9::text[]) with ordinality
                             as e (commit_time_us, epoch, commit_lsn, ordinal, xid, parent, redelivery, body, n)
             )
             select last_offset, pg_notify('tidegate_event', last_offset::text) from log",
            &[
                &count,
                &columns.times,
                &epochs,
                &columns.lsns,
                &columns.ordinals,
                &columns.xids,
                &columns.parents,
                &redeliveries,
                &columns.bodies,
            ],
        )
        .await?;
    let last: i64 = row.get(0);
    Ok(((last - count + 1) as u64, last as u64))
}
