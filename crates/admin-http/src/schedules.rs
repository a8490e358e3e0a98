//! Schedules: what there is, changing them, and what they would do.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_admin::{
    Fire, MAX_PREVIEW_ROWS, MAX_SCHEDULES, Preview, ScheduleLine, SchedulePage, SimulateRequest,
    SimulationView, Target, Triggered, preview_options, simulate_options,
};

use crate::ask::{Body, Query};
use crate::endpoint::{Endpoint, delete, get, patch, post};
use crate::refusal::Refusal;
use crate::runs::made;
use crate::{BY, Door};

const DEFAULT_SCHEDULES: u32 = 100;
const DEFAULT_PREVIEW_ROWS: u32 = 10;

/// Below /schedules these are other things than schedules.
const RESERVED: [&str; 2] = ["preview", "simulate"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    job: Option<String>,
    workflow: Option<String>,
    #[serde(default)]
    options: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    job: Option<String>,
    workflow: Option<String>,
    #[serde(default)]
    options: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskPreview {
    #[serde(default)]
    options: Value,
    at: Option<String>,
    count: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskSimulation {
    /// Of an expression all of them; of a schedule those that take the place of its own.
    #[serde(default)]
    options: Value,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    outages: Vec<String>,
    takes: Option<String>,
}

#[derive(Serialize)]
struct Fires {
    fires: Vec<Fire>,
}

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let mut all = rows();
    all.extend(steering());
    all.extend(times());
    all
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn count(most: u32, default: u32) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": default })
}

/// What there is, and changing it.
fn rows() -> Vec<Endpoint> {
    vec![
        get("/schedules", "List schedules, by name", list)
            .query(
                "after",
                text(),
                "Only after this name: `next` of the page before",
            )
            .query("limit", count(MAX_SCHEDULES, DEFAULT_SCHEDULES), "How many")
            .answers("SchedulePage"),
        post("/schedules", "Make a schedule", create)
            .takes("CreateSchedule")
            .answers_with(201, "Schedule"),
        get("/schedules/{schedule}", "Show a schedule", show).answers("Schedule"),
        patch(
            "/schedules/{schedule}",
            "Change a schedule; an option that is null is taken away",
            edit,
        )
        .takes("EditSchedule")
        .answers("Schedule"),
        delete(
            "/schedules/{schedule}",
            "Delete a schedule; answers it as it was",
            remove,
        )
        .answers("Schedule"),
    ]
}

fn steering() -> Vec<Endpoint> {
    vec![
        post(
            "/schedules/{schedule}/pause",
            "Keep a schedule from firing",
            pause,
        )
        .answers("Schedule"),
        post(
            "/schedules/{schedule}/resume",
            "Let a paused schedule fire again",
            resume,
        )
        .answers("Schedule"),
        post(
            "/schedules/{schedule}/trigger",
            "Fire a schedule now, whatever its times",
            trigger,
        )
        .answers_with(201, "Triggered"),
    ]
}

/// When they fire, and when they fired.
fn times() -> Vec<Endpoint> {
    vec![
        post(
            "/schedules/preview",
            "List the next due times that options would have",
            preview,
        )
        .takes("AskPreview")
        .answers("Preview"),
        post(
            "/schedules/simulate",
            "Say what the policies of options would do over a period with outages",
            simulate,
        )
        .takes("AskSimulation")
        .answers("Simulation"),
        get(
            "/schedules/{schedule}/preview",
            "List the next due times of a schedule",
            preview_named,
        )
        .query(
            "at",
            text(),
            "From then on: a time or a date, without offset in the schedule's zone; by default now",
        )
        .query(
            "count",
            count(MAX_PREVIEW_ROWS, DEFAULT_PREVIEW_ROWS),
            "How many",
        )
        .answers("Preview"),
        post(
            "/schedules/{schedule}/simulate",
            "Say what the policies of a schedule would do over a period with outages",
            simulate_named,
        )
        .takes("AskSimulation")
        .answers("Simulation"),
        get(
            "/schedules/{schedule}/history",
            "List what became of due times, the latest first",
            history,
        )
        .query(
            "before",
            text(),
            "Only due before then: `dueAt` of the last of the page before",
        )
        .query("limit", count(MAX_SCHEDULES, DEFAULT_SCHEDULES), "How many")
        .answers("Fires"),
    ]
}

async fn list(State(door): State<Door>, query: Query) -> Result<Json<SchedulePage>, Refusal> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_SCHEDULES);
    let page = door.admin.list_schedules(query.text("after"), limit);
    Ok(Json(page.await?))
}

async fn create(State(door): State<Door>, Body(body): Body<Create>) -> Result<Response, Refusal> {
    if RESERVED.contains(&body.name.as_str()) {
        let message = format!("name: {:?} is a path of this API; take another", body.name);
        return Err(Refusal::Wrong(message));
    }
    let target = target(body.job, body.workflow)?.ok_or_else(no_target)?;
    let line = door
        .admin
        .create_schedule(&body.name, target, &body.options);
    Ok((made(true), Json(line.await?)).into_response())
}

fn no_target() -> Refusal {
    Refusal::Wrong("job: is missing; name the job or the workflow that it starts".to_owned())
}

/// None: neither is given.
fn target(job: Option<String>, workflow: Option<String>) -> Result<Option<Target>, Refusal> {
    match (job, workflow) {
        (None, None) => Ok(None),
        (Some(job), None) => Ok(Some(Target::Job(job))),
        (None, Some(workflow)) => Ok(Some(Target::Workflow(workflow))),
        (Some(_), Some(_)) => Err(Refusal::Wrong(
            "workflow: a schedule starts a job or a workflow, not both".to_owned(),
        )),
    }
}

async fn show(
    State(door): State<Door>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleLine>, Refusal> {
    Ok(Json(door.admin.schedule(&name).await?))
}

async fn edit(
    State(door): State<Door>,
    Path(name): Path<String>,
    Body(body): Body<Edit>,
) -> Result<Json<ScheduleLine>, Refusal> {
    let target = target(body.job, body.workflow)?;
    let line = door.admin.edit_schedule(&name, target, &body.options);
    Ok(Json(line.await?))
}

async fn remove(
    State(door): State<Door>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleLine>, Refusal> {
    Ok(Json(door.admin.delete_schedule(&name).await?))
}

async fn pause(
    State(door): State<Door>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleLine>, Refusal> {
    Ok(Json(door.admin.pause_schedule(&name, BY).await?))
}

async fn resume(
    State(door): State<Door>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleLine>, Refusal> {
    Ok(Json(door.admin.resume_schedule(&name).await?))
}

async fn trigger(
    State(door): State<Door>,
    Path(name): Path<String>,
) -> Result<(axum::http::StatusCode, Json<Triggered>), Refusal> {
    let triggered = door.admin.trigger_schedule(&name).await?;
    Ok((made(true), Json(triggered)))
}

async fn preview_named(
    State(door): State<Door>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Preview>, Refusal> {
    let count = query.number("count")?.unwrap_or(DEFAULT_PREVIEW_ROWS);
    let preview = door.admin.preview_schedule(&name, query.text("at"), count);
    Ok(Json(preview.await?))
}

async fn preview(Body(ask): Body<AskPreview>) -> Result<Json<Preview>, Refusal> {
    let count = ask.count.unwrap_or(DEFAULT_PREVIEW_ROWS);
    let preview = preview_options(&ask.options, ask.at.as_deref(), count)?;
    Ok(Json(preview))
}

async fn simulate_named(
    State(door): State<Door>,
    Path(name): Path<String>,
    Body(ask): Body<AskSimulation>,
) -> Result<Json<SimulationView>, Refusal> {
    let (request, changes) = simulation(ask);
    let request = SimulateRequest { changes, ..request };
    Ok(Json(door.admin.simulate_schedule(&name, &request).await?))
}

async fn simulate(Body(ask): Body<AskSimulation>) -> Result<Json<SimulationView>, Refusal> {
    let (request, options) = simulation(ask);
    Ok(Json(simulate_options(&options, &request)?))
}

/// What is asked, and the options with it.
fn simulation(ask: AskSimulation) -> (SimulateRequest, Value) {
    let request = SimulateRequest {
        from: ask.from,
        to: ask.to,
        outages: ask.outages,
        takes: ask.takes,
        changes: Value::Null,
    };
    (request, ask.options)
}

async fn history(
    State(door): State<Door>,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Fires>, Refusal> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_SCHEDULES);
    let fires = door
        .admin
        .schedule_history(&name, query.text("before"), limit);
    Ok(Json(Fires {
        fires: fires.await?,
    }))
}
