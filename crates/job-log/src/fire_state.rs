//! What fires depend on: what is registered, and what of each schedule has not ended.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{GenericClient, Transaction};
use tidegate_job::{Graph, RunId, WorkflowId};
use tidegate_schedule::{Overlap, Unfinished};

use crate::Error;
use crate::fire::Plan;
use crate::schedule::Target;
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
}

pub(crate) async fn known_targets(tx: &Transaction<'_>, plans: &[&Plan]) -> Result<Known, Error> {
    if plans.iter().all(|plan| plan.fires.is_empty()) {
        return Ok(Known::default());
    }
    let rows = tx
        .query("select name from tidegate.job where is_registered", &[])
        .await?;
    let jobs: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut graphs = BTreeMap::new();
    let starts_workflow = |plan: &&Plan| matches!(plan.target, Target::Workflow(_));
    if plans.iter().any(starts_workflow) {
        let query = "select name, graph from tidegate.workflow_definition where is_registered";
        for row in tx.query(query, &[]).await? {
            let name: String = row.get(0);
            let graph: Graph = crate::text::json(|| format!("workflow {name}"), row.get(1))?;
            if graph.check_jobs(jobs.iter().map(String::as_str)).is_ok() {
                graphs.insert(name, graph);
            }
        }
    }
    Ok(Known { jobs, graphs })
}

impl Known {
    /// Why this cannot be started; None: it can.
    pub fn refusal(&self, target: &Target) -> Option<String> {
        match target {
            Target::Job(name) if !self.jobs.contains(name) => {
                Some(format!("there is no job {name:?}"))
            }
            Target::Workflow(name) if !self.graphs.contains_key(name) => Some(format!(
                "there is no workflow {name:?}, or one of its jobs does not exist"
            )),
            _ => None,
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
