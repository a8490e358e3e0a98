//! Wires up a consumer of runs: three tasks, and apalis's worker behind them.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::error::Error;
use crate::runs::backend::{Run, RunBackend};
use crate::runs::claimer::{Claimer, Held};
use crate::runs::reader::{Outlets, Reader};
use crate::runs::{Claims, Ready, RunConsumerConfig, RunQueue, acknowledger, consumer_name};
use crate::worker::{Settings, work};

/// How long shutdown waits for the claim under way. What it decides after that is lost with the lease.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);

/// How long the end waits for the last acknowledgements and for what is handed back. Beyond it, other consumers take the
/// entries over.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// The most ids that a consumer may be told to hold. Beyond it, memory and claims grow and nothing gets faster.
const MAX_HELD: usize = 100_000;

/// Runs what `claims` grants until `shutdown` resolves, then drains: reads no more, hands back at once the ids that were
/// read and not claimed, and lets handlers end within `drain_timeout`. A handler that does not is dropped.
///
/// The handler is called with at most `concurrency` runs at once, and records the outcome itself; what it does not record
/// is for the lease in Postgres to find. If it panics, that is logged, and nothing else happens. A lost Redis, and a
/// claim that fails, pause the consumer and do not end it.
///
/// # Errors
/// [`Error::Config`]: the config cannot work. [`Error::WorkerEnded`]: a bug; end the process.
pub async fn consume_runs<C, H, F>(
    queue: RunQueue,
    config: RunConsumerConfig,
    claims: Arc<C>,
    handler: H,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error>
where
    C: Claims,
    H: Fn(C::Claimed) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    check(&config)?;
    let (ready, claimed) = mpsc::channel(config.concurrency);
    let mut tasks = JoinSet::new();
    let intake = start(&mut tasks, queue, &config, claims, ready)?;
    let claimed = Arc::new(Mutex::new(claimed));
    let backend = move || RunBackend::new(claimed.clone());
    let worker_name = config.worker_name.clone();
    let settings = Settings {
        worker_name: config.worker_name,
        concurrency: config.concurrency,
        drain_timeout: config.drain_timeout,
    };
    let shutdown = async {
        shutdown.await;
        intake.end().await;
    };
    let result = tokio::select! {
        result = work(settings, backend, Run { handler }, shutdown) => result,
        () = any_panics(&mut tasks) => Err(Error::WorkerEnded { worker_name }),
    };
    if result.is_ok() {
        let left = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LEAVE_LIMIT, left).await.is_err() {
            tracing::warn!("redis does not take what is handed back; other consumers take it over");
        }
    }
    tasks.shutdown().await;
    result
}

/// The tasks that bring runs to the worker.
struct Intake<T> {
    reading: AbortHandle,
    claiming: AbortHandle,
    stop: watch::Sender<bool>,
    ready: mpsc::Sender<Ready<T>>,
    concurrency: usize,
}

/// Starts the tasks around the worker.
fn start<C: Claims>(
    tasks: &mut JoinSet<()>,
    queue: RunQueue,
    config: &RunConsumerConfig,
    claims: Arc<C>,
    ready: mpsc::Sender<Ready<C::Claimed>>,
) -> Result<Intake<C::Claimed>, Error> {
    let consumer = consumer_name(&config.worker_name);
    let slots = Arc::new(Semaphore::new(config.concurrency));
    let (read, to_claim) = mpsc::unbounded_channel();
    let (decided, to_remove) = mpsc::unbounded_channel();
    let (works, claims_work) = watch::channel(true);
    let (stop, stopped) = watch::channel(false);
    let outlets = Outlets {
        read,
        decided: decided.clone(),
    };
    let reader = Reader::new(
        queue.clone(),
        consumer.clone(),
        slots.clone(),
        config.prefetch,
        claims_work,
        outlets,
    )?;
    let claimer = Claimer {
        claims,
        slots,
        read: to_claim,
        ready: ready.clone(),
        decided,
        works,
        held: Held::default(),
    };
    let intake = Intake {
        reading: tasks.spawn(reader.run()),
        claiming: tasks.spawn(claimer.run(stopped)),
        stop,
        ready,
        concurrency: config.concurrency,
    };
    tasks.spawn(acknowledger::run(queue, consumer, to_remove));
    Ok(intake)
}

impl<T> Intake<T> {
    /// Reads no more, claims no more, and waits until the worker has taken what is claimed. The acknowledger notices by
    /// itself that nothing decides any more, and hands back.
    async fn end(&self) {
        self.reading.abort();
        self.stop.send_replace(true);
        let at_rest = async {
            // The claimer is the one that listens.
            self.stop.closed().await;
            // All of the channel is free when the worker has taken everything.
            drop(self.ready.reserve_many(self.concurrency).await);
        };
        if tokio::time::timeout(CLAIM_LIMIT, at_rest).await.is_err() {
            tracing::warn!("a claim of runs has no answer; they are handed back");
            self.claiming.abort();
        }
    }
}

/// Resolves when a task has panicked: nothing moves without it.
async fn any_panics(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%error, "a task of the consumer of runs ended");
            return;
        }
    }
    std::future::pending().await
}

fn check(config: &RunConsumerConfig) -> Result<(), Error> {
    let held = config.concurrency.saturating_add(config.prefetch);
    let reason = match config.concurrency {
        0 => "concurrency is at least 1",
        _ if held > MAX_HELD => "concurrency and prefetch are at most 100000 together",
        _ => return Ok(()),
    };
    Err(Error::Config {
        reason: reason.into(),
    })
}
