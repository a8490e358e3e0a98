//! Keeps the log's partitions: makes those of the coming days, drops those that are over; says how large the log is.

use std::time::Duration;

use metrics::gauge;
use tidegate_event::report::chain;
use tidegate_event_log::EventLog;
use tidegate_event_log::retention::DAYS_AHEAD;
use tokio_util::sync::CancellationToken;

use crate::{Config, metric_names};

const INTERVAL: Duration = Duration::from_secs(3600);

/// How often the size of the log is looked up.
const MEASURE_INTERVAL: Duration = Duration::from_secs(60);

/// Maintains the log now and every hour until `shutdown`. What fails is logged and tried again an hour later.
pub(crate) async fn maintain(config: &Config, log: &EventLog, shutdown: &CancellationToken) {
    let (keep_days, keep_dead_days) = (config.keep_days, config.keep_dead_days);
    if let Err(error) = once(log.clone(), keep_days, keep_dead_days).await {
        tracing::warn!(error, "cannot maintain the event log");
    }
    let (maintained, measured) = (log.clone(), log.clone());
    let maintaining = tidegate_queue::every(
        "event log maintenance",
        INTERVAL,
        move || once(maintained.clone(), keep_days, keep_dead_days),
        shutdown.clone().cancelled_owned(),
    );
    let measuring = tidegate_queue::every(
        "event log size",
        MEASURE_INTERVAL,
        move || measure(measured.clone(), keep_days),
        shutdown.clone().cancelled_owned(),
    );
    tokio::join!(maintaining, measuring);
}

async fn once(log: EventLog, keep_days: u32, keep_dead_days: u32) -> Result<(), String> {
    let maintained = async {
        log.ensure_partitions(DAYS_AHEAD).await?;
        let dropped = log.drop_expired(keep_days).await?;
        let given_up = log.prune_kept(keep_days, keep_dead_days).await?;
        Ok((dropped, given_up))
    };
    let (dropped, given_up) = maintained
        .await
        .map_err(|error: tidegate_event_log::Error| chain(&error))?;
    for partition in dropped {
        tracing::info!(partition, "dropped a partition of the event log");
    }
    if given_up > 0 {
        tracing::warn!(
            events = given_up,
            keep_dead_days,
            "deleted dead letters and held deliveries that were older than they are kept"
        );
    }
    measure(log, keep_days).await
}

async fn measure(log: EventLog, keep_days: u32) -> Result<(), String> {
    let size = log.size(keep_days).await.map_err(|error| chain(&error))?;
    gauge!(metric_names::LOG_BYTES).set(size.bytes as f64);
    gauge!(metric_names::LOG_OLDEST_SECONDS)
        .set(size.oldest.map_or(0.0, |oldest| oldest.as_secs_f64()));
    gauge!(metric_names::LOG_KEPT_EVENTS).set(size.kept_beyond as f64);
    Ok(())
}
