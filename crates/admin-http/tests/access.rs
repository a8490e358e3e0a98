//! Who may ask, and what is not there.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::Value;

use crate::fixture::{json_of, stage};

#[tokio::test]
async fn nothing_is_told_without_the_master_key() {
    let stage = stage().await;
    for path in ["/jobs", "/openapi.json", "/nothing", "/runs/R000000001"] {
        for key in [None, Some("wrong"), Some("")] {
            let mut request = Request::builder().uri(format!("/tidegate/v1{path}"));
            if let Some(key) = key {
                request = request.header("x-parse-master-key", key);
            }
            let answered = stage.raw(request.body(Body::empty()).unwrap()).await;
            let reply = json_of(answered).await;
            assert_eq!(
                (reply.status, &reply.body["code"]),
                (403, &"forbidden".into()),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_there_and_other_methods_are_refused_as_json() {
    let stage = stage().await;
    let unknown = json_of(stage.send(Method::GET, "/nothing", None).await).await;
    assert_eq!(
        (unknown.status, &unknown.body["code"]),
        (404, &"not_found".into())
    );
    let put = json_of(stage.send(Method::PUT, "/jobs", None).await).await;
    assert_eq!((put.status, &put.body["code"]), (405, &"invalid".into()));
}

#[tokio::test]
async fn bad_bodies_and_parameters_are_refused_with_the_reason() {
    let stage = stage().await;
    for (body, expected) in [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ("\u{0}", "not JSON"),
        (r#"{"job":"report","parms":{}}"#, "unknown field `parms`"),
        (r#"{"params":{}}"#, "missing field `job`"),
        (r#"{"job":7}"#, "expected a string"),
    ] {
        let reply = json_of(stage.send(Method::POST, "/runs", Some(body)).await).await;
        let said = reply.body["error"].as_str().unwrap();
        assert_eq!(reply.status, 400, "{body}: {said}");
        assert!(said.contains(expected), "{body}: {said}");
    }
    let large = format!(
        r#"{{"job":"{}"}}"#,
        "x".repeat(tidegate_admin_http::MAX_BODY_BYTES)
    );
    let reply = json_of(stage.send(Method::POST, "/runs", Some(&large)).await).await;
    assert_eq!(reply.status, 413, "{}", reply.body);
    for (path, expected) in [
        (
            "/runs?stat=failed",
            "there is no parameter \"stat\"; there is job, state, since, before, limit",
        ),
        ("/runs?limit=many", "limit: \"many\""),
        ("/runs?limit=0", "limit: must be 1 to 1000"),
        ("/runs?state=failed&state=broken", "state: \"broken\""),
        ("/runs?before=x", "before: \"x\""),
        ("/runs?since=soon", "since: \"soon\""),
        ("/jobs?x=1", "there is none here"),
    ] {
        let said = stage.refused(Method::GET, path, Value::Null, 400).await;
        assert!(said.contains(expected), "{path}: {said}");
    }
}
