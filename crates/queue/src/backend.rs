//! The queue as an apalis backend.
//!
//! apalis asks for a delivery whenever its concurrency limit has room, runs it, and on shutdown
//! waits for what runs before it closes the backend. All that talks to Redis happens in tasks of
//! their own (see [`crate::consume()`]), so that polling here never waits for the network and never
//! fails: an error would end apalis's worker.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::layers::Identity;
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::gate::Taken;
use crate::intake::Intake;

/// How long closing waits for the last acknowledgements. Beyond it the deliveries are repeated and
/// found done.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Yields what may run.
pub(crate) struct LaneBackend {
    intake: Arc<Intake>,
    /// The wait for the last acknowledgements, once closing has begun.
    closing: Option<BoxFuture<'static, ()>>,
}

impl LaneBackend {
    pub(crate) fn new(intake: Arc<Intake>) -> LaneBackend {
        LaneBackend {
            intake,
            closing: None,
        }
    }
}

impl Backend for LaneBackend {
    type Task = Task<Taken>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<Taken>, Infallible>>> {
        self.intake.poll_take(cx).map(|taken| Some(Ok(task(taken))))
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        let intake = self.intake.clone();
        let closing = self.closing.get_or_insert_with(|| flush(intake).boxed());
        closing.poll_unpin(cx).map(Ok)
    }
}

impl BackendConfig for LaneBackend {
    type Args = Taken;
    type Id = TaskId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

fn task(taken: Taken) -> Task<Taken> {
    let delivery = &taken.received.delivery;
    // Unique among what runs: an entry runs in one place at a time.
    let id = format!("{}-{}", delivery.log_offset, delivery.position);
    TaskBuilder::new(taken)
        .task_id(TaskId::from_string(id))
        .build()
}

async fn flush(intake: Arc<Intake>) {
    if tokio::time::timeout(FLUSH_LIMIT, intake.all_flushed())
        .await
        .is_err()
    {
        tracing::warn!(
            "redis does not take the last acknowledgements; those deliveries are repeated"
        );
    }
}
