//! Runs one delivery: the service that apalis calls for each task.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::task::Task;
use tower::Service;
use tracing::Instrument;

use crate::abort::AbortOnDrop;
use crate::delivery::{Received, Verdict};
use crate::gate::{Slot, Taken};
use crate::intake::Intake;

/// When to try a delivery again whose handler panicked or was dropped. A handler decides about
/// failures of its own.
const RETRY_AFTER_LOSS: Duration = Duration::from_secs(1);

/// Calls the handler, in a tokio task of its own so that handlers use every core, and settles with
/// its verdict.
#[derive(Clone)]
pub(crate) struct Run<H> {
    pub(crate) intake: Arc<Intake>,
    pub(crate) handler: H,
}

impl<H, F> Service<Task<Taken>> for Run<H>
where
    H: Fn(Received) -> F + Clone + Send + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Taken>) -> Running {
        let Taken { slot, received } = task.args;
        let span = tracing::debug_span!(
            "delivery",
            log.offset = received.delivery.log_offset,
            queue.lane = slot.lane,
        );
        let handler = self.handler.clone();
        let handling = async move { handler(received).await };
        Running {
            intake: self.intake.clone(),
            unsettled: Some(slot),
            handling: AbortOnDrop(tokio::spawn(handling.instrument(span))),
        }
    }
}

/// A handler under way. Dropped before its end, it ends the handler, and the delivery is tried
/// again.
pub(crate) struct Running {
    intake: Arc<Intake>,
    unsettled: Option<Slot>,
    handling: AbortOnDrop<Verdict>,
}

impl Future for Running {
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handling).poll(cx).map(|ended| {
            let verdict = ended.unwrap_or_else(|error| {
                tracing::error!(%error, "a delivery's handler did not end well; it is tried again");
                Verdict::Retry {
                    after: RETRY_AFTER_LOSS,
                }
            });
            if let Some(slot) = self.unsettled.take() {
                self.intake.settle(&slot, verdict);
            }
            Ok(())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(slot) = self.unsettled.take() {
            self.intake.orphan(&slot, RETRY_AFTER_LOSS);
        }
    }
}
