//! Putting events into the log once more, within the transaction of whoever asked for it.

use tidegate_event::delivery::effect_key;
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
        redeliveries.push(redelivery);
    }
    let causes = effects_that_move(&events, &redeliveries);
    let redeliveries: Vec<String> = redeliveries
        .iter()
        .map(|one| serde_json::to_string(one).expect("a redelivery is a map with string keys"))
        .collect();
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
    let (places, causes): (Vec<i64>, Vec<String>) = causes.into_iter().unzip();
    // Effects go with the partition of their event: those of a delivery that goes on must not go before it.
    tx.execute(
        "update tidegate.effect set log_offset = $1 + moved.place
           from unnest($2::bigint[], $3::text[]) as moved (place, cause)
          where effect.cause = moved.cause",
        &[&(last - count + 1), &places, &causes],
    )
    .await?;
    Ok(((last - count + 1) as u64, last as u64))
}

/// Places among the entries, and the causes under which earlier attempts recorded effects.
fn effects_that_move(events: &[ChangeEvent], redeliveries: &[Redelivery]) -> Vec<(i64, String)> {
    let mut causes = Vec::new();
    for (place, (event, redelivery)) in (0..).zip(events.iter().zip(redeliveries)) {
        if redelivery.of.is_some() {
            let causes_of =
                |trigger: &String| (place, effect_key(event.id, trigger, Some(redelivery)));
            causes.extend(redelivery.triggers.iter().map(causes_of));
        }
    }
    causes
}
