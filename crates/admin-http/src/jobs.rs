//! Jobs and the queue of all of them.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use tidegate_admin::{JobLine, QueueLine, RetriedRuns};

use crate::ask::Body;
use crate::endpoint::{Endpoint, get, post};
use crate::refusal::Refusal;
use crate::{BY, Door};

#[derive(Serialize)]
struct Jobs {
    jobs: Vec<JobLine>,
}

/// How something is run again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Again {
    #[serde(default)]
    pub afresh: bool,
}

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/jobs", "List jobs, with what stands in their way", list).answers("Jobs"),
        get("/jobs/{job}", "Show a job", show).answers("Job"),
        post(
            "/jobs/{job}/pause",
            "Keep runs of a job from beginning",
            pause,
        )
        .answers("Job"),
        post("/jobs/{job}/resume", "Let a paused job go on", resume).answers("Job"),
        post(
            "/jobs/{job}/retry",
            "Run all failed runs of a job again",
            retry,
        )
        .takes("Again")
        .answers("RetriedRuns"),
        get("/queue", "Say how all jobs together stand", queue).answers("Queue"),
        post(
            "/queue/pause",
            "Keep runs of all jobs from beginning",
            pause_queue,
        )
        .answers("Queue"),
        post("/queue/resume", "Let all jobs go on", resume_queue).answers("Queue"),
    ]
}

async fn list(State(door): State<Door>) -> Result<Json<Jobs>, Refusal> {
    let jobs = door.admin.list_jobs().await?;
    Ok(Json(Jobs { jobs }))
}

async fn show(State(door): State<Door>, Path(job): Path<String>) -> Result<Json<JobLine>, Refusal> {
    Ok(Json(door.admin.job(&job).await?))
}

async fn pause(
    State(door): State<Door>,
    Path(job): Path<String>,
) -> Result<Json<JobLine>, Refusal> {
    Ok(Json(door.admin.pause_job(&job, BY).await?))
}

async fn resume(
    State(door): State<Door>,
    Path(job): Path<String>,
) -> Result<Json<JobLine>, Refusal> {
    Ok(Json(door.admin.resume_job(&job).await?))
}

async fn retry(
    State(door): State<Door>,
    Path(job): Path<String>,
    Body(again): Body<Again>,
) -> Result<Json<RetriedRuns>, Refusal> {
    Ok(Json(door.admin.retry_dead(&job, again.afresh).await?))
}

async fn queue(State(door): State<Door>) -> Result<Json<QueueLine>, Refusal> {
    Ok(Json(door.admin.queue().await?))
}

async fn pause_queue(State(door): State<Door>) -> Result<Json<QueueLine>, Refusal> {
    Ok(Json(door.admin.pause_queue(BY).await?))
}

async fn resume_queue(State(door): State<Door>) -> Result<Json<QueueLine>, Refusal> {
    Ok(Json(door.admin.resume_queue().await?))
}
