//! Deliveries that wait in the log and not in the queue, and how they go on.
//!
//! A held delivery is an outcome of its event with status `held`, which is final for the settled offset. It goes on as
//! a new entry at the end of the log, and its outcome says `moved`. What a trigger holds goes on in the order of
//! `held_place`: where each stood when it was held for the first time.
//!
//! One process holds and resumes, the one that leads dispatch; workers hold what the queue had when a trigger was
//! paused.

use deadpool_postgres::Object;

use crate::{Error, EventLog};

/// A delivery that is to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub log_offset: u64,
    pub trigger: String,
    /// Where it stood when it first was held: its own offset, or `Redelivery::held`.
    pub place: u64,
    /// Hash of its order key; None: it has none.
    pub key: Option<i64>,
}

/// Which of a trigger's held deliveries are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All but those of these keys.
    Except(Vec<i64>),
    Key(i64),
}

/// What was resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// How many deliveries are in the log again.
    pub resumed: u64,
    /// The end of the log then; None when there was nothing to resume.
    pub last_offset: Option<u64>,
}

/// The end of the log, held in place: nothing is appended until this is ended or dropped.
pub struct Frozen {
    /// None once it is over.
    client: Option<Object>,
    last_offset: u64,
}

/// How many deliveries of one key a trigger holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    pub trigger: String,
    /// None: not known, or it has none.
    pub key: Option<i64>,
    pub count: u64,
}

const HOLD: &str = "
insert into tidegate.outcome as existing
       (log_offset, trigger, status, attempts, duration_us, held_place, held_key)
select log_offset, trigger, 'held', 0, 0, place, key
  from unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) as h (log_offset, trigger, place, key)
on conflict (log_offset, trigger) do update
   set status = 'held', held_place = excluded.held_place, held_key = excluded.held_key,
       finished_at = clock_timestamp()
 where existing.status = 'retry'";

// One whose event is gone has nothing to go on with: it is marked as moved all the same.
const RESUME: &str = "
with picked as materialized (
    select log_offset, held_place from tidegate.outcome
     where trigger = $1 and status = 'held'
       and {which}
     order by held_place, log_offset limit $2 for update
), source as materialized (
    select event.*, picked.held_place, row_number() over (order by picked.held_place, picked.log_offset) as n
      from picked join tidegate.event using (log_offset)
), total as (
    select count(*) as rows from source
), grown as (
    update tidegate.log set last_offset = last_offset + total.rows from total where total.rows > 0
    returning last_offset
), added as (
    insert into tidegate.event
           (log_offset, commit_time, epoch, commit_lsn, ordinal, xid, parent, redelivery, body)
    select grown.last_offset - total.rows + n, commit_time, epoch, commit_lsn, ordinal, xid, parent,
           (coalesce(redelivery::jsonb, '{\"kind\": \"resume\", \"afresh\": false}')
            || jsonb_build_object('triggers', jsonb_build_array($1::text), 'of', source.log_offset,
                                  'held', held_place))::text, body
      from source, grown, total
), moved as (
    update tidegate.outcome set status = 'moved', finished_at = clock_timestamp()
      from picked where outcome.log_offset = picked.log_offset and outcome.trigger = $1
)
select total.rows, (select last_offset from grown),
       (select pg_notify('tidegate_event', last_offset::text) from grown)::text
  from total";

impl EventLog {
    /// Records deliveries as held. One that has a final outcome keeps it. Idempotent.
    pub async fn hold(&self, holdings: &[Holding]) -> Result<(), Error> {
        if holdings.is_empty() {
            return Ok(());
        }
        let client = self.client().await?;
        let statement = client.prepare_cached(HOLD).await?;
        let offsets: Vec<i64> = holdings.iter().map(|h| h.log_offset as i64).collect();
        let triggers: Vec<&str> = holdings.iter().map(|h| h.trigger.as_str()).collect();
        let places: Vec<i64> = holdings.iter().map(|h| h.place as i64).collect();
        let keys: Vec<Option<i64>> = holdings.iter().map(|h| h.key).collect();
        client
            .execute(&statement, &[&offsets, &triggers, &places, &keys])
            .await?;
        Ok(())
    }

    /// Puts up to `limit` held deliveries of `trigger` into the log again, in order, in one transaction.
    pub async fn resume_held(
        &self,
        trigger: &str,
        which: &Which,
        limit: u64,
    ) -> Result<Resumed, Error> {
        let client = self.client().await?;
        resume(&client, trigger, which, limit).await
    }

    /// How many of them there are, counted up to `at_most`.
    pub async fn count_held(
        &self,
        trigger: &str,
        which: &Which,
        at_most: u64,
    ) -> Result<u64, Error> {
        let client = self.client().await?;
        let (condition, keys) = which.condition();
        let count = format!(
            "select count(*) from (
                 select from tidegate.outcome where trigger = $1 and status = 'held' and {condition} limit $2) as held"
        );
        let statement = client.prepare_cached(&count).await?;
        let row = client
            .query_one(&statement, &[&trigger, &(at_most as i64), &keys])
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// What each trigger holds, by key; at most `limit` of them, those with most first.
    pub async fn held_keys(&self, limit: u64) -> Result<Vec<HeldKey>, Error> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select trigger, held_key, count(*) from tidegate.outcome where status = 'held'
                  group by trigger, held_key order by count(*) desc limit $1",
                &[&(limit as i64)],
            )
            .await?;
        let held = |row: &tokio_postgres::Row| HeldKey {
            trigger: row.get(0),
            key: row.get(1),
            count: row.get::<_, i64>(2) as u64,
        };
        Ok(rows.iter().map(held).collect())
    }

    /// Names of the triggers that hold deliveries.
    pub async fn holding_triggers(&self) -> Result<Vec<String>, Error> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select distinct trigger from tidegate.outcome where status = 'held'",
                &[],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Holds the end of the log in place, so that whoever has read up to it knows that nothing is between what it
    /// resumes and what comes. Appenders wait meanwhile: be quick.
    pub async fn freeze(&self) -> Result<Frozen, Error> {
        let mut frozen = Frozen {
            client: Some(self.client().await?),
            last_offset: 0,
        };
        let client = frozen.client();
        client.batch_execute("begin").await?;
        let row = client
            .query_one("select last_offset from tidegate.log for update", &[])
            .await?;
        frozen.last_offset = row.get::<_, i64>(0) as u64;
        Ok(frozen)
    }
}

impl Frozen {
    pub fn last_offset(&self) -> u64 {
        self.last_offset
    }

    /// As [`EventLog::resume_held`]; durable with [`Frozen::end`].
    pub async fn resume_held(
        &self,
        trigger: &str,
        which: &Which,
        limit: u64,
    ) -> Result<Resumed, Error> {
        resume(self.client(), trigger, which, limit).await
    }

    /// Makes what was resumed durable, and lets the log grow again.
    pub async fn end(mut self) -> Result<(), Error> {
        self.client().batch_execute("commit").await?;
        self.client = None;
        Ok(())
    }

    fn client(&self) -> &Object {
        self.client.as_ref().expect("it is not over")
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // Out of the pool, so that the connection ends: the server rolls back what it was at.
            drop(Object::take(client));
        }
    }
}

impl Which {
    /// A condition of which `$3` is the keys.
    fn condition(&self) -> (&'static str, &[i64]) {
        match self {
            Which::Except(keys) => ("(held_key is null or held_key <> all($3))", keys),
            Which::Key(key) => ("held_key = ($3::bigint[])[1]", std::slice::from_ref(key)),
        }
    }
}

async fn resume(
    client: &Object,
    trigger: &str,
    which: &Which,
    limit: u64,
) -> Result<Resumed, Error> {
    let (condition, keys) = which.condition();
    let statement = RESUME.replace("{which}", condition);
    let statement = client.prepare_cached(&statement).await?;
    let row = client
        .query_one(&statement, &[&trigger, &(limit as i64), &keys])
        .await?;
    Ok(Resumed {
        resumed: row.get::<_, i64>(0) as u64,
        last_offset: row.get::<_, Option<i64>>(1).map(|offset| offset as u64),
    })
}
