#![doc = include_str!("../README.md")]
//!
//! Layout: `handle` is one request from its head to its answer; `incoming` reads it, `keys` checks who may ask,
//! `respond` and `error` write the answer, `ops` answers operators, `events` those who
//! follow the log, `server` keeps the connections.

mod error;
mod events;
mod handle;
mod incoming;
mod keys;
pub mod metric_names;
mod ops;
mod respond;
mod server;

use std::sync::Arc;
use std::time::Duration;

use tidegate_event_log::EventLog;
use tidegate_parse_protocol::Secret;
use tidegate_queue::Queue;
use tidegate_write_path::{Waiters, WritePath};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use ops::{Ops, Readiness};

/// How long to wait before subscribing again to what workers say.
const RESUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);

/// What the proxy needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The path under which the Parse API stands: `/parse`.
    pub mount: String,
    /// Names this process to the workers that answer its waiting requests.
    pub process: String,
    pub keys: Keys,
    /// Larger bodies are refused with 413.
    pub max_body_bytes: usize,
    /// Answer a save when its after-triggers have run (bounded), unless the request says otherwise.
    pub wait_for_after_triggers: bool,
    /// Most clients that follow the log at one time.
    pub event_stream_clients: usize,
}

/// Who may ask. Without client keys, none is needed.
#[derive(Clone, Debug)]
pub struct Keys {
    pub application_id: String,
    pub master_key: Secret,
    pub rest_api_key: Option<Secret>,
    pub javascript_key: Option<Secret>,
    pub client_key: Option<Secret>,
}

/// Serves HTTP on `listener` until `shutdown`, then finishes the requests under way, within `drain_timeout`.
///
/// `api`: None serves the operators' endpoints alone, for a process of another role. `extra`: what else is served here;
/// its paths are its own.
pub async fn run(
    listener: TcpListener,
    api: Option<Api>,
    ops: Ops,
    extra: axum::Router,
    drain_timeout: Duration,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let listening_for_replies = api.as_ref().map(|api| {
        tokio::spawn(take_in_replies(
            api.queue.clone(),
            api.config.process.clone(),
            Arc::clone(&api.waiters),
        ))
    });
    let router = handle::router(api, ops, extra, &shutdown);
    server::serve(listener, router, drain_timeout, shutdown).await?;
    if let Some(task) = listening_for_replies {
        task.abort();
    }
    Ok(())
}

/// What the Parse API needs.
pub struct Api {
    pub config: Config,
    pub write_path: Arc<WritePath>,
    pub waiters: Arc<Waiters>,
    pub queue: Queue,
    pub log: EventLog,
}

/// Takes in what workers say of after-triggers that this process's requests wait for; never returns.
async fn take_in_replies(queue: Queue, process: String, waiters: Arc<Waiters>) {
    loop {
        match queue.replies(&process).await {
            Ok(mut replies) => {
                while let Some(reply) = replies.recv().await {
                    match serde_json::from_str(&reply) {
                        Ok(notice) => waiters.notice(&notice),
                        Err(error) => tracing::warn!(%error, "a worker's reply cannot be read"),
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot hear from workers: saves wait until their time-out");
            }
        }
        tokio::time::sleep(RESUBSCRIBE_PAUSE).await;
    }
}
