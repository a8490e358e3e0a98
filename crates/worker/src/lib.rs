#![doc = include_str!("../README.md")]
//!
//! Layout: `deliver` is the path, on one screen; `record` commits
//! outcomes in groups; `retry` is the policy, pure; `leases` lends the log's lane leases to the queue.

mod deliver;
mod error;
mod leases;
pub mod metric_names;
mod record;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use tidegate_event_log::EventLog;
use tidegate_queue::{ConsumerConfig, Queue};
use tidegate_write_path::WritePath;
use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use retry::RetryPolicy;

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Unique among all workers, also over restarts: a lease belongs to a name.
    pub name: String,
    /// Most handlers that run at once.
    pub concurrency: usize,
    /// Most deliveries held in memory, running ones included.
    pub max_buffered: usize,
    pub lanes: u16,
    /// A lease that is not renewed ends after this long, and another worker takes the lane.
    pub lane_lease: Duration,
    pub trigger_timeout: Duration,
    /// How long handlers may go on after shutdown; what is dropped then runs again elsewhere.
    pub drain_timeout: Duration,
    pub retry: RetryPolicy,
}

/// Works until `shutdown`, then finishes what runs and gives its lanes back.
///
/// # Errors
/// Only what a human must decide; a lost Postgres or Redis is waited for.
pub async fn run(
    config: Config,
    log: EventLog,
    queue: Queue,
    write_path: Arc<WritePath>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let lanes = log
        .lanes(&config.name, config.lanes, config.lane_lease)
        .await?;
    let consumer = ConsumerConfig {
        worker_name: config.name.clone(),
        concurrency: config.concurrency,
        max_buffered: config.max_buffered,
        drain_timeout: config.drain_timeout,
    };
    let (recorder, recording) = record::recorder(log.clone());
    let recording = tokio::spawn(recording);
    let deliverer = Arc::new(deliver::Deliverer {
        log,
        queue: queue.clone(),
        write_path,
        recorder,
        trigger_timeout: config.trigger_timeout,
        retry: config.retry.clone(),
    });
    let leases = Arc::new(leases::Leases {
        lanes: lanes.clone(),
    });
    let handler = move |received| {
        let deliverer = Arc::clone(&deliverer);
        async move { deliverer.deliver(received).await }
    };
    let consumed =
        tidegate_queue::consume(queue, consumer, leases, handler, shutdown.cancelled_owned()).await;
    // The recorder ends when the last handler, and with it the last sender, is gone.
    let _ = recording.await;
    lanes.leave().await?;
    Ok(consumed?)
}
