//! Runs.

use axum::http::Method;
use serde_json::{Value, json};
use tidegate_job_log::Ending;

use crate::fixture::{failed, log, stage, succeeded};

#[tokio::test]
async fn a_run_is_asked_for_once_with_a_key_and_shown_with_its_whole_life() {
    let stage = stage().await;
    let body = json!({ "job": "report", "params": { "a": 1 }, "options": { "priority": 5, "idempotencyKey": "k" } });
    let run = stage.expect(Method::POST, "/runs", body.clone(), 201).await;
    let id = run["id"].as_str().unwrap();
    assert_eq!(
        (&run["state"], &run["priority"], &run["source"]),
        (&"pending".into(), &5.into(), &"api".into())
    );
    assert_eq!(
        (&run["isNew"], &run["isScheduled"]),
        (&true.into(), &false.into())
    );
    let again = stage.post("/runs", body).await;
    assert_eq!((&again["id"], &again["isNew"]), (&run["id"], &false.into()));

    let claimed = stage.claim().await.remove(0);
    log(&stage, &claimed, &["one", "two"]).await;
    let progress = tidegate_job_log::attempt::Progress {
        done: 1.0,
        total: Some(4.0),
        message: None,
    };
    stage
        .jobs
        .progress(&claimed.lease, &progress)
        .await
        .unwrap();
    stage
        .jobs
        .step(&claimed.lease, "fetch", &json!([1]))
        .await
        .unwrap();
    let retry = Ending::Retry {
        after: std::time::Duration::ZERO,
        error: "not yet".into(),
    };
    stage.finish(&claimed, retry).await;
    let claimed = stage.claim().await.remove(0);
    stage.finish(&claimed, succeeded()).await;

    let shown = stage.get(&format!("/runs/{id}")).await;
    assert_eq!(
        (&shown["state"], &shown["result"]),
        (&"succeeded".into(), &json!({ "rows": 3 }))
    );
    assert_eq!(
        (&shown["params"], &shown["steps"]),
        (&json!({ "a": 1 }), &json!({ "fetch": [1] }))
    );
    assert_eq!(shown["progress"], json!({ "done": 1.0, "total": 4.0 }));
    let tries = shown["tries"].as_array().unwrap();
    let ends: Vec<&Value> = tries.iter().map(|one| &one["end"]).collect();
    assert_eq!(ends, ["retry", "succeeded"]);
    assert_eq!(
        (&tries[0]["error"], &tries[0]["logLines"]),
        (&"not yet".into(), &2.into())
    );
    assert_eq!(tries[0]["logs"][1]["text"], "two");
    let kinds: Vec<&str> = shown["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"step") && !kinds.contains(&"log"),
        "{kinds:?}"
    );

    let history = stage.get(&format!("/runs/{id}/history?limit=2")).await;
    let events = history["events"].as_array().unwrap();
    assert_eq!((events.len(), &events[0]["kind"]), (2, &"created".into()));
    let rest = stage
        .get(&format!("/runs/{id}/history?after={}", events[1]["id"]))
        .await;
    assert_eq!(rest["events"][0]["kind"], "started");
    let logs = stage.get(&format!("/runs/{id}/logs?attempt=1")).await;
    assert_eq!(
        (&logs["lines"][0]["text"], &logs["lines"][0]["attempt"]),
        (&"one".into(), &1.into())
    );
    assert_eq!(
        stage.get(&format!("/runs/{id}/logs?attempt=2")).await["lines"],
        json!([])
    );
}

#[tokio::test]
async fn runs_are_listed_by_job_and_state_in_pages() {
    let stage = stage().await;
    let mut all = Vec::new();
    for job in ["report", "clean", "report", "report"] {
        all.push(stage.start(job).await);
    }
    all.reverse();
    let ids = |page: &Value| -> Vec<String> {
        let runs = page["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| run["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = stage.get("/runs?limit=3").await;
    assert_eq!(ids(&first), all[..3]);
    let before = first["next"].as_str().unwrap();
    let second = stage
        .get(&format!("/runs?limit=3&before={before}&since=1h"))
        .await;
    assert_eq!(
        (ids(&second), &second["next"]),
        (all[3..].to_vec(), &Value::Null)
    );
    stage.claim().await;
    assert_eq!(
        ids(&stage.get("/runs?job=clean&state=pending,running").await),
        all[2..3]
    );
    assert_eq!(ids(&stage.get("/runs?state=failed").await), [""; 0]);
    assert_eq!(ids(&stage.get("/runs?since=2999-01-01").await), [""; 0]);
    let said = stage
        .refused(Method::GET, "/runs?job=reprt", Value::Null, 404)
        .await;
    assert_eq!(said, "there is no job reprt; did you mean report?");
}

#[tokio::test]
async fn runs_are_cancelled_retried_and_deleted_when_that_makes_sense() {
    let stage = stage().await;
    let run = stage.start("report").await;
    let path = |what: &str| format!("/runs/{run}{what}");
    let said = stage
        .refused(Method::POST, &path("/retry"), Value::Null, 409)
        .await;
    assert!(said.contains("only what has ended"), "{said}");
    assert_eq!(
        stage.post(&path("/cancel"), Value::Null).await["state"],
        "cancelled"
    );
    // Asked twice is done once.
    assert_eq!(
        stage.post(&path("/cancel"), Value::Null).await["state"],
        "cancelled"
    );
    assert_eq!(
        stage.post(&path("/retry"), json!({})).await["state"],
        "pending"
    );
    let claimed = stage.claim().await.remove(0);
    let cancelling = stage.post(&path("/cancel"), Value::Null).await;
    assert_eq!(
        (&cancelling["state"], &cancelling["isCancelRequested"]),
        (&"running".into(), &true.into())
    );
    let said = stage
        .refused(Method::DELETE, &path(""), Value::Null, 409)
        .await;
    assert!(said.contains("is running"), "{said}");
    stage.finish(&claimed, Ending::Cancelled).await;
    stage
        .expect(Method::DELETE, &path("?force=true"), Value::Null, 200)
        .await;
    for (method, what) in [
        (Method::GET, ""),
        (Method::DELETE, ""),
        (Method::GET, "/history"),
        (Method::GET, "/logs"),
        (Method::GET, "/logs?follow=true"),
        (Method::POST, "/cancel"),
        (Method::POST, "/retry"),
    ] {
        let said = stage.refused(method, &path(what), Value::Null, 404).await;
        assert!(said.contains(&run), "{said}");
    }
    let dead = stage.start("report").await;
    let claimed = stage.claim().await.remove(0);
    stage.finish(&claimed, failed("broken")).await;
    let said = stage
        .refused(
            Method::POST,
            &format!("/runs/{dead}/cancel"),
            Value::Null,
            409,
        )
        .await;
    assert_eq!(
        said,
        format!("{dead} has failed: there is nothing to cancel")
    );
}

#[tokio::test]
async fn a_start_that_cannot_be_is_refused_with_the_reason() {
    let stage = stage().await;
    let large = "x".repeat(1_048_577);
    for (body, status, expected) in [
        (json!({ "job": "reprt" }), 404, "did you mean \"report\"?"),
        (
            json!({ "job": "report", "params": [1] }),
            400,
            "params must be an object",
        ),
        (
            json!({ "job": "report", "params": { "a": large } }),
            400,
            "1048576",
        ),
        (
            json!({ "job": "report", "params": { "a": "\u{0}" } }),
            400,
            "NUL",
        ),
        (
            json!({ "job": "report", "options": { "delay": 1, "runAt": 1 } }),
            400,
            "both runAt and delay",
        ),
        (
            json!({ "job": "report", "options": { "priority": 101 } }),
            400,
            "priority",
        ),
        (
            json!({ "job": "report", "options": { "prioritty": 1 } }),
            400,
            "did you mean \"priority\"?",
        ),
        (
            json!({ "job": "report", "options": { "after": ["R999"] } }),
            404,
            "R000000999",
        ),
    ] {
        let said = stage.refused(Method::POST, "/runs", body, status).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(stage.get("/runs").await["runs"], json!([]));
    for path in ["/runs/x", "/runs/R-1/history", "/runs/W1/logs"] {
        let said = stage.refused(Method::GET, path, Value::Null, 400).await;
        assert!(
            said.starts_with("run: ") && said.contains("R000012345"),
            "{said}"
        );
    }
    let run = stage.start("report").await;
    for what in [
        "logs?attempt=x",
        "logs?follow=maybe",
        "logs?limit=1001",
        "history?after=-1",
    ] {
        stage
            .refused(
                Method::GET,
                &format!("/runs/{run}/{what}"),
                Value::Null,
                400,
            )
            .await;
    }
}
