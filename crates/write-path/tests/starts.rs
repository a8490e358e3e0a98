//! Runs and workflows: asked for once, refused with the reason, cancelled.

use serde_json::{Value, json};
use tidegate_job::{RunId, RunState};
use tidegate_parse_protocol::ErrorCode;
use tidegate_write_path::{Caller, Error};

use crate::desk::{Desk, handler, header, master};

const RUN: &str = "X-Parse-Job-Status-Id";

#[tokio::test]
async fn a_start_answers_the_run_which_is_there() {
    let desk = Desk::open().await;
    let body = json!({"day": 3, "_jobOptions": {"delay": 60_000, "priority": 5}});
    let answer = desk.call("POST", "jobs/report", body).await.unwrap();
    let id = header(answer, RUN);
    let run = desk.jobs.run(id.parse().unwrap()).await.unwrap();
    assert_eq!(
        (run.summary.job.as_str(), run.params),
        ("report", json!({"day": 3}))
    );
    assert_eq!(
        (run.summary.priority, run.summary.state),
        (5, RunState::Pending)
    );
    let path = format!("classes/_JobStatus/{id}");
    let shown = desk.call("GET", &path, Value::Null).await.unwrap().body;
    assert_eq!(shown["status"], "scheduled");
    assert_eq!(shown["source"], "api");

    // Run now, as the dashboard has it: all of the body are params.
    let body = json!({"description": "", "input": {"a": 1}, "jobName": "report", "when": 0});
    let answer = desk.call("POST", "jobs", body.clone()).await.unwrap();
    let run = desk.jobs.run(header(answer, RUN).parse().unwrap()).await;
    assert_eq!(run.unwrap().params, body);
}

#[tokio::test]
async fn what_cannot_be_started_is_refused_with_the_reason() {
    let desk = Desk::open().await;
    let stranger = Caller {
        master: false,
        ..master()
    };
    for (method, path) in [
        ("POST", "jobs/report"),
        ("POST", "workflows/flow"),
        ("POST", "cloud_code/runs/R1/cancel"),
        ("GET", "cloud_code/jobs"),
        ("GET", "cloud_code/jobs/data"),
        ("DELETE", "cloud_code/jobs/x"),
    ] {
        let refused = desk.call_as(&stranger, method, path, json!({})).await;
        assert!(matches!(refused, Err(Error::MasterKeyRequired)), "{path}");
    }
    let invalid = (ErrorCode::SCRIPT_FAILED, "Invalid job.".to_owned());
    assert_eq!(
        desk.refused("POST", "jobs/reprot", json!({})).await,
        invalid
    );
    assert_eq!(desk.refused("POST", "jobs", json!({})).await, invalid);
    let large = json!({"text": "x".repeat(1_048_576)});
    for (body, word) in [
        (json!({"_jobOptions": {"retries": "many"}}), "retries"),
        (
            json!({"_jobOptions": {"retrys": 1}}),
            "did you mean \"retries\"",
        ),
        (
            json!({"_jobOptions": {"runAt": 5, "delay": 5}}),
            "runAt and delay",
        ),
        (
            json!({"_jobOptions": {"after": ["R99"]}}),
            "after: there is no run \"R000000099\"",
        ),
        (large, "the limit is 1048576"),
    ] {
        let (code, message) = desk.refused("POST", "jobs/report", body).await;
        assert_eq!(code, ErrorCode::INVALID_JSON, "{message}");
        assert!(message.contains(word), "{message}");
    }
    let (code, message) = desk.refused("POST", "workflows/flaw", json!({})).await;
    assert_eq!(code, ErrorCode::SCRIPT_FAILED);
    assert!(message.contains("did you mean \"flow\""), "{message}");
}

#[tokio::test]
async fn the_same_start_makes_one_run_whoever_repeats_it() {
    let desk = Desk::open().await;
    let start = async |caller: &Caller| {
        let answer = desk.call_as(caller, "POST", "jobs/report", json!({})).await;
        header(answer.unwrap(), RUN)
    };
    let client = |key: &str| Caller {
        request_key: Some(key.into()),
        ..master()
    };
    let first = start(&handler("2")).await;
    assert_eq!(start(&handler("2")).await, first);
    assert_ne!(start(&handler("3")).await, first);
    let asked = start(&client("a")).await;
    assert_eq!(start(&client("a")).await, asked);
    assert_ne!(start(&client("b")).await, asked);
    assert_ne!(start(&master()).await, start(&master()).await);
    // Two in one batch are two, and the same two again.
    let item = json!({"method": "POST", "path": "/parse/jobs/report", "body": {}});
    let batch = json!({"requests": [item, item]});
    for _ in 0..2 {
        let answer = desk
            .call_as(&client("c"), "POST", "batch", batch.clone())
            .await;
        assert_eq!(
            answer.unwrap().body,
            json!([{"success": {}}, {"success": {}}])
        );
    }
    let runs = desk.jobs.runs(&Default::default(), 100).await.unwrap();
    assert_eq!(runs.len(), 8);

    let flow = async |caller: &Caller| {
        let answer = desk
            .call_as(caller, "POST", "workflows/flow", json!({"a": 1}))
            .await;
        header(answer.unwrap(), "X-Tidegate-Workflow-Id")
    };
    let first = flow(&handler("2")).await;
    assert_eq!(flow(&handler("2")).await, first);
}

#[tokio::test]
async fn a_run_and_a_workflow_are_cancelled_by_their_ids() {
    let desk = Desk::open().await;
    let cancel = async |id: &str| {
        let path = format!("cloud_code/runs/{id}/cancel");
        desk.call("POST", &path, json!({})).await
    };
    let run = desk.call("POST", "jobs/report", json!({})).await.unwrap();
    let run = header(run, RUN);
    let cancelled = json!({"state": "cancelled"});
    assert_eq!(cancel(&run).await.unwrap().body, cancelled);
    assert_eq!(cancel(&run).await.unwrap().body, cancelled);
    let flow = desk
        .call("POST", "workflows/flow", json!({}))
        .await
        .unwrap();
    let flow = header(flow, "X-Tidegate-Workflow-Id");
    assert_eq!(cancel(&flow).await.unwrap().body, cancelled);
    let state = desk.jobs.run(RunId(2)).await.unwrap().summary.state;
    assert_eq!(state, RunState::Cancelled);
    for id in ["R999", "W999", "nonsense", "-1"] {
        let told = cancel(id).await.unwrap_err().to_parse();
        assert_eq!(told.code, ErrorCode::OBJECT_NOT_FOUND, "{id}");
        assert!(
            told.message.contains(id) || id.ends_with("999"),
            "{}",
            told.message
        );
    }
}

#[tokio::test]
async fn the_dashboard_is_told_that_there_are_jobs() {
    let desk = Desk::open().await;
    let info = desk.call("GET", "serverInfo", Value::Null).await.unwrap();
    assert_eq!(info.body["features"]["cloudCode"]["jobs"], true);
}
