//! Which runs and workflows there are, and where each stands.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_job::{RunId, RunState, WorkflowId, WorkflowState};
use tokio_postgres::Row;

use crate::text::{from_postgres, json, run_id};
use crate::{Error, JobLog};

/// Which runs to list. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub job: Option<String>,
    pub states: Vec<RunState>,
    pub workflow: Option<WorkflowId>,
    /// Only runs older than this one: the last of the page before.
    pub before: Option<RunId>,
}

/// A run as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub id: RunId,
    pub job: String,
    pub state: RunState,
    pub source: String,
    pub priority: i16,
    pub attempts: u32,
    pub crashes: u32,
    pub created_at: Timestamp,
    pub run_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub worker: Option<String>,
    /// The full group that it waits for: `job NAME`, `key NAME KEY`, or `suspect`: its worker was lost twice in a row, and
    /// such runs go on one at a time.
    pub blocked_on: Option<String>,
    pub concurrency_key: Option<String>,
    pub workflow: Option<WorkflowId>,
    pub node: Option<String>,
    pub schedule: Option<String>,
    pub due_at: Option<Timestamp>,
    pub is_cancel_requested: bool,
    pub message: Option<String>,
    pub error: Option<String>,
    /// `{ done, total, message }`
    pub progress: Option<Value>,
}

/// A run with everything but its history.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    #[serde(flatten)]
    pub summary: Summary,
    pub params: Value,
    pub result: Option<Value>,
    pub idempotency_key: Option<String>,
    /// Runs that it needs, and where they stand; None: deleted.
    pub needs: BTreeMap<RunId, Option<RunState>>,
    /// Results of its steps.
    pub steps: BTreeMap<String, Value>,
}

/// How many runs of a job are in a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    pub job: String,
    pub state: RunState,
    pub runs: u64,
}

/// A workflow and its nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowView {
    pub id: WorkflowId,
    pub name: String,
    pub state: WorkflowState,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub nodes: u64,
    pub succeeded: u64,
    pub running: u64,
    pub failed: u64,
    /// Each `{ node, run, job, state, attempts, startedAt, finishedAt, error, isCompensation }`.
    pub runs: Value,
}

const COLUMNS: &str = "run.id, run.job, run.state, run.source, run.priority, run.attempts, run.crashes, run.created_at, \
    run.run_at, run.started_at, run.finished_at, run.worker, \
    case when run.state = 'blocked' then replace(run.blocked_on, chr(9), ' ') end, run.concurrency_key, \
    run.workflow_id, run.node, (select name from tidegate.schedule where schedule.id = run.schedule_id), run.due_at, \
    run.cancel_requested_at is not null, run.message, run.error, run.progress";

// By job and state each range of the index is read from its end, so that a rare state of a busy job costs no more.
const BY_JOB_AND_STATE: &str = "
  from (select job.name, state from tidegate.job cross join unnest($1::text[]) as state
         where $2::text is null or job.name = $2) as range
 cross join lateral (select * from tidegate.run
                      where run.job = range.name and run.state = range.state and run.id < $3
                      order by run.job desc, run.state desc, run.id desc limit $4) as run
 order by run.id desc limit $4";

const BY_ID: &str = "from tidegate.run where run.id < $1 order by run.id desc limit $2";

const BY_WORKFLOW: &str = "from tidegate.run
  where run.workflow_id = $1 and run.id < $2 and run.state = any($3) order by run.id desc limit $4";

impl JobLog {
    /// Runs, the newest first, at most `limit`.
    pub async fn runs(&self, filter: &Filter, limit: u32) -> Result<Vec<Summary>, Error> {
        let client = self.client().await?;
        let before = filter.before.map_or(i64::MAX, |RunId(id)| id as i64);
        let limit = i64::from(limit);
        let all = RunState::ALL.map(RunState::as_str).to_vec();
        let states = match filter.states.is_empty() {
            true => all,
            false => filter.states.iter().map(|state| state.as_str()).collect(),
        };
        let select = |from| format!("select {COLUMNS} {from}");
        let rows = match (filter.workflow, filter.job.as_ref()) {
            (Some(WorkflowId(id)), _) => {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                    [&(id as i64), &before, &states, &limit];
                client.query(&select(BY_WORKFLOW), &parameters).await?
            }
            (None, None) if filter.states.is_empty() => {
                client.query(&select(BY_ID), &[&before, &limit]).await?
            }
            (None, job) => {
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                    [&states, &job, &before, &limit];
                client.query(&select(BY_JOB_AND_STATE), &parameters).await?
            }
        };
        rows.iter().map(summary).collect()
    }

    /// Of each job that has runs: the one asked for last.
    pub async fn last_runs(&self) -> Result<Vec<Summary>, Error> {
        let client = self.client().await?;
        let states = RunState::ALL.map(RunState::as_str).to_vec();
        let query = format!(
            "select distinct on (run.job) {COLUMNS}
               from tidegate.job cross join unnest($1::text[]) as state
              cross join lateral (select * from tidegate.run where run.job = job.name and run.state = state
                                   order by run.job desc, run.state desc, run.id desc limit 1) as run
              order by run.job, run.id desc"
        );
        let rows = client.query(&query, &[&states]).await?;
        rows.iter().map(summary).collect()
    }

    /// One run.
    pub async fn run(&self, run: RunId) -> Result<Detail, Error> {
        let client = self.client().await?;
        let RunId(id) = run;
        let query = format!(
            "select {COLUMNS}, run.params, run.result, run.idempotency_key,
                    array(select needs_id from tidegate.run_needs where run_id = run.id order by needs_id),
                    array(select needed.state from tidegate.run_needs left join tidegate.run as needed on needed.id = needs_id
                           where run_needs.run_id = run.id order by needs_id),
                    (select json_object_agg(name, value::json)::text from tidegate.run_step
                      where run_id = run.id and kind = 'step')
               from tidegate.run where run.id = $1"
        );
        let row = client.query_opt(&query, &[&(id as i64)]).await?;
        let row = row.ok_or_else(|| Error::unknown_run(run))?;
        let what = || run.to_string();
        let result: Option<&str> = row.get(23);
        let needed: Vec<i64> = row.get(25);
        let states: Vec<Option<&str>> = row.get(26);
        let states = states
            .into_iter()
            .map(|state| state.map(crate::steer::state));
        let steps: Option<&str> = row.get(27);
        Ok(Detail {
            summary: summary(&row)?,
            params: json(what, row.get(22))?,
            result: result.map(|text| json(what, text)).transpose()?,
            idempotency_key: row.get(24),
            needs: needed.into_iter().map(run_id).zip(states).collect(),
            steps: steps.map_or(Ok(BTreeMap::new()), |text| json(what, text))?,
        })
    }

    /// How many runs there are, by job and state. Reads the index of all runs: for people, not for each second.
    pub async fn counts(&self) -> Result<Vec<Count>, Error> {
        let client = self.client().await?;
        let query =
            "select job, state, count(*) from tidegate.run group by job, state order by job, state";
        let rows = client.query(query, &[]).await?;
        let count = |row: &Row| Count {
            job: row.get(0),
            state: crate::steer::state(row.get(1)),
            runs: row.get::<_, i64>(2) as u64,
        };
        Ok(rows.iter().map(count).collect())
    }

    /// Where a workflow stands, with all its nodes.
    pub async fn workflow(&self, workflow: WorkflowId) -> Result<WorkflowView, Error> {
        let client = self.client().await?;
        let WorkflowId(id) = workflow;
        let query = format!("{WORKFLOWS} where id = $1");
        let row = client.query_opt(&query, &[&(id as i64)]).await?;
        match row {
            Some(row) => workflow_view(&row),
            None => Err(crate::steer::unknown_workflow(workflow)),
        }
    }

    /// Workflows, the newest first, at most `limit`. `before`: the last of the page before.
    pub async fn workflows(
        &self,
        name: Option<&str>,
        before: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<WorkflowView>, Error> {
        let client = self.client().await?;
        let before = before.map_or(i64::MAX, |WorkflowId(id)| id as i64);
        // The page is chosen first: the view counts the runs of what it is asked for.
        let query = format!(
            "{WORKFLOWS} where id = any(array(select id from tidegate.workflow
                                              where id < $1 and ($2::text is null or name = $2)
                                              order by id desc limit $3)) order by id desc"
        );
        let rows = client
            .query(&query, &[&before, &name, &i64::from(limit)])
            .await?;
        rows.iter().map(workflow_view).collect()
    }
}

const WORKFLOWS: &str = "select id, name, state, created_at, finished_at, nodes, succeeded, running, failed, runs::text \
    from tidegate.workflow_state";

fn workflow_view(row: &Row) -> Result<WorkflowView, Error> {
    let id = WorkflowId(row.get::<_, i64>(0) as u64);
    let mut runs: Value = json(|| id.to_string(), row.get(9))?;
    for run in runs.as_array_mut().into_iter().flatten() {
        // As people write it.
        let name = run["run"].as_i64().map(|id| run_id(id).to_string());
        run["run"] = name.into();
    }
    Ok(WorkflowView {
        id,
        name: row.get(1),
        state: workflow_state(row.get(2)),
        created_at: from_postgres(row.get(3)),
        finished_at: row.get::<_, Option<_>>(4).map(from_postgres),
        nodes: row.get::<_, i64>(5) as u64,
        succeeded: row.get::<_, i64>(6) as u64,
        running: row.get::<_, i64>(7) as u64,
        failed: row.get::<_, i64>(8) as u64,
        runs,
    })
}

pub(crate) fn workflow_state(text: &str) -> WorkflowState {
    match text {
        "running" => WorkflowState::Running,
        "compensating" => WorkflowState::Compensating,
        "succeeded" => WorkflowState::Succeeded,
        "cancelled" => WorkflowState::Cancelled,
        _ => WorkflowState::Failed,
    }
}

fn summary(row: &Row) -> Result<Summary, Error> {
    let id = run_id(row.get(0));
    let time = |column| row.get::<_, Option<_>>(column).map(from_postgres);
    let progress: Option<&str> = row.get(21);
    Ok(Summary {
        id,
        job: row.get(1),
        state: crate::steer::state(row.get(2)),
        source: row.get(3),
        priority: row.get(4),
        attempts: row.get::<_, i32>(5) as u32,
        crashes: row.get::<_, i32>(6) as u32,
        created_at: from_postgres(row.get(7)),
        run_at: from_postgres(row.get(8)),
        started_at: time(9),
        finished_at: time(10),
        worker: row.get(11),
        blocked_on: row.get(12),
        concurrency_key: row.get(13),
        workflow: row
            .get::<_, Option<i64>>(14)
            .map(|id| WorkflowId(id as u64)),
        node: row.get(15),
        schedule: row.get(16),
        due_at: time(17),
        is_cancel_requested: row.get(18),
        message: row.get(19),
        error: row.get(20),
        progress: progress
            .map(|text| json(|| id.to_string(), text))
            .transpose()?,
    })
}
