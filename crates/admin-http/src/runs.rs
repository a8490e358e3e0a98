//! Runs: asking for them, looking at them, ending them, running them again.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_admin::{
    LoggedLine, MAX_RUNS, RunEvent, RunFilter, RunLine, RunPage, ShownRun, Source,
};

use crate::ask::{Body, Query};
use crate::endpoint::{Endpoint, delete, get, post};
use crate::jobs::Again;
use crate::refusal::Refusal;
use crate::{Door, follow};

const DEFAULT_RUNS: u32 = 100;
/// Most entries of a history, or events of a log, in one answer.
const MAX_EVENTS: u32 = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    job: String,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    options: Value,
}

#[derive(Serialize)]
struct History {
    events: Vec<RunEvent>,
}

#[derive(Serialize)]
struct Logs {
    lines: Vec<LoggedLine>,
}

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let mut all = of_all();
    all.extend(history_of_one());
    all.extend(of_one());
    all
}

fn count(most: u32, default: u32) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": default })
}

fn flag() -> Value {
    json!({ "type": "boolean", "default": false })
}

fn of_all() -> Vec<Endpoint> {
    let text = || json!({ "type": "string" });
    vec![
        get("/runs", "List runs, the newest first", list)
            .query("job", text(), "Only of this job")
            .query(
                "state",
                json!({ "type": "array", "items": { "$ref": "#/components/schemas/RunState" } }),
                "Only in these states",
            )
            .query(
                "since",
                text(),
                "Only asked for since then: a time, a date, or how long ago such as 15m",
            )
            .query(
                "before",
                text(),
                "Only older than this run: `next` of the page before",
            )
            .query("limit", count(MAX_RUNS, DEFAULT_RUNS), "How many")
            .answers("RunPage"),
        post(
            "/runs",
            "Ask for a run of a job; 200 when its idempotency key has been used before",
            start,
        )
        .takes("StartRun")
        .answers_with(201, "StartedRun")
        .answers("StartedRun"),
    ]
}

fn history_of_one() -> Vec<Endpoint> {
    let after = || json!({ "type": "integer", "minimum": 0, "default": 0 });
    vec![
        get(
            "/runs/{run}/history",
            "What happened to a run, in order",
            history,
        )
        .query("after", after(), "Only after this entry")
        .query("limit", count(MAX_EVENTS, MAX_EVENTS), "How many")
        .answers("History"),
        get("/runs/{run}/logs", "What a run logged, in order", logs)
            .query("after", after(), "Only after this event")
            .query(
                "attempt",
                json!({ "type": "integer", "minimum": 1 }),
                "Only of this attempt",
            )
            .query(
                "limit",
                count(MAX_EVENTS, MAX_EVENTS),
                "Of how many events; each has some lines",
            )
            .query(
                "follow",
                flag(),
                "Answer a stream that ends when the run has ended",
            )
            .answers("Logs")
            .streams(),
    ]
}

fn of_one() -> Vec<Endpoint> {
    vec![
        get(
            "/runs/{run}",
            "Show a run with its attempts, steps and history",
            show,
        )
        .answers("ShownRun"),
        delete(
            "/runs/{run}",
            "Delete a run with all that is known of it; answers it as it was",
            forget,
        )
        .query("force", flag(), "Also while it runs")
        .answers("Run"),
        post(
            "/runs/{run}/cancel",
            "Cancel a run; one that runs is ended by its worker",
            cancel,
        )
        .answers("Run"),
        post(
            "/runs/{run}/retry",
            "Run again what has failed, was cancelled or skipped",
            retry,
        )
        .takes("Again")
        .answers("Run"),
    ]
}

async fn list(State(door): State<Door>, query: Query) -> Result<Json<RunPage>, Refusal> {
    let text = |name| query.text(name).map(str::to_owned);
    let filter = RunFilter {
        job: text("job"),
        states: query.list("state"),
        since: text("since"),
        before: text("before"),
        limit: query.number("limit")?.unwrap_or(DEFAULT_RUNS),
    };
    Ok(Json(door.admin.list_runs(&filter).await?))
}

async fn start(State(door): State<Door>, Body(body): Body<Start>) -> Result<Response, Refusal> {
    let Start {
        job,
        params,
        options,
    } = body;
    let started = door.admin.start_job(&job, &params, &options, Source::Api);
    let started = started.await?;
    Ok((made(started.is_new), Json(started)).into_response())
}

/// 201 for what is new, 200 for what was there.
pub(crate) fn made(is_new: bool) -> StatusCode {
    match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    }
}

async fn show(
    State(door): State<Door>,
    Path(run): Path<String>,
) -> Result<Json<ShownRun>, Refusal> {
    Ok(Json(door.admin.show_run(&run).await?))
}

async fn forget(
    State(door): State<Door>,
    Path(run): Path<String>,
    query: Query,
) -> Result<Json<RunLine>, Refusal> {
    let force = query.flag("force")?;
    Ok(Json(door.admin.delete_run(&run, force).await?))
}

async fn history(
    State(door): State<Door>,
    Path(run): Path<String>,
    query: Query,
) -> Result<Json<History>, Refusal> {
    let after = query.number("after")?.unwrap_or(0);
    let limit = limit(&query)?;
    let events = door.admin.run_history(&run, after, limit).await?;
    Ok(Json(History { events }))
}

async fn logs(
    State(door): State<Door>,
    Path(run): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = query.number("after")?.unwrap_or(0);
    let (attempt, limit) = (query.number("attempt")?, limit(&query)?);
    if query.flag("follow")? {
        return follow::follow(&door, run, attempt, after, &headers).await;
    }
    let lines = door.admin.run_logs(&run, attempt, after, limit).await?;
    Ok(Json(Logs { lines }).into_response())
}

fn limit(query: &Query) -> Result<u32, Refusal> {
    match query.number("limit")?.unwrap_or(MAX_EVENTS) {
        limit if (1..=MAX_EVENTS).contains(&limit) => Ok(limit),
        _ => Err(Refusal::Wrong(format!("limit: must be 1 to {MAX_EVENTS}"))),
    }
}

async fn cancel(
    State(door): State<Door>,
    Path(run): Path<String>,
) -> Result<Json<RunLine>, Refusal> {
    Ok(Json(door.admin.cancel_run(&run).await?))
}

async fn retry(
    State(door): State<Door>,
    Path(run): Path<String>,
    Body(again): Body<Again>,
) -> Result<Json<RunLine>, Refusal> {
    Ok(Json(door.admin.retry_run(&run, again.afresh).await?))
}
