#![doc = include_str!("../README.md")]
//!
//! Layout: `deliver` is the path, on one screen; `payload` reads what the queue gave; `suspect` and `missing` are what
//! may keep a delivery from being run; `webhook` calls endpoints; `attempt` and `retry` decide what follows, both pure;
//! `record` commits outcomes in groups; `report` is metrics and log lines; `leases` lends the log's lane leases to the
//! queue. [`jobs`] is the other kind of work: runs of jobs.

mod attempt;
mod deliver;
mod error;
pub mod jobs;
mod leases;
pub mod metric_names;
mod missing;
mod payload;
mod record;
mod report;
mod retry;
mod suspect;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use tidegate_event::TriggerSet;
use tidegate_event_log::EventLog;
use tidegate_queue::{ConsumerConfig, LIMITED_LANES, Queue};
use tidegate_write_path::WritePath;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use jobs::run_jobs;
pub use retry::RetryPolicy;
pub use webhook::{Sender, Webhook, Webhooks};

/// The triggers that there are, those of the code and webhooks, with their policies.
pub type Triggers = watch::Receiver<TriggerSet>;

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Unique among all workers, also over restarts: a lease belongs to a name.
    pub name: String,
    /// Most handlers that run at once.
    pub concurrency: usize,
    /// Most deliveries held in memory, running ones included.
    pub max_buffered: usize,
    /// As the queue's, without those for limited deliveries.
    pub lanes: u16,
    /// A lease that is not renewed ends after this long, and another worker takes the lane.
    pub lane_lease: Duration,
    /// For triggers whose policy says nothing else, as is `retry`.
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
    webhooks: Sender,
    triggers: Triggers,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let lanes = log
        .lanes(
            &config.name,
            config.lanes + LIMITED_LANES,
            config.lane_lease,
        )
        .await?;
    let paused = log.watch_paused().await?;
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
        webhooks,
        recorder,
        triggers,
        paused,
        missing: missing::Missing::default(),
        suspects: suspect::Suspects::new(config.concurrency),
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
