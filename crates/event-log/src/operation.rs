//! Long work that operators ask for: what it is, how far it is, and whether it may go on.
//!
//! A replay or a backfill is a row. It is worked on by whoever leads dispatch, one [`EventLog::step`] after another; a
//! step appends to the log and moves the row's position in one transaction, so a crash repeats nothing and skips nothing.

use serde::{Deserialize, Serialize};
use tidegate_event::TriggerSet;
use tokio_postgres::{IsolationLevel, Row, Transaction};

use crate::backfill::Backfill;
use crate::replay::Replay;
use crate::{Error, EventLog, Listener};

/// Wakes the process that works on operations.
pub(crate) const CHANNEL: &str = "tidegate_operation";

/// One replay or backfill.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    pub id: u64,
    pub kind: &'static str,
    pub specification: Specification,
    pub state: State,
    /// Events a second; None: as fast as they are delivered.
    pub rate: Option<u32>,
    /// Events, or rows, as far as known when it began.
    pub total: Option<u64>,
    /// How many of them it has looked at.
    pub done: u64,
    /// How many entries it has put into the log; fewer than `done` where there was nothing to deliver.
    pub appended: u64,
    pub error: Option<String>,
    /// ISO 8601, UTC, as the next one.
    pub created_at: String,
    pub updated_at: String,
    #[serde(skip)]
    pub(crate) position: Option<String>,
}

/// What an operation is for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Specification {
    Replay(Replay),
    Backfill(Backfill),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    Paused,
    Done,
    Cancelled,
    Failed,
}

/// What an operator does to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Of a running one.
    Pause,
    /// Of a paused one; also of a failed one, which goes on where it failed.
    Resume,
    /// Of one that has not ended.
    Cancel,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It looked at `seen` events or rows, and appended the entries `first..=last`, which fire `deliveries`.
    Appended {
        seen: u64,
        first: u64,
        last: u64,
        deliveries: u64,
    },
    /// It looked at `seen` events or rows, and there was nothing to deliver.
    Passed { seen: u64 },
    /// It cannot go on yet, for this reason.
    Waiting(&'static str),
    /// It is done, or somebody stopped it.
    Ended,
}

/// What a step has found out, to be recorded with what it appends.
pub(crate) struct Progress {
    pub step: Step,
    /// JSON; where the next step goes on.
    pub position: String,
    pub is_done: bool,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Paused => "paused",
            State::Done => "done",
            State::Cancelled => "cancelled",
            State::Failed => "failed",
        }
    }

    /// True when nothing will happen any more, unless somebody resumes it.
    pub fn is_over(self) -> bool {
        matches!(self, State::Done | State::Cancelled | State::Failed)
    }

    fn from_stored(text: &str) -> State {
        match text {
            "paused" => State::Paused,
            "done" => State::Done,
            "cancelled" => State::Cancelled,
            "failed" => State::Failed,
            _ => State::Running,
        }
    }
}

impl Command {
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Cancel => "cancel",
        }
    }

    /// States in which it means something, and the state that follows.
    fn transition(self) -> (&'static [&'static str], State) {
        match self {
            Command::Pause => (&["running"], State::Paused),
            Command::Resume => (&["paused", "failed"], State::Running),
            Command::Cancel => (&["running", "paused", "failed"], State::Cancelled),
        }
    }
}

const COLUMNS: &str = "id, kind, specification, state, rate, total, done, position, error,
    to_char(created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

impl EventLog {
    /// Records an operation; it begins as soon as a process leads dispatch.
    pub async fn create_operation(
        &self,
        specification: &Specification,
        rate: Option<u32>,
        total: Option<u64>,
    ) -> Result<Operation, Error> {
        let client = self.client().await?;
        let text = match specification {
            Specification::Replay(replay) => serde_json::to_string(replay),
            Specification::Backfill(backfill) => serde_json::to_string(backfill),
        };
        let text = text.expect("a specification has string keys");
        let insert = format!(
            "with made as (insert into tidegate.operation (kind, specification, rate, total)
                           values ($1, $2, $3, $4) returning *)
             select {COLUMNS}, pg_notify('{CHANNEL}', id::text) from made"
        );
        let row = client
            .query_one(
                &insert,
                &[
                    &specification.kind(),
                    &text,
                    &rate.map(|rate| rate as i32),
                    &total.map(|total| total as i64),
                ],
            )
            .await?;
        operation(&row)
    }

    /// The latest `limit` operations, the newest first; only those that run, when `running`.
    pub async fn operations(&self, running: bool, limit: u32) -> Result<Vec<Operation>, Error> {
        let client = self.client().await?;
        let query = format!(
            "select {COLUMNS} from tidegate.operation where not $1 or state = 'running' order by id desc limit $2"
        );
        let rows = client.query(&query, &[&running, &i64::from(limit)]).await?;
        rows.iter().map(operation).collect()
    }

    pub async fn operation(&self, id: u64) -> Result<Option<Operation>, Error> {
        let client = self.client().await?;
        let query = format!("select {COLUMNS} from tidegate.operation where id = $1");
        let row = client.query_opt(&query, &[&(id as i64)]).await?;
        row.as_ref().map(operation).transpose()
    }

    /// Pauses, resumes or cancels. None: its state, or that there is none, does not allow it.
    pub async fn command_operation(
        &self,
        id: u64,
        command: Command,
    ) -> Result<Option<Operation>, Error> {
        let (from, to) = command.transition();
        let client = self.client().await?;
        let update = format!(
            "with changed as (
                 update tidegate.operation set state = $2, error = null, updated_at = clock_timestamp()
                  where id = $1 and state = any($3) returning *)
             select {COLUMNS}, pg_notify('{CHANNEL}', id::text) from changed"
        );
        let row = client
            .query_opt(&update, &[&(id as i64), &to.as_str(), &from])
            .await?;
        row.as_ref().map(operation).transpose()
    }

    /// Sets how many events a second it may append; None: as many as are delivered. None is returned when there
    /// is no such operation.
    pub async fn set_operation_rate(
        &self,
        id: u64,
        rate: Option<u32>,
    ) -> Result<Option<Operation>, Error> {
        let client = self.client().await?;
        let update = format!(
            "with changed as (update tidegate.operation set rate = $2, updated_at = clock_timestamp()
                               where id = $1 returning *)
             select {COLUMNS}, pg_notify('{CHANNEL}', id::text) from changed"
        );
        let rate = rate.map(|rate| rate as i32);
        let row = client.query_opt(&update, &[&(id as i64), &rate]).await?;
        row.as_ref().map(operation).transpose()
    }

    /// Ends an operation that cannot go on.
    pub async fn fail_operation(&self, id: u64, error: &str) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "update tidegate.operation set state = 'failed', error = $2, updated_at = clock_timestamp()
                  where id = $1 and state = 'running'",
                &[&(id as i64), &error],
            )
            .await?;
        Ok(())
    }

    /// Does the next part of an operation, in one transaction, for at most `limit` events or rows.
    ///
    /// `triggers`: of the current release.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: nothing is known to have happened; do it again. Others: the operation has failed.
    pub async fn step(&self, id: u64, triggers: &TriggerSet, limit: usize) -> Result<Step, Error> {
        let mut client = self.client().await?;
        // Each statement sees what was committed before it, whatever the database's default is.
        let begin = client
            .build_transaction()
            .isolation_level(IsolationLevel::ReadCommitted);
        let tx = begin.start().await?;
        // Its row is locked until the end: nobody else takes the same step, and a pause comes before or after it.
        let query = format!(
            "select {COLUMNS} from tidegate.operation where id = $1 and state = 'running' for update"
        );
        let Some(row) = tx.query_opt(&query, &[&(id as i64)]).await? else {
            return Ok(Step::Ended);
        };
        let operation = operation(&row)?;
        let progress = match &operation.specification {
            Specification::Replay(replay) => {
                crate::replay::step(&tx, &operation, replay, triggers, limit).await?
            }
            Specification::Backfill(backfill) => {
                crate::backfill::step(&tx, &operation, backfill, triggers, limit).await?
            }
        };
        record(&tx, id, &progress).await?;
        tx.commit().await?;
        Ok(progress.step)
    }

    /// Wakes whoever works on operations when one is to begin, to go on, or to end.
    pub async fn listen_operations(&self) -> Result<Listener, Error> {
        self.listen_to(CHANNEL).await
    }

    /// True while some process leads dispatch, and so works on operations.
    pub async fn is_dispatch_led(&self) -> Result<bool, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select exists (select from pg_locks
                                 where locktype = 'advisory' and granted
                                   and database = (select oid from pg_database where datname = current_database())
                                   and classid::bigint << 32 | objid::bigint = $1)",
                &[&crate::dispatch::DISPATCH_LOCK],
            )
            .await?;
        Ok(row.get(0))
    }

    /// How many events wait for dispatch: appended, and not yet put into the queue.
    pub async fn dispatch_backlog(&self) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select greatest(0, (select last_offset from tidegate.log) - log_offset) from tidegate.dispatch",
                &[],
            )
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// How many deliveries of the entries `first..=last` have had an attempt; `deliveries` when all are settled.
    pub async fn attempted(&self, first: u64, last: u64, deliveries: u64) -> Result<u64, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select case when settled_offset >= $2 then $3
                             else (select count(*) from tidegate.outcome where log_offset between $1 and $2) end
                   from tidegate.dispatch",
            )
            .await?;
        let row = client
            .query_one(
                &statement,
                &[&(first as i64), &(last as i64), &(deliveries as i64)],
            )
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }
}

impl Specification {
    pub fn kind(&self) -> &'static str {
        match self {
            Specification::Replay(_) => "replay",
            Specification::Backfill(_) => "backfill",
        }
    }
}

async fn record(tx: &Transaction<'_>, id: u64, progress: &Progress) -> Result<(), Error> {
    let seen = match progress.step {
        Step::Appended { seen, .. } | Step::Passed { seen } => seen,
        Step::Waiting(_) | Step::Ended => 0,
    };
    let state = if progress.is_done { "done" } else { "running" };
    tx.execute(
        "update tidegate.operation set done = done + $2, position = $3, state = $4, updated_at = clock_timestamp()
          where id = $1",
        &[&(id as i64), &(seen as i64), &progress.position, &state],
    )
    .await?;
    Ok(())
}

/// What every position says beside its own.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    appended: u64,
}

fn operation(row: &Row) -> Result<Operation, Error> {
    let id = row.get::<_, i64>(0) as u64;
    let text: &str = row.get(2);
    let broken = |source: serde_json::Error| Error::Operation {
        reason: format!("the specification of operation {id} cannot be read: {source}"),
    };
    let specification = match row.get(1) {
        "replay" => Specification::Replay(serde_json::from_str(text).map_err(broken)?),
        _ => Specification::Backfill(serde_json::from_str(text).map_err(broken)?),
    };
    let position: Option<String> = row.get(7);
    let counted = position
        .as_deref()
        .and_then(|text| serde_json::from_str::<Counted>(text).ok());
    Ok(Operation {
        id,
        kind: specification.kind(),
        specification,
        state: State::from_stored(row.get(3)),
        rate: row.get::<_, Option<i32>>(4).map(|rate| rate as u32),
        total: row.get::<_, Option<i64>>(5).map(|total| total as u64),
        done: row.get::<_, i64>(6) as u64,
        appended: counted.map_or(0, |counted| counted.appended),
        error: row.get(8),
        created_at: row.get(9),
        updated_at: row.get(10),
        position,
    })
}
