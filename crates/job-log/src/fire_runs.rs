//! Makes the runs and workflows of fires, and says at each fire what it made.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{GenericClient, Transaction};
use serde_json::{Value, json};
use tidegate_job::start::params_text;
use tidegate_job::{Graph, NewRun, OnFailure, RunId, StartOptions, WorkflowId};
use tidegate_schedule::Decision;

use crate::Error;
use crate::fire::{Fired, Made, Verdict};
use crate::fire_state::{Known, Open};
use crate::schedule::Target;
use crate::start::{Draft, Need, On, insert_drafts};
use crate::start_workflow::{NewWorkflow, ended, insert_workflow};
use crate::text::{bigints, run_id, to_postgres};

/// What one transaction has made so far.
#[derive(Default)]
struct Making {
    /// By the place of the verdict.
    made: BTreeMap<usize, Made>,
    /// Runs that are made at the end, in one statement, with the places of their verdicts.
    drafts: Vec<Draft>,
    places: Vec<usize>,
    /// What each schedule's next queued one waits for, of what this transaction makes.
    latest: BTreeMap<i64, Vec<On>>,
}

/// Makes the runs, and says at each fire what it made. Returns what was made.
pub(crate) async fn carry_out(
    tx: &Transaction<'_>,
    verdicts: &[Verdict<'_>],
    known: &Known,
    open: &BTreeMap<i64, Open>,
    fired: &mut Fired,
) -> Result<Vec<Made>, Error> {
    let mut making = Making::default();
    let there = make_room(tx, verdicts, open).await?;
    for (place, verdict) in verdicts.iter().enumerate() {
        let before = open.get(&verdict.plan.schedule);
        if verdict.decision == Decision::Skip {
            continue;
        }
        let needs = making.needs(verdict, before, &there);
        making.make(tx, place, verdict, known, needs).await?;
    }
    if !making.drafts.is_empty() {
        let started = insert_drafts(tx, &making.drafts).await?;
        for (place, started) in making.places.iter().zip(started) {
            making.made.insert(*place, Made::Run(started.id));
        }
    }
    record(tx, verdicts, &making.made, fired).await?;
    Ok(making.made.into_values().collect())
}

impl Making {
    /// What a queued one waits for: all that its schedule has not ended, and what was made just before. What was
    /// deleted meanwhile is waited for no more.
    fn needs(
        &self,
        verdict: &Verdict<'_>,
        open: Option<&Open>,
        there: &BTreeSet<RunId>,
    ) -> Vec<Need> {
        if verdict.decision != Decision::Queue {
            return Vec::new();
        }
        let old = open
            .into_iter()
            .flat_map(|open| &open.runs)
            .filter(|run| there.contains(run))
            .map(|run| On::Run(*run));
        let new = self
            .latest
            .get(&verdict.plan.schedule)
            .into_iter()
            .flatten()
            .copied();
        old.chain(new).map(ended).collect()
    }

    async fn make(
        &mut self,
        tx: &Transaction<'_>,
        place: usize,
        verdict: &Verdict<'_>,
        known: &Known,
        needs: Vec<Need>,
    ) -> Result<(), Error> {
        let latest = match &verdict.plan.target {
            Target::Job(job) => {
                self.places.push(place);
                self.drafts.push(draft(verdict, job, needs)?);
                vec![On::Draft(self.drafts.len() - 1)]
            }
            Target::Workflow(name) => {
                let id = start_flow(tx, verdict, name, &known.graphs[name], &needs).await?;
                self.made.insert(place, Made::Workflow(id));
                let WorkflowId(id) = id;
                let query = "select id from tidegate.run where workflow_id = $1";
                let rows = tx.query(query, &[&(id as i64)]).await?;
                rows.iter().map(|row| On::Run(run_id(row.get(0)))).collect()
            }
        };
        self.latest.insert(verdict.plan.schedule, latest);
        Ok(())
    }
}

/// Cancels what is to be replaced, and holds what is to be waited for: all at once, because whoever holds jobs may wait
/// for no further run. Returns those to be waited for that exist.
async fn make_room(
    tx: &Transaction<'_>,
    verdicts: &[Verdict<'_>],
    open: &BTreeMap<i64, Open>,
) -> Result<BTreeSet<RunId>, Error> {
    let of = |decision: Decision| {
        verdicts
            .iter()
            .filter(move |verdict| verdict.decision == decision)
            .filter_map(|verdict| open.get(&verdict.plan.schedule))
    };
    let flows: Vec<i64> = of(Decision::CancelOldAndStart)
        .flat_map(|open| &open.workflows)
        .map(|WorkflowId(id)| *id as i64)
        .collect();
    let runs =
        |decision| -> Vec<i64> { of(decision).flat_map(|open| bigints(&open.runs)).collect() };
    let (cancelled, needed) = (runs(Decision::CancelOldAndStart), runs(Decision::Queue));
    if cancelled.is_empty() && needed.is_empty() {
        return Ok(BTreeSet::new());
    }
    let statement = tx
        .prepare_cached("select tidegate.cancel_all($1, $2, $3)")
        .await?;
    let there = tx.query(&statement, &[&flows, &cancelled, &needed]).await?;
    Ok(there.iter().map(|row| run_id(row.get(0))).collect())
}

/// Times, and what the schedule says of retries and priority.
fn options(verdict: &Verdict<'_>) -> StartOptions {
    StartOptions {
        run_at_ms: Some(verdict.due.run_at.as_millisecond()),
        ..verdict.plan.options.clone()
    }
}

fn draft(verdict: &Verdict<'_>, job: &str, needs: Vec<Need>) -> Result<Draft, Error> {
    Ok(Draft {
        run: NewRun {
            job: job.to_owned(),
            params: params_text(&Value::Object(verdict.plan.params.clone()))?,
            options: options(verdict),
            source: tidegate_job::Source::Schedule,
        },
        workflow: None,
        node: None,
        on_failure: OnFailure::Stop,
        compensate: None,
        fire: Some((verdict.plan.schedule, verdict.due.at)),
        needs,
    })
}

async fn start_flow(
    tx: &Transaction<'_>,
    verdict: &Verdict<'_>,
    name: &str,
    graph: &Graph,
    needs: &[Need],
) -> Result<WorkflowId, Error> {
    let flow = NewWorkflow {
        name: name.to_owned(),
        params: verdict.plan.params.clone(),
        options: options(verdict),
        source: tidegate_job::Source::Schedule,
    };
    let fire = Some((verdict.plan.schedule, verdict.due.at));
    let started = insert_workflow(tx, &flow, graph, fire, needs).await?;
    Ok(started.id)
}

/// What a fire's row says of a decision, and where it is counted.
fn result(decision: Decision, fired: &mut Fired) -> (&'static str, &mut u64) {
    match decision {
        Decision::Start | Decision::CancelOldAndStart => ("started", &mut fired.started),
        Decision::Queue => ("queued", &mut fired.queued),
        Decision::Skip => ("skipped", &mut fired.skipped),
    }
}

fn detail(verdict: &Verdict<'_>) -> String {
    if verdict.decision != Decision::Skip {
        return "{}".to_owned();
    }
    let reason = verdict
        .reason
        .as_deref()
        .unwrap_or("an earlier one has not ended");
    json!({ "reason": reason }).to_string()
}

async fn record(
    tx: &Transaction<'_>,
    verdicts: &[Verdict<'_>],
    made: &BTreeMap<usize, Made>,
    fired: &mut Fired,
) -> Result<(), Error> {
    let mut results: Vec<&str> = Vec::with_capacity(verdicts.len());
    for verdict in verdicts {
        let (result, count) = result(verdict.decision, fired);
        *count += 1;
        results.push(result);
    }
    let details: Vec<String> = verdicts.iter().map(detail).collect();
    let ids: Vec<i64> = verdicts
        .iter()
        .map(|verdict| verdict.plan.schedule)
        .collect();
    let times: Vec<_> = verdicts
        .iter()
        .map(|verdict| to_postgres(verdict.due.at))
        .collect();
    let run = |place: usize| match made.get(&place) {
        Some(Made::Run(RunId(id))) => Some(*id as i64),
        _ => None,
    };
    let flow = |place: usize| match made.get(&place) {
        Some(Made::Workflow(WorkflowId(id))) => Some(*id as i64),
        _ => None,
    };
    let runs: Vec<Option<i64>> = (0..verdicts.len()).map(run).collect();
    let flows: Vec<Option<i64>> = (0..verdicts.len()).map(flow).collect();
    let statement = tx.prepare_cached(RECORD).await?;
    tx.execute(
        &statement,
        &[&ids, &times, &results, &details, &runs, &flows],
    )
    .await?;
    Ok(())
}

const RECORD: &str = "
update tidegate.fire set result = given.result, detail = given.detail, run_id = given.run, workflow_id = given.flow
  from unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
       as given (id, due_at, result, detail, run, flow)
 where fire.schedule_id = given.id and fire.due_at = given.due_at";
