//! What became of each delivery.

use std::collections::HashSet;

use tidegate_event::Trigger;

use crate::{Error, EventLog, LaneLease};

/// How an attempt left a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Final: the handler ran to its end.
    Done,
    /// It failed and will be tried again.
    Retry,
    /// Final: it failed for the last time and waits for a human.
    Dead,
    /// It waits in the log, not in the queue: its trigger is paused, or has too many waiting.
    Held,
    /// It goes on under a later offset: as a held delivery that was resumed, or a dead one that was replayed.
    Moved,
}

/// One attempt's result.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub log_offset: u64,
    pub trigger: Trigger,
    pub status: Status,
    /// How many attempts there were, this one included.
    pub attempts: u32,
    /// How often in a row its process ended while it ran. One that is about to run and may do so again is recorded as a
    /// retry beforehand, with this one higher.
    pub crashes: u32,
    /// Why it failed; the handler's message, never a row's values.
    pub error: Option<String>,
    /// What it wrote to the console, when it failed.
    pub logs: Option<String>,
    pub duration_us: u64,
    /// The claim under which it ran; an outdated one is refused.
    pub lane: LaneLease,
}

/// What an earlier attempt recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub status: Status,
    pub attempts: u32,
    pub crashes: u32,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::Retry => "retry",
            Status::Dead => "dead",
            Status::Held => "held",
            Status::Moved => "moved",
        }
    }

    pub fn is_final(self) -> bool {
        self != Status::Retry
    }

    pub(crate) fn from_stored(text: &str) -> Status {
        match text {
            "done" => Status::Done,
            "dead" => Status::Dead,
            "held" => Status::Held,
            "moved" => Status::Moved,
            _ => Status::Retry,
        }
    }
}

// A final outcome stays: a late repeat may not turn "done" back into "retry". But a delivery that was held while it ran
// need not run again.
const RECORD: &str = "
with valid as (
    select o.*
      from unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::bigint[],
                  $7::integer[], $8::bigint[], $9::text[], $10::integer[])
               as o (log_offset, trigger, status, attempts, error, duration_us, lane, fence, logs, crashes)
      join tidegate.lane on lane.lane = o.lane and lane.fence = o.fence
), recorded as (
    insert into tidegate.outcome as existing
           (log_offset, trigger, status, attempts, crashes, error, logs, duration_us, held_place)
    select log_offset, trigger, status, attempts, crashes, error, logs, duration_us, {held_place} from valid
    on conflict (log_offset, trigger) do update
       set status = excluded.status, attempts = excluded.attempts,
           crashes = excluded.crashes, error = excluded.error,
           logs = excluded.logs, duration_us = excluded.duration_us, finished_at = excluded.finished_at,
           held_place = excluded.held_place
     where existing.status = 'retry' or (existing.status = 'held' and excluded.status in ('done', 'dead'))
)
select log_offset, trigger from valid";

/// Where a delivery that a worker holds stood when it first was held.
const HELD_PLACE: &str = "case when status = 'held' then coalesce(
    (select (redelivery::jsonb ->> 'held')::bigint from tidegate.event where event.log_offset = valid.log_offset),
    log_offset) end";

impl EventLog {
    /// Records `outcomes` in one statement, and returns those that count: (log offset, trigger). One with an
    /// outdated fence does not: the lane has another owner, who runs the delivery. One for a delivery that
    /// already has a final outcome counts and changes nothing. Idempotent.
    ///
    /// `outcomes`: at most one a delivery.
    pub async fn record_outcomes(
        &self,
        outcomes: &[Outcome],
    ) -> Result<HashSet<(u64, String)>, Error> {
        let column = |pick: fn(&Outcome) -> i64| outcomes.iter().map(pick).collect::<Vec<i64>>();
        let offsets = column(|o| o.log_offset as i64);
        let durations = column(|o| o.duration_us as i64);
        let fences = column(|o| o.lane.fence as i64);
        let attempts: Vec<i32> = outcomes.iter().map(|o| o.attempts as i32).collect();
        let crashes: Vec<i32> = outcomes.iter().map(|o| o.crashes as i32).collect();
        let lanes: Vec<i32> = outcomes.iter().map(|o| i32::from(o.lane.lane)).collect();
        let triggers: Vec<String> = outcomes.iter().map(|o| o.trigger.to_string()).collect();
        let statuses: Vec<&str> = outcomes.iter().map(|o| o.status.as_str()).collect();
        let errors: Vec<Option<String>> = outcomes
            .iter()
            .map(|o| o.error.as_deref().map(storable))
            .collect();
        let logs: Vec<Option<String>> = outcomes
            .iter()
            .map(|o| o.logs.as_deref().map(storable))
            .collect();
        let client = self.client().await?;
        // Looking into the log costs more than all the rest, and workers seldom hold.
        let held_place = match outcomes.iter().any(|o| o.status == Status::Held) {
            true => HELD_PLACE,
            false => "null::bigint",
        };
        let record = RECORD.replace("{held_place}", held_place);
        let statement = client.prepare_cached(&record).await?;
        let rows = client
            .query(
                &statement,
                &[
                    &offsets, &triggers, &statuses, &attempts, &errors, &durations, &lanes,
                    &fences, &logs, &crashes,
                ],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| (row.get::<_, i64>(0) as u64, row.get(1)))
            .collect())
    }

    /// What earlier attempts of a delivery recorded, or None when there was none.
    pub async fn recorded_outcome(
        &self,
        log_offset: u64,
        trigger: &Trigger,
    ) -> Result<Option<Recorded>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select status, attempts, crashes from tidegate.outcome
                  where log_offset = $1 and trigger = $2",
            )
            .await?;
        let row = client
            .query_opt(&statement, &[&(log_offset as i64), &trigger.to_string()])
            .await?;
        Ok(row.map(|row| Recorded {
            status: Status::from_stored(row.get(0)),
            attempts: row.get::<_, i32>(1) as u32,
            crashes: row.get::<_, i32>(2) as u32,
        }))
    }

    /// How many deliveries stand in each unfinished state: (waiting for a retry, dead).
    pub async fn unfinished(&self) -> Result<(u64, u64), Error> {
        let client = self.client().await?;
        // Two equalities, which the partial index serves; the planner takes `<> 'done'` for half of the table.
        let row = client
            .query_one(
                "select (select count(*) from tidegate.outcome where status = 'retry'),
                        (select count(*) from tidegate.outcome where status = 'dead')",
                &[],
            )
            .await?;
        Ok((row.get::<_, i64>(0) as u64, row.get::<_, i64>(1) as u64))
    }
}

/// Postgres text holds no NUL, and a message or a log of megabytes helps nobody.
fn storable(message: &str) -> String {
    const MAX_CHARS: usize = 16 * 1024;
    message
        .chars()
        .filter(|c| *c != '\0')
        .take(MAX_CHARS)
        .collect()
}
