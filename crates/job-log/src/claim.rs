//! Takes queued runs for a worker.
//!
//! Invariant: a run has one holder. Each claim raises its fence, and every write of the holder names it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_job::{Backoff, Lease, RunId, WorkflowId};
use tokio_postgres::Row;

use crate::text::{bigints, from_postgres, json, run_id};
use crate::{Error, JobLog};

/// A run that a worker has taken, with all that its attempt needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    pub lease: Lease,
    pub job: String,
    /// JSON text of an object.
    pub params: String,
    /// From 1; the same again when it goes on after a sleep or a hand-back.
    pub attempt: u32,
    pub crashes: u32,
    /// It goes on with an attempt that has begun before.
    pub is_resumed: bool,
    /// What its starter chose; None: as the job says.
    pub retries: Option<u32>,
    pub backoff: Option<Backoff>,
    pub timeout_ms: Option<u64>,
    /// Results of its steps so far, by name.
    pub steps: BTreeMap<String, Value>,
    /// Ends of its sleeps so far, by name; milliseconds since 1970.
    pub sleeps: BTreeMap<String, i64>,
    /// Results of the runs it needed: by node in a workflow, else by run id. Null for one that did not succeed.
    pub inputs: BTreeMap<String, Value>,
    pub workflow: Option<InWorkflow>,
    pub schedule: Option<FiredBy>,
    pub source: String,
    pub created_at: Timestamp,
    /// When it was claimed, by Postgres's clock.
    pub claimed_at: Timestamp,
    /// How long after its due time it was claimed, by Postgres's clock.
    pub waited: Duration,
}

/// Of which workflow a run is a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InWorkflow {
    pub id: WorkflowId,
    pub name: String,
    pub node: String,
    /// It undoes that node.
    pub is_compensation: bool,
}

/// Which schedule a run is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiredBy {
    pub name: String,
    pub due_at: Timestamp,
}

// The worker's row is held, so that who takes it off the list waits, and then finds these runs. The first columns come
// even when nothing is taken.
const CLAIM: &str = "
with alive as materialized (
    select name from tidegate.job_worker where name = $1 for key share
), held as (
    -- Named by id alone: with the state the planner might read all that is queued.
    select id, state, job from tidegate.run
     where id = any($2) and exists (select from alive) order by id for no key update
), queued as (
    select held.id, job.paused_at is not null or (select paused_at is not null from tidegate.job_control) as is_paused
      from held left join tidegate.job on job.name = held.job
     where held.state = 'queued'
), handed_back as (
    update tidegate.run set state = 'pending', queued_at = null, run_at = least(run_at, clock_timestamp())
      from queued where run.id = queued.id and queued.is_paused
), taken as (
    update tidegate.run
       set state = 'running', worker = $1, fence = fence + 1, attempts = attempts + (not resumes)::integer,
           claimed_at = clock_timestamp(), started_at = coalesce(started_at, clock_timestamp()), queued_at = null
      from queued where run.id = queued.id and not queued.is_paused
    returning run.*
), history as (
    insert into tidegate.run_event (run_id, attempt, kind, body)
    select id, attempts, case when resumes then 'resumed' else 'started' end,
           json_build_object('worker', $1::text, 'fence', fence)::text
      from taken
), shown as (
    update public.\"_JobStatus\" as shown set \"status\" = 'running'
      from taken where shown.\"objectId\" = tidegate.run_name(taken.id) and shown.\"status\" = 'scheduled'
)
select alive.name is not null, taken.id, taken.fence, taken.job, taken.params, taken.attempts, taken.crashes, taken.resumes,
       taken.retries, taken.backoff, taken.timeout_ms, taken.source, taken.created_at,
       extract(epoch from taken.claimed_at - taken.run_at)::float8, taken.workflow_id, workflow.name, taken.node,
       taken.is_compensation, schedule.name, taken.due_at,
       (select json_object_agg(step.name, step.value)::text from tidegate.run_step as step
         where step.run_id = taken.id and step.kind = 'step'),
       (select json_object_agg(step.name, step.value::bigint)::text from tidegate.run_step as step
         where step.run_id = taken.id and step.kind = 'sleep'),
       (select json_object_agg(need.name, case when needed.state = 'succeeded' then needed.result end)::text
          from tidegate.run_needs as need left join tidegate.run as needed on needed.id = need.needs_id
         where need.run_id = taken.id and need.name is not null),
       taken.claimed_at
  from (select) as one
  left join alive on true
  left join taken on true
  left join tidegate.workflow on workflow.id = taken.workflow_id
  left join tidegate.schedule on schedule.id = taken.schedule_id
 order by taken.priority desc, taken.run_at, taken.id";

impl JobLog {
    /// Takes those of `runs` that are queued, for `worker`. What is missing from the answer is not queued any more, or
    /// its job is paused: it needs no further thought, and its entry in the queue can go.
    ///
    /// # Errors
    /// [`Error::NotAWorker`]: the worker was lost, and nothing was taken.
    pub async fn claim(&self, worker: &str, runs: &[RunId]) -> Result<Vec<Claimed>, Error> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CLAIM).await?;
        let rows = client.query(&statement, &[&worker, &bigints(runs)]).await?;
        if rows.iter().any(|row| !row.get::<_, bool>(0)) {
            return Err(Error::NotAWorker {
                worker: worker.to_owned(),
            });
        }
        let worker: std::sync::Arc<str> = worker.into();
        let taken = rows
            .iter()
            .filter(|row| row.get::<_, Option<i64>>(1).is_some());
        taken.map(|row| claimed(&worker, row)).collect()
    }
}

fn claimed(worker: &std::sync::Arc<str>, row: &Row) -> Result<Claimed, Error> {
    let run = run_id(row.get(1));
    let what = || run.to_string();
    let backoff: Option<&str> = row.get(9);
    let schedule: Option<String> = row.get(18);
    let due_at: Option<std::time::SystemTime> = row.get(19);
    let workflow: Option<i64> = row.get(14);
    let sleeps: Option<&str> = row.get(21);
    Ok(Claimed {
        lease: Lease {
            run,
            worker: worker.clone(),
            fence: row.get::<_, i64>(2) as u64,
        },
        job: row.get(3),
        params: row.get(4),
        attempt: row.get::<_, i32>(5) as u32,
        crashes: row.get::<_, i32>(6) as u32,
        is_resumed: row.get(7),
        retries: row.get::<_, Option<i32>>(8).map(|retries| retries as u32),
        backoff: backoff.map(|text| json(what, text)).transpose()?,
        timeout_ms: row.get::<_, Option<i64>>(10).map(|timeout| timeout as u64),
        steps: values(run, row.get(20))?,
        sleeps: sleeps.map_or(Ok(BTreeMap::new()), |text| json(what, text))?,
        inputs: values(run, row.get(22))?,
        workflow: workflow.map(|id| InWorkflow {
            id: WorkflowId(id as u64),
            name: row.get::<_, Option<_>>(15).unwrap_or_default(),
            node: row.get::<_, Option<_>>(16).unwrap_or_default(),
            is_compensation: row.get(17),
        }),
        schedule: schedule.zip(due_at).map(|(name, due_at)| FiredBy {
            name,
            due_at: from_postgres(due_at),
        }),
        source: row.get(11),
        created_at: from_postgres(row.get(12)),
        claimed_at: from_postgres(row.get(23)),
        waited: Duration::from_secs_f64(row.get::<_, f64>(13).max(0.0)),
    })
}

/// Values by name, each as the JSON text that was stored; null where there is none.
fn values(run: RunId, text: Option<&str>) -> Result<BTreeMap<String, Value>, Error> {
    let what = || format!("the steps and inputs of {run}");
    let texts: BTreeMap<String, Option<String>> = match text {
        Some(text) => json(what, text)?,
        None => return Ok(BTreeMap::new()),
    };
    let value = |(name, text): (String, Option<String>)| {
        let value = text.map_or(Ok(Value::Null), |text| json(what, &text))?;
        Ok((name, value))
    };
    texts.into_iter().map(value).collect()
}
