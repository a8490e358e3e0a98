//! Jobs and the queue.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fixture::stage;

#[tokio::test]
async fn jobs_are_listed_with_their_runs_and_pause_and_resume() {
    let stage = stage().await;
    let run = stage.start("report").await;
    let listed = stage.get("/jobs").await;
    let names: Vec<&Value> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["job"])
        .collect();
    assert_eq!(names, ["clean", "report"]);
    let report = &listed["jobs"][1];
    assert_eq!(report["options"]["concurrency"], 5);
    assert_eq!(report["runs"], json!({ "pending": 1 }));
    assert_eq!(report["lastRun"]["id"], *run);
    assert_eq!(listed["jobs"][0]["lastRun"], Value::Null);
    assert_eq!(
        stage.post("/jobs/report/pause", Value::Null).await["pausedBy"],
        "api"
    );
    assert!(stage.claim().await.is_empty());
    assert_eq!(
        stage.post("/jobs/report/resume", Value::Null).await["pausedAt"],
        Value::Null
    );
    assert_eq!(stage.claim().await.len(), 1);
    assert_eq!(
        stage.get("/jobs/report").await["runs"],
        json!({ "running": 1 })
    );
    for path in [
        "/jobs/reprt",
        "/jobs/reprt/pause",
        "/jobs/reprt/resume",
        "/jobs/reprt/retry",
    ] {
        let method = if path == "/jobs/reprt" {
            Method::GET
        } else {
            Method::POST
        };
        let said = stage.refused(method, path, Value::Null, 404).await;
        assert_eq!(
            said, "there is no job reprt; did you mean report?",
            "{path}"
        );
    }
}

#[tokio::test]
async fn all_jobs_pause_and_go_on_together() {
    let stage = stage().await;
    stage.start("report").await;
    let queue = stage.post("/queue/pause", Value::Null).await;
    assert_eq!(
        (&queue["pausedBy"], &queue["pending"]),
        (&"api".into(), &1.into())
    );
    assert_eq!(
        (&queue["isScheduled"], &queue["workers"]),
        (&false.into(), &1.into())
    );
    assert!(stage.claim().await.is_empty());
    assert_eq!(
        stage.post("/queue/resume", Value::Null).await["pausedAt"],
        Value::Null
    );
    stage.claim().await;
    assert_eq!(stage.get("/queue").await["running"], 1);
    let _leader = stage.jobs.lead().await.unwrap().unwrap();
    assert_eq!(stage.get("/queue").await["isScheduled"], true);
}

#[tokio::test]
async fn all_dead_runs_of_a_job_run_again() {
    let stage = stage().await;
    for _ in 0..3 {
        stage.dead("report").await;
    }
    let other = stage.dead("clean").await;
    let done = stage
        .post("/jobs/report/retry", json!({ "afresh": true }))
        .await;
    assert_eq!(done, json!({ "retried": 3, "refused": 0, "reasons": [] }));
    assert_eq!(stage.claim().await.len(), 3);
    assert_eq!(
        stage.get(&format!("/runs/{other}")).await["state"],
        "failed"
    );
    let said = stage
        .refused(
            Method::POST,
            "/jobs/report/retry",
            json!({ "fresh": true }),
            400,
        )
        .await;
    assert!(said.contains("unknown field `fresh`"), "{said}");
}
