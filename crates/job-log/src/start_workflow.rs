//! Starts a workflow: its row and all its runs, in one transaction.

use std::collections::BTreeMap;

use deadpool_postgres::{GenericClient, Transaction};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tidegate_job::start::params_text;
use tidegate_job::{
    Graph, NewRun, Node, OnFailure, Policy, Source, StartOptions, WorkflowId, near,
};

use crate::register::stored;
use crate::start::{Draft, Need, On, insert_drafts};
use crate::text::{json, to_postgres};
use crate::{Error, JobLog};

/// A workflow that is to be started.
#[derive(Clone, Debug)]
pub struct NewWorkflow {
    pub name: String,
    pub params: Map<String, Value>,
    /// Times, keys and `after` are the whole workflow's; the rest is for nodes that do not say it themselves.
    pub options: StartOptions,
    pub source: Source,
}

/// What became of a [`NewWorkflow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedWorkflow {
    pub id: WorkflowId,
    /// False: its idempotency key has been used, and this is the workflow that it made.
    pub is_new: bool,
}

impl JobLog {
    /// Starts the workflow that is registered under a name.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the workflow, one of its jobs, or a run of `after` does not exist. [`Error::Invalid`]: params
    /// are too large.
    pub async fn start_workflow(&self, flow: &NewWorkflow) -> Result<StartedWorkflow, Error> {
        let graph = self.graph(&flow.name).await?;
        let mut client = self.client().await?;
        self.check_jobs(&client, graph.jobs().into_iter()).await?;
        let tx = client.transaction().await?;
        let started = insert_workflow(&tx, flow, &graph, None, &[]).await?;
        tx.commit().await?;
        Ok(started)
    }

    /// The graph that is registered under a name.
    pub(crate) async fn graph(&self, name: &str) -> Result<Graph, Error> {
        let client = self.client().await?;
        let query = "select name, graph from tidegate.workflow_definition where is_registered";
        let rows = client.query(query, &[]).await?;
        match rows.iter().find(|row| row.get::<_, &str>(0) == name) {
            Some(row) => json(|| format!("workflow {name}"), row.get(1)),
            None => Err(Error::Unknown {
                kind: "workflow",
                name: name.to_owned(),
                hint: near::hint(name, rows.iter().map(|row| row.get(0))),
            }),
        }
    }
}

/// Makes a workflow and its runs. `first_after`: needs of the nodes that need no other node.
pub(crate) async fn insert_workflow(
    tx: &Transaction<'_>,
    flow: &NewWorkflow,
    graph: &Graph,
    fire: Option<(i64, Timestamp)>,
    first_after: &[Need],
) -> Result<StartedWorkflow, Error> {
    let params = params_text(&Value::Object(flow.params.clone()))?;
    let policy = match graph.on_failure {
        Policy::Stop => "stop",
        Policy::Continue => "continue",
        Policy::Compensate => "compensate",
    };
    let insert = tx
        .prepare_cached(
            "insert into tidegate.workflow (name, graph, params, policy, source, idempotency_key, schedule_id, due_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (name, idempotency_key) where idempotency_key is not null do nothing returning id",
        )
        .await?;
    let key = &flow.options.idempotency_key;
    let (schedule, due_at) = (fire.map(|(id, _)| id), fire.map(|(_, at)| to_postgres(at)));
    let source = flow.source.as_str();
    let row = tx
        .query_opt(
            &insert,
            &[
                &flow.name,
                &stored(graph),
                &params,
                &policy,
                &source,
                key,
                &schedule,
                &due_at,
            ],
        )
        .await?;
    let Some(row) = row else {
        let query = "select id from tidegate.workflow where name = $1 and idempotency_key = $2";
        let row = tx.query_one(query, &[&flow.name, key]).await?;
        return Ok(StartedWorkflow {
            id: WorkflowId(row.get::<_, i64>(0) as u64),
            is_new: false,
        });
    };
    let id = WorkflowId(row.get::<_, i64>(0) as u64);
    insert_drafts(tx, &drafts(flow, graph, id, first_after)?).await?;
    Ok(StartedWorkflow { id, is_new: true })
}

/// One run a node, each after those that it needs.
fn drafts(
    flow: &NewWorkflow,
    graph: &Graph,
    workflow: WorkflowId,
    first_after: &[Need],
) -> Result<Vec<Draft>, Error> {
    let order = graph.ordered();
    let places: BTreeMap<&str, usize> = order
        .iter()
        .enumerate()
        .map(|(at, name)| (*name, at))
        .collect();
    let draft = |name: &&str| {
        let node = &graph.nodes[*name];
        let options = options(flow, node);
        Ok(Draft {
            run: NewRun {
                job: node.job.clone(),
                params: merged(&flow.params, &node.params)?,
                options,
                source: Source::Workflow,
            },
            workflow: Some(workflow),
            node: Some((*name).to_owned()),
            on_failure: graph.on_failure_of(name),
            compensate: node.compensate.clone(),
            fire: None,
            needs: match node.after.is_empty() {
                true => first_needs(flow, first_after),
                false => node
                    .after
                    .iter()
                    .map(|needed| need(graph, &places, needed))
                    .collect(),
            },
        })
    };
    order.iter().map(draft).collect()
}

fn need(graph: &Graph, places: &BTreeMap<&str, usize>, needed: &str) -> Need {
    Need {
        on: On::Draft(places[needed]),
        name: Some(needed.to_owned()),
        on_failure: graph.on_failure_of(needed),
    }
}

/// What the whole workflow waits for.
fn first_needs(flow: &NewWorkflow, first_after: &[Need]) -> Vec<Need> {
    let on_failure = flow.options.on_failure.unwrap_or_default();
    let own = flow.options.after.iter().map(|id| Need {
        on: On::Run(*id),
        name: Some(id.to_string()),
        on_failure,
    });
    own.chain(first_after.iter().cloned()).collect()
}

/// A node's options, with the workflow's where it says nothing. Only the first nodes wait for the workflow's time.
fn options(flow: &NewWorkflow, node: &Node) -> StartOptions {
    let mut options = node.options.or(&flow.options);
    if node.after.is_empty() {
        options.run_at_ms = flow.options.run_at_ms;
        options.delay_ms = flow.options.delay_ms;
    }
    options
}

/// The workflow's params, and the node's over them.
fn merged(flow: &Map<String, Value>, node: &Map<String, Value>) -> Result<String, Error> {
    let mut params = flow.clone();
    params.extend(node.clone());
    Ok(params_text(&Value::Object(params))?)
}

/// Refuses params that the workflow, or one of its nodes with its own over them, cannot be given.
pub(crate) fn check_params(params: &Map<String, Value>, graph: &Graph) -> Result<(), Error> {
    params_text(&Value::Object(params.clone()))?;
    for node in graph.nodes.values() {
        merged(params, &node.params)?;
    }
    Ok(())
}

/// What must have ended, however it ends, and whose result does not matter.
pub(crate) fn ended(on: On) -> Need {
    Need {
        on,
        name: None,
        on_failure: OnFailure::Continue,
    }
}
