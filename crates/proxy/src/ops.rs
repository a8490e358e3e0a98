//! What operators ask of any process: `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;
use tokio::sync::watch;

/// Whether this process can do its work, and if not, why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// One sentence each; empty: ready.
    pub problems: Vec<String>,
}

/// Where the answers come from.
#[derive(Clone)]
pub struct Ops {
    pub readiness: watch::Receiver<Readiness>,
    /// Renders the metrics in Prometheus's text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

pub(crate) fn router(ops: Ops) -> Router {
    let readiness = ops.readiness;
    let ready = move || {
        let Readiness { problems } = readiness.borrow().clone();
        let status = match problems.is_empty() {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({"ready": problems.is_empty(), "problems": problems});
        async move { (status, axum::Json(body)) }
    };
    let metrics = ops.metrics;
    let render = move || {
        let text = metrics();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response() }
    };
    Router::new()
        .route(
            "/healthz",
            get(|| async { axum::Json(json!({"status": "ok"})) }),
        )
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
}
