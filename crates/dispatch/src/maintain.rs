//! Keeps the log's partitions: makes those of the coming days, drops those that are over.

use std::time::Duration;

use tidegate_event::report::chain;
use tidegate_event_log::EventLog;
use tidegate_event_log::retention::DAYS_AHEAD;
use tokio_util::sync::CancellationToken;

use crate::Config;

const INTERVAL: Duration = Duration::from_secs(3600);

/// Maintains the log now and every hour until `shutdown`. What fails is logged and tried again an hour later.
pub(crate) async fn maintain(config: &Config, log: &EventLog, shutdown: &CancellationToken) {
    let keep_days = config.keep_days;
    if let Err(error) = once(log.clone(), keep_days).await {
        tracing::warn!(error, "cannot maintain the event log");
    }
    let log = log.clone();
    let tick = move || once(log.clone(), keep_days);
    tidegate_queue::every(
        "event log maintenance",
        INTERVAL,
        tick,
        shutdown.clone().cancelled_owned(),
    )
    .await;
}

async fn once(log: EventLog, keep_days: u32) -> Result<(), String> {
    let maintained = async {
        log.ensure_partitions(DAYS_AHEAD).await?;
        log.drop_expired(keep_days).await
    };
    for partition in maintained
        .await
        .map_err(|error: tidegate_event_log::Error| chain(&error))?
    {
        tracing::info!(partition, "dropped a partition of the event log");
    }
    Ok(())
}
