//! Wires up a consumer: four tasks around the gate, and apalis's worker in the middle.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::acknowledger;
use crate::backend::LaneBackend;
use crate::config::ConsumerConfig;
use crate::delivery::{Received, Verdict};
use crate::error::Error;
use crate::intake::Intake;
use crate::lease::{Keeper, LaneLeases};
use crate::queue::Queue;
use crate::reader::Reader;
use crate::refetcher;
use crate::run::Run;
use crate::worker::{Settings, work};

/// Runs deliveries of the leased lanes until `shutdown` resolves, then drains: takes no more, lets
/// handlers end within `drain_timeout`, sends the last acknowledgements, gives the lanes back.
///
/// The handler is called with at most `concurrency` deliveries at once, and per order key with one
/// at a time, in order. It answers [`Verdict::Done`] only when the outcome is recorded. If it
/// panics, the delivery is tried again a second later. A lost Redis or lost leases pause the
/// consumer and do not end it.
///
/// # Errors
/// [`Error::Config`]: the config cannot work. [`Error::WorkerEnded`]: a bug; end the process.
pub async fn consume<H, F>(
    queue: Queue,
    config: ConsumerConfig,
    leases: Arc<dyn LaneLeases>,
    handler: H,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error>
where
    H: Fn(Received) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    check(&config)?;
    let (intake, ended) = Intake::new(config.max_buffered, config.concurrency);
    let intake = Arc::new(intake);
    let (granted, grants) = watch::channel(Vec::new());
    let reader = Reader::new(queue.clone(), intake.clone())?;

    let mut tasks = JoinSet::new();
    let reading = tasks.spawn(reader.run(grants));
    let refetching = tasks.spawn(refetcher::run(queue.clone(), intake.clone()));
    let acknowledging = tasks.spawn(acknowledger::run(queue, intake.clone(), ended));
    let (stop, stopped) = oneshot::channel();
    let keeper = Keeper {
        leases,
        intake: intake.clone(),
        granted,
        holds_until: None,
    };
    tasks.spawn(keeper.run(stopped));

    let worker_name = config.worker_name.clone();
    let settings = settings(config);
    let run = Run {
        intake: intake.clone(),
        handler,
    };
    let backend = move || LaneBackend::new(intake.clone());
    let shutdown = async {
        shutdown.await;
        reading.abort();
    };
    let result = tokio::select! {
        result = work(settings, backend, run, shutdown) => result,
        () = any_ends(&mut tasks) => Err(Error::WorkerEnded { worker_name }),
    };
    // The keeper renewed until now, so that what ran during the drain kept its lanes.
    drop(stop);
    for task in [reading, refetching, acknowledging] {
        task.abort();
    }
    while tasks.join_next().await.is_some() {}
    result
}

/// Resolves when a task has ended that nobody ended: it panicked, and nothing moves without it.
async fn any_ends(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        let is_asked_to_end = ended.as_ref().is_err_and(|error| error.is_cancelled());
        if !is_asked_to_end {
            tracing::error!(?ended, "a task of the consumer ended");
            return;
        }
    }
}

fn settings(config: ConsumerConfig) -> Settings {
    Settings {
        worker_name: config.worker_name,
        concurrency: config.concurrency,
        drain_timeout: config.drain_timeout,
    }
}

fn check(config: &ConsumerConfig) -> Result<(), Error> {
    if config.concurrency == 0 || config.max_buffered == 0 {
        return Err(Error::Config {
            reason: "concurrency and max_buffered are at least 1".into(),
        });
    }
    Ok(())
}
