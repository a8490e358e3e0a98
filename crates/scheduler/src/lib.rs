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
use error::Error;

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

/// Schedules until `shutdown`, whenever this process is the one that leads. Whatever fails is reported and tried again: a
/// row that cannot be read, or a missing privilege, must end neither the clock nor the server.
pub async fn run(config: Config, log: JobLog, queue: RunQueue, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = lead::lead(&config, &log, &queue, &shutdown).await {
            lead::report("scheduling", &error);
        }
        let _ = tokio::time::timeout(config.standby_interval, shutdown.cancelled()).await;
    }
}
