#![doc = include_str!("../README.md")]
//!
//! Layout: `lead` takes the lead and holds the four tasks of a leader: `fire` (schedules), `promote` (runs), `watch`
//! (workers), `maintain` (metrics and retention); `mirror` makes schedules of `_JobSchedule` rows.

mod error;
mod fire;
mod lead;
mod maintain;
pub mod metric_names;
mod mirror;
mod promote;
mod watch;

use std::time::Duration;

use tidegate_job_log::JobLog;
use tidegate_queue::runs::RunQueue;
use tokio_util::sync::CancellationToken;

use crate::error::chain;
pub use error::Error;

/// What the scheduler needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most run ids in each of the queue's three streams. What is behind waits in Postgres, where a more urgent run still
    /// overtakes it.
    pub max_queued: u32,
    /// A worker whose beat has not moved for this long is lost.
    pub worker_lease: Duration,
    /// How often a process that does not lead tries to.
    pub standby_interval: Duration,
    /// How long ended runs and their history are kept.
    pub keep: Duration,
}

/// Schedules until `shutdown`, whenever this process is the one that leads.
///
/// # Errors
/// Only what a human must decide: rows that cannot be read, a missing privilege.
pub async fn run(
    config: Config,
    log: JobLog,
    queue: RunQueue,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    while !shutdown.is_cancelled() {
        let wait = match lead::lead(&config, &log, &queue, &shutdown).await {
            Ok(()) => config.standby_interval,
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = chain(&error),
                    "scheduling was interrupted; trying again"
                );
                Duration::from_millis(500)
            }
            Err(error) => return Err(error),
        };
        let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
    }
    Ok(())
}
