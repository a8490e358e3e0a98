//! What a run writes while it runs. Every write is its holder's: with an old fence it changes nothing.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_job::run::{MAX_RESULT_BYTES, MAX_STEPS};
use tidegate_job::{Lease, LogBudget, LogLine, RunId, RunState};

use crate::register::stored;
use crate::text::{bigints, run_id, storable, to_postgres};
use crate::{Error, JobLog};

/// How far a run is, as it says itself.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub done: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

// Each begins by holding the run for its holder; what follows finds no row for anybody else.
const PROGRESS: &str = "
with held as (
    update tidegate.run set progress = $4
     where id = $1 and worker = $2 and fence = $3 and state = 'running' returning id, attempts
)
insert into tidegate.run_event (run_id, attempt, kind, body) select id, attempts, 'progress', $4 from held";

const MESSAGE: &str = "
with held as (
    update tidegate.run set message = $4
     where id = $1 and worker = $2 and fence = $3 and state = 'running' returning id, attempts
), shown as (
    update public.\"_JobStatus\" as shown set \"message\" = $4
      from held where shown.\"objectId\" = tidegate.run_name(held.id)
)
insert into tidegate.run_event (run_id, attempt, kind, body)
select id, attempts, 'message', json_build_object('message', $4::text)::text from held";

const WARN: &str = "
with held as (
    select id, attempts from tidegate.run
     where id = $1 and worker = $2 and fence = $3 and state = 'running' for no key update
)
insert into tidegate.run_event (run_id, attempt, kind, body)
select id, attempts, 'warned', json_build_object('message', $4::text)::text from held";

const LOGS: &str = "
with given as (
    select * from unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]) as given (id, worker, fence, lines)
), locked as (
    select id, worker, fence, state, attempts from tidegate.run where id = any($1) order by id for no key update
), held as (
    select locked.id, locked.attempts, given.lines
      from given join locked on locked.id = given.id and locked.worker = given.worker and locked.fence = given.fence
     where locked.state = 'running'
)
insert into tidegate.run_event (run_id, attempt, kind, body) select id, attempts, 'log', lines from held
returning run_id";

// A name is recorded once: what was answered to the first attempt that reached it stays.
const STEP: &str = "
with held as (
    select id, attempts from tidegate.run
     where id = $1 and worker = $2 and fence = $3 and state = 'running' for no key update
), fits as (
    select id, attempts from held
     where (select count(*) from tidegate.run_step where run_id = held.id) < $7
        or exists (select from tidegate.run_step where run_id = held.id and kind = $4 and name = $5)
), recorded as (
    insert into tidegate.run_step (run_id, kind, name, value, attempt)
    select id, $4, $5, $6, attempts from fits
    on conflict do nothing returning run_id, attempt
), history as (
    insert into tidegate.run_event (run_id, attempt, kind, body)
    select run_id, attempt, 'step', json_build_object('name', $5::text)::text from recorded where $4 = 'step'
)
select exists (select from held), exists (select from fits),
       (select value from tidegate.run_step where run_id = $1 and kind = $4 and name = $5)";

impl JobLog {
    /// Records how far a run is. The caller takes care that this is not too often.
    ///
    /// # Errors
    /// [`Error::Lost`], as all of these: the run is not this holder's.
    pub async fn progress(&self, lease: &Lease, progress: &Progress) -> Result<(), Error> {
        let mut progress = progress.clone();
        progress.message = progress.message.as_deref().map(storable);
        self.write(lease, PROGRESS, &stored(&progress)).await
    }

    /// Sets the message that `_JobStatus` shows.
    pub async fn message(&self, lease: &Lease, text: &str) -> Result<(), Error> {
        self.write(lease, MESSAGE, &storable(text)).await
    }

    /// Records a warning about the attempt, such as that its time is nearly over.
    pub async fn warn(&self, lease: &Lease, text: &str) -> Result<(), Error> {
        self.write(lease, WARN, &storable(text)).await
    }

    async fn write(&self, lease: &Lease, statement: &str, text: &str) -> Result<(), Error> {
        let client = self.client().await?;
        let statement = client.prepare_cached(statement).await?;
        let (RunId(id), fence) = (lease.run, lease.fence as i64);
        let worker = &*lease.worker;
        let written = client
            .execute(&statement, &[&(id as i64), &worker, &fence, &text])
            .await?;
        match written {
            0 => Err(Error::Lost { run: lease.run }),
            _ => Ok(()),
        }
    }

    /// Appends lines to the logs of attempts, as far as each one's budget allows. Returns the runs that are not their
    /// holder's any more; theirs are dropped.
    ///
    /// `batches`: at most one a lease.
    pub async fn logs(
        &self,
        batches: Vec<(&Lease, &mut LogBudget, Vec<LogLine>)>,
    ) -> Result<Vec<RunId>, Error> {
        let admitted = batches
            .into_iter()
            .map(|(lease, budget, lines)| (lease, budget.admit(lines)));
        let batches: Vec<(&Lease, Vec<LogLine>)> =
            admitted.filter(|(_, lines)| !lines.is_empty()).collect();
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let runs: Vec<RunId> = batches.iter().map(|(lease, _)| lease.run).collect();
        let workers: Vec<&str> = batches.iter().map(|(lease, _)| &*lease.worker).collect();
        let fences: Vec<i64> = batches
            .iter()
            .map(|(lease, _)| lease.fence as i64)
            .collect();
        let lines: Vec<String> = batches.iter().map(|(_, lines)| stored(lines)).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(LOGS).await?;
        let rows = client
            .query(&statement, &[&bigints(&runs), &workers, &fences, &lines])
            .await?;
        let written: Vec<RunId> = rows.iter().map(|row| run_id(row.get(0))).collect();
        Ok(runs
            .into_iter()
            .filter(|run| !written.contains(run))
            .collect())
    }

    /// Remembers the result of a step, and returns the one that is remembered: an earlier one stays.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the result is too large, or the run has too many steps.
    pub async fn step(&self, lease: &Lease, name: &str, value: &Value) -> Result<Value, Error> {
        let text = value.to_string();
        if text.len() > MAX_RESULT_BYTES {
            return Err(Error::Invalid {
                reason: format!(
                    "the result of step {name:?} has {} bytes of JSON, and the limit is {MAX_RESULT_BYTES}: save the \
                     data and return its id",
                    text.len()
                ),
            });
        }
        let recorded = self.record_step(lease, "step", name, &text).await?;
        crate::text::json(|| format!("step {name:?} of {}", lease.run), &recorded)
    }

    /// Remembers when a sleep ends, in milliseconds since 1970, and returns what is remembered: an earlier one stays.
    pub async fn sleep(&self, lease: &Lease, name: &str, until_ms: i64) -> Result<i64, Error> {
        let recorded = self
            .record_step(lease, "sleep", name, &until_ms.to_string())
            .await?;
        crate::text::json(|| format!("sleep {name:?} of {}", lease.run), &recorded)
    }

    async fn record_step(
        &self,
        lease: &Lease,
        kind: &str,
        name: &str,
        value: &str,
    ) -> Result<String, Error> {
        tidegate_job::options::check_name(kind, name)?;
        let client = self.client().await?;
        let statement = client.prepare_cached(STEP).await?;
        let (RunId(id), fence, most) = (lease.run, lease.fence as i64, MAX_STEPS as i64);
        let worker = &*lease.worker;
        let row = client
            .query_one(
                &statement,
                &[&(id as i64), &worker, &fence, &kind, &name, &value, &most],
            )
            .await?;
        if !row.get::<_, bool>(0) {
            return Err(Error::Lost { run: lease.run });
        }
        if !row.get::<_, bool>(1) {
            return Err(Error::Invalid {
                reason: format!(
                    "a run has {MAX_STEPS} steps and sleeps at most: give the steps of a loop one name for many items"
                ),
            });
        }
        // None: it was recorded just now, which this statement does not see.
        Ok(row
            .get::<_, Option<String>>(2)
            .unwrap_or_else(|| value.to_owned()))
    }

    /// Puts the run to sleep: its worker is free, and it is claimed again when the time has come. Returns `sleeping`, or
    /// `cancelled` for a run that was to be cancelled.
    pub async fn suspend(&self, lease: &Lease, until: Timestamp) -> Result<RunState, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached("select tidegate.suspend_run($1, $2, $3, $4)")
            .await?;
        let (RunId(id), fence) = (lease.run, lease.fence as i64);
        let worker = &*lease.worker;
        let row = client
            .query_one(
                &statement,
                &[&(id as i64), &worker, &fence, &to_postgres(until)],
            )
            .await?;
        let state: Option<&str> = row.get(0);
        state
            .map(crate::steer::state)
            .ok_or(Error::Lost { run: lease.run })
    }
}
