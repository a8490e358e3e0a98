//! Makes the runs and workflows of fires, and says at each fire what it made.

use std::collections::BTreeMap;

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
use crate::text::to_postgres;

/// Makes the runs, and says at each fire what it made. Returns what was made.
pub(crate) async fn carry_out(
    tx: &Transaction<'_>,
    verdicts: &[Verdict<'_>],
    known: &Known,
    open: &BTreeMap<i64, Open>,
    fired: &mut Fired,
) -> Result<Vec<Made>, Error> {
    let mut made: Vec<Option<Made>> = vec![None; verdicts.len()];
    // Which draft each schedule's latest run is: what is queued in the same transaction waits for it.
    let mut latest: BTreeMap<i64, usize> = BTreeMap::new();
    let mut drafts: Vec<Draft> = Vec::new();
    let mut of_verdict: Vec<usize> = Vec::new();
    for (place, verdict) in verdicts.iter().enumerate() {
        let plan = verdict.plan;
        let before = open.get(&plan.schedule);
        if verdict.decision == Decision::CancelOldAndStart {
            cancel(tx, before).await?;
        }
        let old = match verdict.decision {
            Decision::Queue => before.map_or(&[][..], |open| &open.runs),
            Decision::Start | Decision::CancelOldAndStart => &[],
            Decision::Skip => continue,
        };
        let mut needs: Vec<Need> = old.iter().map(|run| ended(*run)).collect();
        match &plan.target {
            Target::Workflow(name) => {
                let graph = &known.graphs[name];
                made[place] = Some(start_flow(tx, verdict, name, graph, &needs).await?);
            }
            Target::Job(job) => {
                if verdict.decision == Decision::Queue {
                    needs.extend(latest.get(&plan.schedule).map(|place| Need {
                        on: On::Draft(*place),
                        name: None,
                        on_failure: OnFailure::Continue,
                    }));
                }
                latest.insert(plan.schedule, drafts.len());
                of_verdict.push(place);
                drafts.push(draft(verdict, job, needs)?);
            }
        }
    }
    if !drafts.is_empty() {
        let started = insert_drafts(tx, &drafts).await?;
        for (place, started) in of_verdict.iter().zip(started) {
            made[*place] = Some(Made::Run(started.id));
        }
    }
    record(tx, verdicts, &made, fired).await?;
    Ok(made.into_iter().flatten().collect())
}

async fn cancel(tx: &Transaction<'_>, open: Option<&Open>) -> Result<(), Error> {
    let Some(open) = open else { return Ok(()) };
    for WorkflowId(id) in &open.workflows {
        tx.execute("select tidegate.cancel_workflow($1)", &[&(*id as i64)])
            .await?;
    }
    let runs = crate::text::bigints(&open.runs);
    tx.execute("select tidegate.cancel_runs($1)", &[&runs])
        .await?;
    Ok(())
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
) -> Result<Made, Error> {
    let flow = NewWorkflow {
        name: name.to_owned(),
        params: verdict.plan.params.clone(),
        options: options(verdict),
        source: tidegate_job::Source::Schedule,
    };
    let fire = Some((verdict.plan.schedule, verdict.due.at));
    let started = insert_workflow(tx, &flow, graph, fire, needs).await?;
    Ok(Made::Workflow(started.id))
}

async fn record(
    tx: &Transaction<'_>,
    verdicts: &[Verdict<'_>],
    made: &[Option<Made>],
    fired: &mut Fired,
) -> Result<(), Error> {
    let mut results: Vec<&str> = Vec::new();
    for verdict in verdicts {
        let (result, count) = match verdict.decision {
            Decision::Start | Decision::CancelOldAndStart => ("started", &mut fired.started),
            Decision::Queue => ("queued", &mut fired.queued),
            Decision::Skip => ("skipped", &mut fired.skipped),
        };
        *count += 1;
        results.push(result);
    }
    let detail = |verdict: &Verdict<'_>| match verdict.decision {
        Decision::Skip => {
            let reason = verdict
                .reason
                .as_deref()
                .unwrap_or("an earlier one has not ended");
            json!({ "reason": reason }).to_string()
        }
        _ => "{}".to_owned(),
    };
    let details: Vec<String> = verdicts.iter().map(detail).collect();
    let ids: Vec<i64> = verdicts
        .iter()
        .map(|verdict| verdict.plan.schedule)
        .collect();
    let times: Vec<_> = verdicts
        .iter()
        .map(|verdict| to_postgres(verdict.due.at))
        .collect();
    let run = |made: &Option<Made>| match made {
        Some(Made::Run(RunId(id))) => Some(*id as i64),
        _ => None,
    };
    let workflow = |made: &Option<Made>| match made {
        Some(Made::Workflow(WorkflowId(id))) => Some(*id as i64),
        _ => None,
    };
    let runs: Vec<Option<i64>> = made.iter().map(run).collect();
    let workflows: Vec<Option<i64>> = made.iter().map(workflow).collect();
    let statement = tx
        .prepare_cached(
            "update tidegate.fire set result = given.result, detail = given.detail, run_id = given.run, workflow_id = given.flow
               from unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                    as given (id, due_at, result, detail, run, flow)
              where fire.schedule_id = given.id and fire.due_at = given.due_at",
        )
        .await?;
    tx.execute(
        &statement,
        &[&ids, &times, &results, &details, &runs, &workflows],
    )
    .await?;
    Ok(())
}
