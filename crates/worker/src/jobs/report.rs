//! What is said of an attempt, in metrics and log lines.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tidegate_job::RunState;
use tidegate_job_log::{Claimed, Ending};

use super::ending::Verdict;
use crate::metric_names;

pub(crate) fn started(claimed: &Claimed) {
    gauge!(metric_names::JOBS_RUNNING).increment(1.0);
    histogram!(metric_names::JOB_START_LATENESS_SECONDS, "job" => claimed.job.clone())
        .record(claimed.waited.as_secs_f64());
}

pub(crate) fn ended(claimed: &Claimed, verdict: &Verdict, took: Duration) {
    gauge!(metric_names::JOBS_RUNNING).decrement(1.0);
    let (outcome, error) = described(verdict);
    let labels = [
        ("job", claimed.job.clone()),
        ("outcome", outcome.to_owned()),
    ];
    counter!(metric_names::JOB_ATTEMPTS, &labels).increment(1);
    histogram!(metric_names::JOB_SECONDS, &labels).record(took.as_secs_f64());
    let duration_ms = took.as_millis() as u64;
    match (outcome, error) {
        ("failed", error) => tracing::error!(duration_ms, error, "a job failed for the last time"),
        (_, Some(error)) => tracing::warn!(duration_ms, error, "a job failed; it is tried again"),
        (outcome, None) => tracing::debug!(duration_ms, outcome, "an attempt of a job is over"),
    }
}

/// What Postgres made of it.
pub(crate) fn recorded(state: Option<RunState>) {
    match state {
        Some(state) => tracing::debug!(%state, "recorded"),
        None => tracing::info!(
            "the end of this attempt is not recorded: the run is not this worker's any more"
        ),
    }
}

fn described(verdict: &Verdict) -> (&'static str, Option<&str>) {
    match verdict {
        Verdict::End(Ending::Succeeded { .. }) => ("succeeded", None),
        Verdict::End(Ending::Retry { error, .. }) => ("retry", Some(error)),
        Verdict::End(Ending::Crashed { error, .. }) => ("crashed", Some(error)),
        Verdict::End(Ending::Failed { error }) => ("failed", Some(error)),
        Verdict::End(Ending::Cancelled) => ("cancelled", None),
        Verdict::End(Ending::HandedBack) => ("handed_back", None),
        Verdict::Suspend(_) => ("suspended", None),
        Verdict::Nothing => ("lost", None),
    }
}
