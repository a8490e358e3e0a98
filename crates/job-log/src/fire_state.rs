//! What fires depend on: what is registered, and what of each schedule has not ended.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{GenericClient, Transaction};
use serde_json::Value;
use tidegate_job::start::params_text;
use tidegate_job::{Graph, RunId, WorkflowId};
use tidegate_schedule::{Overlap, Unfinished};

use crate::Error;
use crate::fire::Plan;
use crate::schedule::Target;
use crate::start_workflow::check_params;
use crate::text::run_id;

/// What of a schedule has not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    pub runs: Vec<RunId>,
    pub workflows: BTreeSet<WorkflowId>,
    pub counts: Unfinished,
}

/// The registered jobs, and the graphs of registered workflows all of whose jobs are.
#[derive(Default)]
pub(crate) struct Known {
    pub jobs: BTreeSet<String>,
    pub graphs: BTreeMap<String, Graph>,
    /// Workflows whose stored graph cannot be read, with the reason.
    unreadable: BTreeMap<String, String>,
}

pub(crate) async fn known_targets(tx: &Transaction<'_>, plans: &[&Plan]) -> Result<Known, Error> {
    if plans.iter().all(|plan| plan.fires.is_empty()) {
        return Ok(Known::default());
    }
    let rows = tx
        .query("select name from tidegate.job where is_registered", &[])
        .await?;
    let jobs: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let (mut graphs, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
    let starts_workflow = |plan: &&Plan| matches!(plan.target, Target::Workflow(_));
    if plans.iter().any(starts_workflow) {
        let query = "select name, graph from tidegate.workflow_definition where is_registered";
        for row in tx.query(query, &[]).await? {
            let name: String = row.get(0);
            match serde_json::from_str::<Graph>(row.get(1)) {
                Ok(graph) if graph.check_jobs(jobs.iter().map(String::as_str)).is_ok() => {
                    graphs.insert(name, graph);
                }
                Ok(_) => {}
                Err(error) => {
                    unreadable.insert(name, error.to_string());
                }
            }
        }
    }
    Ok(Known {
        jobs,
        graphs,
        unreadable,
    })
}

impl Known {
    /// Why a plan's fires cannot be started; None: they can. What is wrong with one plan is found before anything is
    /// made, because a transaction that met an error would lose all of them.
    pub fn refusal(&self, plan: &Plan) -> Option<String> {
        let params = match &plan.target {
            Target::Job(name) if !self.jobs.contains(name) => {
                return Some(format!("there is no job {name:?}"));
            }
            Target::Job(_) => params_text(&Value::Object(plan.params.clone()))
                .map(drop)
                .map_err(Error::from),
            Target::Workflow(name) => match self.graphs.get(name) {
                Some(graph) => check_params(&plan.params, graph),
                None => return Some(self.no_workflow(name)),
            },
        };
        params.err().map(|error| error.to_string())
    }

    fn no_workflow(&self, name: &str) -> String {
        match self.unreadable.get(name) {
            Some(error) => format!("what is stored of workflow {name:?} cannot be read: {error}"),
            None => format!("there is no workflow {name:?}, or one of its jobs does not exist"),
        }
    }
}

/// What of the schedules has not ended, for those whose policy asks.
pub(crate) async fn open_of(
    tx: &Transaction<'_>,
    plans: &[&Plan],
) -> Result<BTreeMap<i64, Open>, Error> {
    let asks = |plan: &&&Plan| plan.overlap != Overlap::Allow && !plan.fires.is_empty();
    let ids: Vec<i64> = plans
        .iter()
        .filter(asks)
        .map(|plan| plan.schedule)
        .collect();
    let mut open: BTreeMap<i64, Open> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(open);
    }
    // A workflow has begun when one of its runs has got beyond waiting.
    let statement = tx
        .prepare_cached(
            "select schedule_id, id, null::bigint, state = 'waiting' from tidegate.run
              where schedule_id = any($1) and state not in ('succeeded', 'failed', 'cancelled', 'skipped')
              union all
             select flow.schedule_id, run.id, flow.id,
                    not exists (select from tidegate.run as begun where begun.workflow_id = flow.id and begun.state <> 'waiting')
               from tidegate.workflow as flow join tidegate.run on run.workflow_id = flow.id
              where flow.schedule_id = any($1) and flow.finished_at is null
                and run.state not in ('succeeded', 'failed', 'cancelled', 'skipped')
              order by 2",
        )
        .await?;
    for row in tx.query(&statement, &[&ids]).await? {
        let one = open.entry(row.get(0)).or_default();
        let workflow = row.get::<_, Option<i64>>(2).map(|id| WorkflowId(id as u64));
        one.runs.push(run_id(row.get(1)));
        // Runs of one workflow count once.
        if workflow.is_none_or(|id| one.workflows.insert(id)) {
            match row.get(3) {
                true => one.counts.queued += 1,
                false => one.counts.running += 1,
            }
        }
    }
    Ok(open)
}
