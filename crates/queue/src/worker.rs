//! apalis's worker and monitor around a backend of ours, to their end.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::layers::Identity;
use apalis_core::monitor::Monitor;
use apalis_core::task::Task;
use apalis_core::worker::builder::WorkerBuilder;
use tower::Service;
use tower::limit::ConcurrencyLimitLayer;

use crate::error::Error;

/// Panics of the worker itself, not of handlers, after which we give up. Every one is a bug.
const MAX_RESTARTS: usize = 5;

/// What apalis is told.
pub(crate) struct Settings {
    pub(crate) worker_name: String,
    pub(crate) concurrency: usize,
    pub(crate) drain_timeout: Duration,
}

/// Runs what `backend` yields until `shutdown` resolves; then takes no more, and lets what runs end
/// within the drain time-out. `backend` is called again for a worker that panicked.
///
/// # Errors
/// [`Error::WorkerEnded`]: it ended though nobody asked it to.
pub(crate) async fn work<B, S, T>(
    settings: Settings,
    backend: impl Fn() -> B + Send + Sync + 'static,
    service: S,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error>
where
    T: Send + 'static,
    B: Backend<Task = Task<T>, Error = Infallible> + BackendConfig<Args = T, Layer = Identity>,
    B: BackendConfig<Kind = Ephemeral> + Send + Unpin + 'static,
    S: Service<Task<T>, Response = (), Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let Settings {
        worker_name,
        concurrency,
        drain_timeout,
    } = settings;
    let name = worker_name.clone();
    let worker = move |_restarts| {
        WorkerBuilder::new(name.clone())
            .backend(backend())
            .layer(ConcurrencyLimitLayer::new(concurrency))
            .build(service.clone())
    };
    let is_asked_to_end = AtomicBool::new(false);
    let signal = async {
        shutdown.await;
        is_asked_to_end.store(true, Ordering::Relaxed);
        Ok(())
    };
    let monitor = Monitor::new()
        .with_terminator(async move { tokio::time::sleep(drain_timeout).await })
        .should_restart(|worker, _| worker.restarts() < MAX_RESTARTS)
        .register(worker);
    if let Err(error) = monitor.run_with_signal(signal).await {
        tracing::error!(%error, "the queue worker failed");
    }
    match is_asked_to_end.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err(Error::WorkerEnded { worker_name }),
    }
}
