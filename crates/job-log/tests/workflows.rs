//! Graphs of runs: order, fan-in, and what becomes of a failure.

use serde_json::{Value, json};
use tidegate_job::{
    Graph, RunState, Source, StartOptions, WorkflowDefinition, WorkflowId, WorkflowState,
};
use tidegate_job_log::start_workflow::NewWorkflow;
use tidegate_job_log::{Claimed, JobLog};
use tidegate_testkit::Database;

use crate::fixture::*;

/// A log in which `graph` is registered as `flow`.
async fn log_with(graph: Value) -> (Database, JobLog) {
    let (database, log) = log().await;
    let flow = WorkflowDefinition {
        name: "flow".into(),
        graph: Graph::parse(&graph).unwrap(),
    };
    log.register(&jobs(), &[flow], "r2").await.unwrap();
    (database, log)
}

fn flow(options: Value) -> NewWorkflow {
    NewWorkflow {
        name: "flow".into(),
        params: json!({ "day": "monday", "limit": 5 })
            .as_object()
            .unwrap()
            .clone(),
        options: StartOptions::parse(&options).unwrap(),
        source: Source::Api,
    }
}

async fn start_flow(log: &JobLog) -> WorkflowId {
    log.start_workflow(&flow(json!({}))).await.unwrap().id
}

/// Claims the runs that are due, which must be of these nodes.
async fn claim_nodes(log: &JobLog, nodes: &[&str]) -> Vec<Claimed> {
    let mut claimed = claim_due(log).await;
    claimed.sort_by_key(|one| one.workflow.clone().unwrap().node);
    let found: Vec<String> = claimed
        .iter()
        .map(|one| one.workflow.clone().unwrap().node)
        .collect();
    assert_eq!(found, nodes);
    claimed
}

async fn flow_state(log: &JobLog, id: WorkflowId) -> WorkflowState {
    log.workflow(id).await.unwrap().state
}

/// State of each node, as `name state`, in order of making.
async fn nodes(log: &JobLog, id: WorkflowId) -> Vec<String> {
    let view = log.workflow(id).await.unwrap();
    let text = |run: &Value| {
        let mark = if run["isCompensation"] == true {
            "undo "
        } else {
            ""
        };
        format!(
            "{mark}{} {}",
            run["node"].as_str().unwrap(),
            run["state"].as_str().unwrap()
        )
    };
    view.runs.as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn a_fan_in_waits_for_all_and_gets_their_results_by_name() {
    let (_database, log) = log_with(json!({ "nodes": {
        "fetch": { "job": "a" },
        "left": { "job": "b", "after": "fetch", "params": { "limit": 9 } },
        "right": { "job": "b", "after": "fetch" },
        "join": { "job": "c", "after": ["left", "right"] },
    } }))
    .await;
    let id = start_flow(&log).await;
    let fetch = claim_nodes(&log, &["fetch"]).await.remove(0);
    let flow = fetch.workflow.clone().unwrap();
    assert_eq!(
        (flow.id, flow.name.as_str(), flow.is_compensation),
        (id, "flow", false)
    );
    succeed(&log, &fetch.lease).await;
    let both = claim_nodes(&log, &["left", "right"]).await;
    let params: Value = serde_json::from_str(&both[0].params).unwrap();
    assert_eq!(params, json!({ "day": "monday", "limit": 9 }));
    assert_eq!(both[0].inputs["fetch"], json!({ "done": true }));
    succeed(&log, &both[1].lease).await;
    assert!(claim_due(&log).await.is_empty());
    succeed(&log, &both[0].lease).await;
    let join = claim_nodes(&log, &["join"]).await.remove(0);
    let names: Vec<&String> = join.inputs.keys().collect();
    assert_eq!(names, ["left", "right"]);
    assert_eq!(flow_state(&log, id).await, WorkflowState::Running);
    succeed(&log, &join.lease).await;
    let view = log.workflow(id).await.unwrap();
    assert_eq!(
        (view.state, view.nodes, view.succeeded),
        (WorkflowState::Succeeded, 4, 4)
    );
    assert!(view.finished_at.is_some());
}

#[tokio::test]
async fn both_arms_that_end_at_once_begin_the_join_once() {
    let (_database, log) = log_with(json!({ "nodes": {
        "left": { "job": "a" }, "right": { "job": "b" }, "join": { "job": "c", "after": ["left", "right"] },
    } }))
    .await;
    for _ in 0..10 {
        let id = start_flow(&log).await;
        let arms = claim_nodes(&log, &["left", "right"]).await;
        let ends = arms.into_iter().map(|arm| {
            let log = log.clone();
            tokio::spawn(async move { succeed(&log, &arm.lease).await })
        });
        for end in ends.collect::<Vec<_>>() {
            end.await.unwrap();
        }
        let join = claim_nodes(&log, &["join"]).await.remove(0);
        succeed(&log, &join.lease).await;
        assert_eq!(flow_state(&log, id).await, WorkflowState::Succeeded);
    }
}

#[tokio::test]
async fn stop_skips_what_needs_the_failed_node_and_nothing_else() {
    let (database, log) = log_with(json!({ "nodes": {
        "bad": { "job": "a" }, "good": { "job": "b" },
        "next": { "job": "c", "after": "bad" }, "last": { "job": "c", "after": ["next", "good"] },
        "other": { "job": "c", "after": "good" },
    } }))
    .await;
    let id = start_flow(&log).await;
    let claimed = claim_nodes(&log, &["bad", "good"]).await;
    fail(&log, &claimed[0].lease).await;
    succeed(&log, &claimed[1].lease).await;
    let other = claim_nodes(&log, &["other"]).await.remove(0);
    assert_eq!(flow_state(&log, id).await, WorkflowState::Running);
    succeed(&log, &other.lease).await;
    assert_eq!(flow_state(&log, id).await, WorkflowState::Failed);
    let expected = [
        "bad failed",
        "good succeeded",
        "next skipped",
        "other succeeded",
        "last skipped",
    ];
    let mut found = nodes(&log, id).await;
    found.sort();
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(found, expected);
    let query = r#"select count(*) from "_JobStatus" where "status" = 'failed' and "message" like 'skipped: %'"#;
    let row = sql(&database).await.query_one(query, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn continue_goes_on_with_null_and_the_workflow_succeeds() {
    let (_database, log) = log_with(json!({ "onFailure": "continue", "nodes": {
        "bad": { "job": "a" }, "next": { "job": "b", "after": "bad" },
    } }))
    .await;
    let id = start_flow(&log).await;
    let bad = claim_nodes(&log, &["bad"]).await.remove(0);
    fail(&log, &bad.lease).await;
    let next = claim_nodes(&log, &["next"]).await.remove(0);
    assert_eq!(next.inputs["bad"], json!(null));
    succeed(&log, &next.lease).await;
    assert_eq!(flow_state(&log, id).await, WorkflowState::Succeeded);
}

const UNDOABLE: &str = r#"{ "onFailure": "compensate", "nodes": {
    "first": { "job": "a", "compensate": "undo-a", "params": { "n": 1 } },
    "second": { "job": "b", "after": "first", "compensate": "undo-b" },
    "aside": { "job": "b", "after": "first" },
    "bad": { "job": "c", "after": "second", "compensate": "undo-a" },
    "never": { "job": "c", "after": ["bad", "aside"] } } }"#;

#[tokio::test]
async fn compensate_undoes_what_had_succeeded_the_last_one_first() {
    let (_database, log) = log_with(serde_json::from_str(UNDOABLE).unwrap()).await;
    let id = start_flow(&log).await;
    succeed(&log, &claim_nodes(&log, &["first"]).await[0].lease).await;
    let both = claim_nodes(&log, &["aside", "second"]).await;
    succeed(&log, &both[1].lease).await;
    let bad = claim_nodes(&log, &["bad"]).await.remove(0);
    fail(&log, &bad.lease).await;
    // What runs may end first.
    assert_eq!(flow_state(&log, id).await, WorkflowState::Running);
    assert!(claim_due(&log).await.is_empty());
    succeed(&log, &both[0].lease).await;
    assert_eq!(flow_state(&log, id).await, WorkflowState::Compensating);
    let undo = claim_nodes(&log, &["second"]).await.remove(0);
    assert_eq!(undo.job, "undo-b");
    assert!(undo.workflow.as_ref().unwrap().is_compensation);
    assert_eq!(undo.inputs["second"], json!({ "done": true }));
    assert!(
        log.retry(bad.lease.run, false).await.is_err(),
        "it is being undone"
    );
    // One that fails keeps the others from nothing.
    fail(&log, &undo.lease).await;
    let undo = claim_nodes(&log, &["first"]).await.remove(0);
    let params: Value = serde_json::from_str(&undo.params).unwrap();
    assert_eq!((undo.job.as_str(), &params["n"]), ("undo-a", &json!(1)));
    succeed(&log, &undo.lease).await;
    assert_eq!(flow_state(&log, id).await, WorkflowState::Failed);
    let found = nodes(&log, id).await;
    assert_eq!(found[5..], ["undo second failed", "undo first succeeded"]);
    assert!(found.contains(&"never skipped".to_owned()), "{found:?}");
}

#[tokio::test]
async fn compensate_without_anything_to_undo_fails_at_once() {
    let (_database, log) = log_with(serde_json::from_str(UNDOABLE).unwrap()).await;
    let id = start_flow(&log).await;
    fail(&log, &claim_nodes(&log, &["first"]).await[0].lease).await;
    assert_eq!(flow_state(&log, id).await, WorkflowState::Failed);
    assert!(claim_due(&log).await.is_empty());
}

#[tokio::test]
async fn a_failed_node_runs_again_and_what_was_skipped_for_it_follows() {
    let (_database, log) = log_with(json!({ "nodes": {
        "bad": { "job": "a" }, "other": { "job": "b" },
        "next": { "job": "b", "after": "bad" }, "last": { "job": "c", "after": ["next", "other"] },
    } }))
    .await;
    let id = start_flow(&log).await;
    let claimed = claim_nodes(&log, &["bad", "other"]).await;
    fail(&log, &claimed[0].lease).await;
    fail(&log, &claimed[1].lease).await;
    assert_eq!(flow_state(&log, id).await, WorkflowState::Failed);
    log.retry(claimed[0].lease.run, false).await.unwrap();
    assert_eq!(flow_state(&log, id).await, WorkflowState::Running);
    let again = claim_nodes(&log, &["bad"]).await.remove(0);
    assert_eq!(again.attempt, 1);
    succeed(&log, &again.lease).await;
    succeed(&log, &claim_nodes(&log, &["next"]).await[0].lease).await;
    // The other one it needs has failed still.
    assert_eq!(flow_state(&log, id).await, WorkflowState::Failed);
    log.retry(claimed[1].lease.run, false).await.unwrap();
    succeed(&log, &claim_nodes(&log, &["other"]).await[0].lease).await;
    succeed(&log, &claim_nodes(&log, &["last"]).await[0].lease).await;
    assert_eq!(flow_state(&log, id).await, WorkflowState::Succeeded);
}

#[tokio::test]
async fn a_cancelled_workflow_ends_with_its_last_run() {
    let (_database, log) = log_with(serde_json::from_str(UNDOABLE).unwrap()).await;
    let id = start_flow(&log).await;
    succeed(&log, &claim_nodes(&log, &["first"]).await[0].lease).await;
    let second = claim_nodes(&log, &["aside", "second"]).await;
    assert_eq!(
        log.cancel_workflow(id).await.unwrap(),
        WorkflowState::Running
    );
    for one in &second {
        let cancelled = finish(&log, &one.lease, tidegate_job_log::Ending::Cancelled).await;
        assert_eq!(cancelled, Some(RunState::Cancelled));
    }
    assert_eq!(flow_state(&log, id).await, WorkflowState::Cancelled);
    assert!(claim_due(&log).await.is_empty());
    let waiting = start_flow(&log).await;
    assert_eq!(
        log.cancel_workflow(waiting).await.unwrap(),
        WorkflowState::Cancelled
    );
    assert!(log.cancel_workflow(WorkflowId(999)).await.is_err());
}

#[tokio::test]
async fn a_workflow_has_a_key_a_time_and_runs_it_follows() {
    let (_database, log) = log_with(json!(["a", "b"])).await;
    let keyed = || flow(json!({ "idempotencyKey": "k", "priority": 7 }));
    let first = log.start_workflow(&keyed()).await.unwrap();
    let second = log.start_workflow(&keyed()).await.unwrap();
    assert_eq!(
        (first.id, first.is_new, second.is_new),
        (second.id, true, false)
    );
    assert_eq!(log.workflow(first.id).await.unwrap().nodes, 2);
    let filter = tidegate_job_log::list::Filter {
        workflow: Some(first.id),
        ..Default::default()
    };
    let runs = log.runs(&filter, 10).await.unwrap();
    assert!(
        runs.iter()
            .all(|run| run.priority == 7 && run.source == "workflow")
    );
    claim_due(&log).await;
    let run = start(&log, "c").await;
    let after = log
        .start_workflow(&flow(json!({ "after": [run] })))
        .await
        .unwrap()
        .id;
    assert_eq!(nodes(&log, after).await, ["a waiting", "b waiting"]);
    log.cancel(run).await.unwrap();
    assert_eq!(flow_state(&log, after).await, WorkflowState::Failed);
    let listed = log.workflows(Some("flow"), None, 1).await.unwrap();
    assert_eq!(listed[0].id, after);
    let older = log.workflows(None, Some(after), 10).await.unwrap();
    assert_eq!(older.len(), 1);
}

#[tokio::test]
async fn what_does_not_exist_is_refused_with_the_name_that_was_meant() {
    let (_database, log) = log_with(json!(["a"])).await;
    let unknown = NewWorkflow {
        name: "flwo".into(),
        ..flow(json!({}))
    };
    let error = log.start_workflow(&unknown).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no workflow \"flwo\"; did you mean \"flow\"?"
    );
    log.register(
        &jobs()[1..],
        &[WorkflowDefinition {
            name: "flow".into(),
            graph: Graph::parse(&json!(["a"])).unwrap(),
        }],
        "r3",
    )
    .await
    .unwrap();
    let error = log
        .start_workflow(&flow(json!({})))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("there is no job \"a\""), "{error}");
    assert_eq!(log.workflow_definitions().await.unwrap()[0].release, "r3");
}
