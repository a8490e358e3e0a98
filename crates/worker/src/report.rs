//! What is said of an attempt, in metrics and log lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::histogram;
use tidegate_event::Delivery;
use tidegate_event_log::Status;

use crate::metric_names;

pub(crate) fn report(
    delivery: &Delivery,
    status: Status,
    took: Duration,
    attempt: u32,
    failure: Option<&str>,
) {
    let labels = [
        ("trigger", delivery.trigger.to_string()),
        ("status", status.as_str().to_owned()),
    ];
    histogram!(metric_names::TRIGGER_SECONDS, &labels).record(took.as_secs_f64());
    let duration_ms = took.as_millis() as u64;
    match (status, failure) {
        (Status::Dead, Some(error)) => {
            tracing::error!(
                job.attempt = attempt,
                duration_ms,
                error,
                "an after-trigger failed for the last time"
            );
        }
        (_, Some(error)) => {
            tracing::warn!(
                job.attempt = attempt,
                duration_ms,
                error,
                "an after-trigger failed and will be tried again"
            );
        }
        (_, None) => tracing::debug!(job.attempt = attempt, duration_ms, "after-trigger done"),
    }
}

pub(crate) fn observe_latency(delivery: &Delivery) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let latency = (now - delivery.event.commit_time_us as f64 / 1e6).max(0.0);
    histogram!(metric_names::DELIVERY_LATENCY_SECONDS, "trigger" => delivery.trigger.to_string())
        .record(latency);
}
