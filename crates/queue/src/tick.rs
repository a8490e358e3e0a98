//! Maintenance at a fixed interval, in this process: reconciling, retention, counting.
//!
//! apalis-cron makes the ticks, over an interval of our own. Users' schedules are rows in Postgres
//! and not driven by it: two schedulers would fire each twice, and a tick is lost while the process
//! is down.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis_core::monitor::Monitor;
use apalis_core::task::Task;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_cron::timezone::Utc;
use apalis_cron::{CronScheduler, Schedule, Tick};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower::Service;

use crate::abort::AbortOnDrop;

/// Calls `handler` every `period`, in whole seconds and at least one, for the first time one period
/// from now, until `shutdown` resolves; then a call under way is dropped.
///
/// A call that fails or panics is logged and the next tick comes as usual. While one goes on, ticks
/// are left out: there is never more than one at a time.
pub async fn every<H, F, E>(
    name: &'static str,
    period: Duration,
    handler: H,
    shutdown: impl Future<Output = ()> + Send,
) where
    H: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let interval = Interval {
        seconds: period.as_secs().max(1),
    };
    let run = RunTick {
        name,
        handler,
        busy: Arc::default(),
    };
    let worker = move |_restarts| {
        WorkerBuilder::new(name)
            .backend(CronScheduler::new(interval))
            .build(run.clone())
    };
    // apalis-cron ends its worker when a tick is in the past by the time it is polled for: after a
    // pause of the process or a step of the clock. A new worker counts from now.
    let monitor = Monitor::new()
        .with_terminator(async {})
        .should_restart(|_, _| true)
        .register(worker);
    let signal = async {
        shutdown.await;
        Ok(())
    };
    if let Err(error) = monitor.run_with_signal(signal).await {
        tracing::error!(%error, name, "maintenance ended");
    }
}

/// Ticks a fixed number of seconds after the last.
#[derive(Clone, Copy, Debug)]
struct Interval {
    seconds: u64,
}

impl Schedule<Utc> for Interval {
    fn next_tick(&mut self, _: &Utc) -> Option<Tick<Utc>> {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // To the nearest second: a tick that comes a little late does not put off the next, and
        // none is so near that it may be past when apalis-cron looks at the clock.
        let nearest = (since_epoch + Duration::from_millis(500)).as_secs();
        Some(Tick::new(nearest + self.seconds))
    }
}

/// The service that apalis-cron's worker calls at each tick. It is always ready: a tick that has to
/// wait would be past.
#[derive(Clone)]
struct RunTick<H> {
    name: &'static str,
    handler: H,
    /// Held while the handler runs.
    busy: Arc<tokio::sync::Mutex<()>>,
}

impl<H, F, E> Service<Task<Tick<Utc>>> for RunTick<H>
where
    H: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Task<Tick<Utc>>) -> Self::Future {
        let run = self.clone();
        async move {
            run.tick().await;
            Ok(())
        }
        .boxed()
    }
}

impl<H, F, E> RunTick<H>
where
    H: Fn() -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    async fn tick(self) {
        let name = self.name;
        let Ok(_busy) = self.busy.try_lock() else {
            tracing::debug!(name, "tick left out, the last one is still at work");
            return;
        };
        match AbortOnDrop(tokio::spawn((self.handler)())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, name, "maintenance failed, the next tick tries again")
            }
            Err(error) => tracing::error!(%error, name, "maintenance did not end well"),
        }
    }
}
