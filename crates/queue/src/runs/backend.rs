//! The streams of runs as an apalis backend, and the service that runs what it yields.
//!
//! As with deliveries (see [`crate::backend`]), polling never waits for the network and never fails.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::layers::Identity;
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::mpsc::Receiver;
use tower::Service;

use crate::abort::AbortOnDrop;
use crate::runs::Ready;

/// Yields runs that were claimed.
pub(super) struct RunBackend<T> {
    /// Outlives a worker that panicked.
    ready: Arc<Mutex<Receiver<Ready<T>>>>,
}

impl<T> RunBackend<T> {
    pub(super) fn new(ready: Arc<Mutex<Receiver<Ready<T>>>>) -> RunBackend<T> {
        RunBackend { ready }
    }
}

impl<T: Send + 'static> Backend for RunBackend<T> {
    type Task = Task<Ready<T>>;
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
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        // A receiver is whole whatever panicked while it was locked.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        match ready.poll_recv(cx) {
            Poll::Ready(Some(ready)) => Poll::Ready(Some(Ok(TaskBuilder::new(ready).build()))),
            // Nothing more will come: the consumer is about to tell the worker to end.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_close(
        &mut self,
        _: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl<T> BackendConfig for RunBackend<T> {
    type Args = Ready<T>;
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

/// Calls the handler, in a tokio task of its own so that handlers use every core.
#[derive(Clone)]
pub(super) struct Run<H> {
    pub(super) handler: H,
}

impl<T, H, F> Service<Task<Ready<T>>> for Run<H>
where
    T: Send + 'static,
    H: Fn(T) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Ready<T>>) -> Running {
        let Ready { run, permits } = task.args;
        let handler = self.handler.clone();
        let handling = async move {
            // Given up when the handler ends, however it does.
            let _permits = permits;
            handler(run).await;
        };
        Running {
            handling: AbortOnDrop(tokio::spawn(handling)),
        }
    }
}

/// A handler under way. Dropped before its end, it ends the handler.
pub(super) struct Running {
    handling: AbortOnDrop<()>,
}

impl Future for Running {
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handling).poll(cx).map(|ended| {
            if let Err(error) = ended {
                tracing::error!(%error, "the handler of a run did not end well");
            }
            Ok(())
        })
    }
}
