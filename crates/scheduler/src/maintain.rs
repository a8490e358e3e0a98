//! Shows how runs flow, and forgets what is over and old.

use std::time::Duration;

use metrics::gauge;
use tidegate_job_log::JobLog;
use tokio_util::sync::CancellationToken;

use crate::{Config, chain, metric_names};

const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// Counting the dead reads them all.
const DEAD_INTERVAL: Duration = Duration::from_secs(60);

const FORGET_INTERVAL: Duration = Duration::from_secs(600);

/// Works until `shutdown`. What fails is logged and tried again at the next tick.
pub(crate) async fn maintain(config: &Config, log: &JobLog, shutdown: &CancellationToken) {
    let (measured, counted) = (log.clone(), log.clone());
    let (forgotten, keep) = (log.clone(), config.keep);
    let measuring = tidegate_queue::every(
        "job metrics",
        MEASURE_INTERVAL,
        move || measure(measured.clone()),
        shutdown.clone().cancelled_owned(),
    );
    let counting = tidegate_queue::every(
        "dead runs",
        DEAD_INTERVAL,
        move || count_dead(counted.clone()),
        shutdown.clone().cancelled_owned(),
    );
    let forgetting = tidegate_queue::every(
        "job history",
        FORGET_INTERVAL,
        move || forget(forgotten.clone(), keep),
        shutdown.clone().cancelled_owned(),
    );
    tokio::join!(measuring, counting, forgetting);
}

async fn measure(log: JobLog) -> Result<(), String> {
    let snapshot = log.snapshot().await.map_err(|error| chain(&error))?;
    let states = [
        ("waiting", snapshot.waiting),
        ("pending", snapshot.pending),
        ("paused", snapshot.parked),
        ("blocked", snapshot.blocked),
        ("queued", snapshot.queued),
        ("running", snapshot.running),
    ];
    for (state, runs) in states {
        gauge!(metric_names::RUNS, "state" => state).set(runs as f64);
    }
    gauge!(metric_names::QUEUE_AGE).set(snapshot.oldest_due.as_secs_f64());
    gauge!(metric_names::SCHEDULE_LAG).set(snapshot.schedule_lateness.as_secs_f64());
    Ok(())
}

async fn count_dead(log: JobLog) -> Result<(), String> {
    let dead = log.dead_runs().await.map_err(|error| chain(&error))?;
    gauge!(metric_names::DEAD).set(dead as f64);
    Ok(())
}

async fn forget(log: JobLog, keep: Duration) -> Result<(), String> {
    let deleted = log
        .delete_expired(keep)
        .await
        .map_err(|error| chain(&error))?;
    if deleted > 0 {
        tracing::info!(runs = deleted, "deleted runs that ended long ago");
    }
    Ok(())
}
