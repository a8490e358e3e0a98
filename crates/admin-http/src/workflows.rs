//! Workflows: what is registered, starting one, and where each stands.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_admin::{
    MAX_RUNS, Source, WorkflowDefinition, WorkflowFilter, WorkflowPage, WorkflowView,
};

use crate::Door;
use crate::ask::{Body, Query};
use crate::endpoint::{Endpoint, get, post};
use crate::refusal::Refusal;
use crate::runs::made;

const DEFAULT_WORKFLOWS: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    params: Value,
    #[serde(default)]
    options: Value,
}

#[derive(Serialize)]
struct Definitions {
    definitions: Vec<WorkflowDefinition>,
}

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let text = || json!({ "type": "string" });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": MAX_RUNS, "default": DEFAULT_WORKFLOWS });
    vec![
        get(
            "/workflow-definitions",
            "List the workflows that releases registered",
            definitions,
        )
        .answers("WorkflowDefinitions"),
        get(
            "/workflows",
            "List workflows that were started, the newest first",
            list,
        )
        .query("name", text(), "Only of this name")
        .query(
            "before",
            text(),
            "Only older than this one: `next` of the page before",
        )
        .query("limit", limit, "How many")
        .answers("WorkflowPage"),
        post(
            "/workflows/{workflow}",
            "Start the workflow of this name; 200 when its idempotency key has been used before",
            start,
        )
        .takes("StartWorkflow")
        .answers_with(201, "StartedWorkflow")
        .answers("StartedWorkflow"),
        get(
            "/workflows/{workflow}",
            "Show the workflow with this id and all its nodes",
            show,
        )
        .answers("Workflow"),
        post(
            "/workflows/{workflow}/cancel",
            "Cancel all runs of a workflow that have not ended",
            cancel,
        )
        .answers("Workflow"),
    ]
}

async fn definitions(State(door): State<Door>) -> Result<Json<Definitions>, Refusal> {
    let definitions = door.admin.workflow_definitions().await?;
    Ok(Json(Definitions { definitions }))
}

async fn list(State(door): State<Door>, query: Query) -> Result<Json<WorkflowPage>, Refusal> {
    let text = |name| query.text(name).map(str::to_owned);
    let filter = WorkflowFilter {
        name: text("name"),
        before: text("before"),
        limit: query.number("limit")?.unwrap_or(DEFAULT_WORKFLOWS),
    };
    Ok(Json(door.admin.list_workflows(&filter).await?))
}

async fn start(
    State(door): State<Door>,
    Path(name): Path<String>,
    Body(Start { params, options }): Body<Start>,
) -> Result<Response, Refusal> {
    let started = door
        .admin
        .start_workflow(&name, &params, &options, Source::Api);
    let started = started.await?;
    Ok((made(started.is_new), Json(started)).into_response())
}

async fn show(
    State(door): State<Door>,
    Path(id): Path<String>,
) -> Result<Json<WorkflowView>, Refusal> {
    Ok(Json(door.admin.workflow(&id).await?))
}

async fn cancel(
    State(door): State<Door>,
    Path(id): Path<String>,
) -> Result<Json<WorkflowView>, Refusal> {
    Ok(Json(door.admin.cancel_workflow(&id).await?))
}
