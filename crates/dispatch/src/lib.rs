#![doc = include_str!("../README.md")]
//!
//! Layout: `lead` is the path, on one screen; `plan` and `backlog` are pure: which deliveries a batch of events makes, and
//! whether each is queued or held; `fill` does so; `drain` lets what is held go on; `look` and `settle` follow what is
//! finished; `operation` works on replays and backfills; `maintain` keeps the log's partitions.

mod backlog;
mod drain;
mod error;
mod fill;
mod lead;
mod look;
mod maintain;
pub mod metric_names;
mod operation;
mod plan;
mod settle;

use std::time::Duration;

use tidegate_event::TriggerSet;
use tidegate_event::report::chain;
use tidegate_event_log::EventLog;
use tidegate_queue::Queue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use error::Error;

/// What dispatch needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most events read from the log at once.
    pub batch_max_events: usize,
    /// Most deliveries waiting in the queue; above it, dispatch waits and the backlog stays in Postgres.
    pub max_queued: u64,
    /// Most bytes of payload waiting in the queue.
    pub max_queued_bytes: u64,
    /// How often settled deliveries are looked for, and how long to wait at most for a wake-up.
    pub settle_interval: Duration,
    /// How often a process that does not lead tries to.
    pub standby_interval: Duration,
    /// How many whole days the event log is kept.
    pub keep_days: u32,
    /// How many days unfinished events (dead letters, held ones) are kept.
    pub keep_dead_days: u32,
}

/// Dispatches until `shutdown`, whenever this process is the one that leads.
///
/// # Errors
/// Only what a human must decide: a stored event that cannot be read, a missing privilege.
pub async fn run(
    config: Config,
    log: EventLog,
    queue: Queue,
    triggers: watch::Receiver<TriggerSet>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    while !shutdown.is_cancelled() {
        let led = lead::lead(&config, &log, &queue, &triggers, &shutdown).await;
        let wait = match led {
            Ok(()) => config.standby_interval,
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = chain(&error),
                    "dispatch was interrupted; trying again"
                );
                Duration::from_millis(500)
            }
            Err(error) => return Err(error),
        };
        let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
    }
    Ok(())
}
