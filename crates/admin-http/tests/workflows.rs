//! Workflows.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fixture::{stage, succeeded};

#[tokio::test]
async fn a_workflow_is_started_shown_and_cancelled() {
    let stage = stage().await;
    let definitions = stage.get("/workflow-definitions").await;
    assert_eq!(
        definitions["definitions"][0]["graph"]["nodes"]["then"]["after"],
        json!(["first"])
    );
    let body = json!({ "params": { "day": 1 }, "options": { "idempotencyKey": "k" } });
    let started = stage
        .expect(Method::POST, "/workflows/night", body.clone(), 201)
        .await;
    let id = started["id"].as_str().unwrap();
    assert_eq!(
        (&started["state"], &started["nodes"]),
        (&"running".into(), &2.into())
    );
    assert_eq!(stage.post("/workflows/night", body).await["isNew"], false);
    let claimed = stage.claim().await.remove(0);
    stage.finish(&claimed, succeeded()).await;
    let shown = stage.get(&format!("/workflows/{id}")).await;
    assert_eq!(
        (&shown["succeeded"], &shown["runs"][0]["state"]),
        (&1.into(), &"succeeded".into())
    );
    let cancelled = stage
        .post(&format!("/workflows/{id}/cancel"), Value::Null)
        .await;
    assert_eq!(cancelled["state"], "cancelled");
    stage
        .post(&format!("/workflows/{id}/cancel"), Value::Null)
        .await;
    let page = stage.get("/workflows?name=night&limit=1").await;
    assert_eq!(
        (&page["workflows"][0]["id"], &page["next"]),
        (&started["id"], &started["id"])
    );
    let empty = stage.get(&format!("/workflows?before={id}")).await;
    assert_eq!(empty, json!({ "workflows": [], "next": null }));
}

#[tokio::test]
async fn a_workflow_that_has_succeeded_is_not_cancelled() {
    let stage = stage().await;
    let started = stage
        .expect(Method::POST, "/workflows/night", Value::Null, 201)
        .await;
    for _ in 0..2 {
        let claimed = stage.claim().await.remove(0);
        stage.finish(&claimed, succeeded()).await;
    }
    let path = format!("/workflows/{}/cancel", started["id"].as_str().unwrap());
    let said = stage.refused(Method::POST, &path, Value::Null, 409).await;
    assert!(said.contains("has succeeded"), "{said}");
}

#[tokio::test]
async fn what_is_unknown_or_wrong_is_refused() {
    let stage = stage().await;
    for (method, path, body, status, expected) in [
        (
            Method::POST,
            "/workflows/nigt",
            json!({}),
            404,
            "did you mean \"night\"?",
        ),
        (
            Method::POST,
            "/workflows/night",
            json!({ "params": 1 }),
            400,
            "params must be an object",
        ),
        (
            Method::POST,
            "/workflows/night",
            json!({ "options": { "delay": -1 } }),
            400,
            "delay",
        ),
        (
            Method::POST,
            "/workflows/night",
            json!({ "job": "x" }),
            400,
            "unknown field `job`",
        ),
        (
            Method::GET,
            "/workflows/W99",
            Value::Null,
            404,
            "W000000099",
        ),
        (
            Method::GET,
            "/workflows/night",
            Value::Null,
            400,
            "workflow: \"night\"",
        ),
        (
            Method::POST,
            "/workflows/W99/cancel",
            Value::Null,
            404,
            "W000000099",
        ),
        (
            Method::GET,
            "/workflows?name=nigt",
            Value::Null,
            404,
            "did you mean night?",
        ),
        (
            Method::GET,
            "/workflows?before=night",
            Value::Null,
            400,
            "before: ",
        ),
        (
            Method::GET,
            "/workflows?limit=2000",
            Value::Null,
            400,
            "limit: ",
        ),
    ] {
        let said = stage.refused(method, path, body, status).await;
        assert!(said.contains(expected), "{path}: {said}");
    }
}
