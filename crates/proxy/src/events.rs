//! `GET /events`: the log as a stream of server-sent events, to be resumed where it ended.
//!
//! ```text
//! log ─batch by offset─▶ filter ─▶ frame ─▶ body, whenever the client has taken the one before
//! ```
//!
//! Invariant: one client holds one batch in memory, whatever it takes in and however far behind it is.

mod ask;
mod frame;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use metrics::{counter, gauge};
use serde_json::json;
use tidegate_event::Filter;
use tidegate_event::report::chain;
use tidegate_event_log::EventLog;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::server::Connection;
use crate::{Keys, incoming, metric_names};
use ask::{Ask, Begin, Refusal};
use frame::Frames;

/// Most events read for a client at once.
const BATCH_MAX_EVENTS: usize = 500;
/// Most bytes of them, unless one event alone has more.
const BATCH_MAX_BYTES: usize = 256 * 1024;
/// Clients that read the log at one time: the process has other uses for its connections to the log.
const MAX_READS: usize = 3;
/// A client hears something at least so often: proxies in between end connections that are silent for long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client whose filter lets nothing through learns how far it is after so many events, and need not have them read
/// again when it resumes.
const PROGRESS_EVENTS: usize = 10_000;
/// How soon a refused client may ask again.
const RETRY_AFTER_SECONDS: &str = "5";
/// How long a client may take at shutdown to take in what was sent to it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What following the log needs.
pub(crate) struct Events {
    keys: Keys,
    log: EventLog,
    max_clients: usize,
    clients: Arc<Semaphore>,
    reads: Semaphore,
    /// One for all clients; begins with the first.
    wake_ups: OnceLock<watch::Receiver<()>>,
    shutdown: CancellationToken,
}

pub(crate) fn router(
    keys: Keys,
    log: EventLog,
    max_clients: usize,
    shutdown: CancellationToken,
) -> Router {
    let events = Events {
        keys,
        log,
        max_clients,
        clients: Arc::new(Semaphore::new(max_clients)),
        reads: Semaphore::new(MAX_READS),
        wake_ups: OnceLock::new(),
        shutdown,
    };
    Router::new()
        .route("/events", get(follow))
        .with_state(Arc::new(events))
}

async fn follow(State(events): State<Arc<Events>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match events.open(&parts).await {
        Ok(follower) => {
            let frames = stream::unfold(follower, |mut follower| async move {
                let chunk = follower.next().await?;
                Some((Ok::<_, std::convert::Infallible>(chunk), follower))
            });
            let headers = [
                (header::CONTENT_TYPE, "text/event-stream"),
                (header::CACHE_CONTROL, "no-cache, no-store"),
                // For nginx, which else collects what it passes on.
                (header::HeaderName::from_static("x-accel-buffering"), "no"),
            ];
            (headers, Body::from_stream(frames)).into_response()
        }
        Err(refusal) => refuse(refusal),
    }
}

fn refuse(refusal: Refusal) -> Response {
    let (status, message) = match refusal {
        Refusal::NoMasterKey => (
            StatusCode::UNAUTHORIZED,
            "X-Parse-Application-Id and X-Parse-Master-Key are required".to_owned(),
        ),
        Refusal::Unauthorized => (StatusCode::FORBIDDEN, "unauthorized".to_owned()),
        Refusal::Wrong { message } => (StatusCode::BAD_REQUEST, message),
        Refusal::Busy { message } => (StatusCode::SERVICE_UNAVAILABLE, message),
    };
    let mut response = (status, axum::Json(json!({"error": message}))).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let value = header::HeaderValue::from_static(RETRY_AFTER_SECONDS);
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

impl Events {
    async fn open(self: &Arc<Self>, parts: &Parts) -> Result<Follower, Refusal> {
        let credentials =
            incoming::from_headers(&parts.headers).map_err(|_| Refusal::Unauthorized)?;
        let given = credentials.master_key.is_some();
        match self.keys.check(&credentials) {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::NoMasterKey),
            Err(_) if !given => return Err(Refusal::NoMasterKey),
            Err(_) => return Err(Refusal::Unauthorized),
        }
        let ask = Ask::read(&parts.headers, parts.uri.query())?;
        let place = Arc::clone(&self.clients)
            .try_acquire_owned()
            .map_err(|_| Refusal::Busy {
                message: format!(
                    "{} clients follow the events already: ask again later, or raise event_stream_clients",
                    self.max_clients
                ),
            })?;
        let offset = self.begin(ask.begin).await?;
        let wake_ups = self.wake_ups.get_or_init(|| self.log.wake_ups()).clone();
        gauge!(metric_names::EVENT_STREAM_CLIENTS).increment(1.0);
        Ok(Follower {
            filter: ask.filter,
            redeliveries: ask.redeliveries,
            offset,
            said_offset: None,
            skipped: 0,
            quiet_since: Instant::now(),
            wake_ups,
            events: Arc::clone(self),
            _hurry: hurry_at_shutdown(parts, &self.shutdown),
            _place: place,
        })
    }

    /// The offset after which the client wants to read.
    async fn begin(&self, begin: Begin) -> Result<u64, Refusal> {
        let end = self.log.last_offset().await.map_err(unavailable)?;
        match begin {
            Begin::Now => Ok(end),
            Begin::Start => self.log.start_offset().await.map_err(unavailable),
            Begin::Since { commit_time_us } => self
                .log
                .offset_at(commit_time_us)
                .await
                .map_err(unavailable),
            Begin::After { offset } if offset > end => Err(Refusal::Wrong {
                message: format!(
                    "offset {offset} is behind the end of the log, {end}: it belongs to another log; use from=start or \
                     from=now"
                ),
            }),
            Begin::After { offset } => Ok(offset),
        }
    }
}

fn unavailable(error: tidegate_event_log::Error) -> Refusal {
    tracing::warn!(
        error = chain(&error),
        "cannot read the event log for a client"
    );
    Refusal::Busy {
        message: "the event log cannot be read at the moment".into(),
    }
}

/// Ends the connection of a client that does not take in the end of its stream. Dropping the guard calls that off.
fn hurry_at_shutdown(parts: &Parts, shutdown: &CancellationToken) -> DropGuard {
    let ended = CancellationToken::new();
    let guard = ended.clone().drop_guard();
    let connection = parts.extensions.get::<Connection>().cloned();
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = ended.cancelled() => return,
        }
        if tokio::time::timeout(FAREWELL, ended.cancelled())
            .await
            .is_err()
            && let Some(connection) = connection
        {
            connection.cut();
        }
    });
    guard
}

/// One client's way through the log.
struct Follower {
    events: Arc<Events>,
    filter: Filter,
    redeliveries: bool,
    /// Everything up to here was sent, or is not wanted.
    offset: u64,
    /// The offset that the client would resume from.
    said_offset: Option<u64>,
    /// Events since then that are not wanted.
    skipped: usize,
    quiet_since: Instant,
    wake_ups: watch::Receiver<()>,
    _hurry: DropGuard,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// What to send next, when the client has taken what was before; None: the stream ends, and the client resumes.
    async fn next(&mut self) -> Option<Bytes> {
        let shutdown = self.events.shutdown.clone();
        let next = tokio::select! {
            next = self.find_next() => next,
            () = shutdown.cancelled() => return None,
        };
        match next {
            Ok(bytes) => {
                self.quiet_since = Instant::now();
                self.skipped = 0;
                self.said_offset = Some(self.offset);
                Some(bytes)
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "an event stream ended early");
                None
            }
        }
    }

    async fn find_next(&mut self) -> Result<Bytes, tidegate_event_log::Error> {
        if self.said_offset.is_none() {
            // At once, so that the client knows where it is also when nothing happens for long.
            return Ok(frame::progress(self.offset, true));
        }
        loop {
            self.wake_ups.borrow_and_update();
            let read = self.read().await?;
            if let Some(frames) = read {
                if !frames.is_empty() {
                    return Ok(frames);
                }
                if self.skipped < PROGRESS_EVENTS && self.quiet_since.elapsed() < KEEP_ALIVE {
                    continue;
                }
            } else {
                let silence = self.quiet_since + KEEP_ALIVE;
                let woken = tokio::time::timeout_at(silence, self.wake_ups.changed()).await;
                if woken.is_ok() {
                    continue;
                }
            }
            return Ok(frame::progress(
                self.offset,
                self.said_offset != Some(self.offset),
            ));
        }
    }

    /// The next batch as the client gets it, which may be nothing; None: there are no more events yet.
    async fn read(&mut self) -> Result<Option<Bytes>, tidegate_event_log::Error> {
        let log = &self.events.log;
        let read = {
            let _turn = self.events.reads.acquire().await.expect("never closed");
            log.follow(self.offset, BATCH_MAX_EVENTS, BATCH_MAX_BYTES)
                .await?
        };
        let mut frames = Frames::after(self.offset);
        for line in &read.lines {
            self.skipped += 1;
            frames.add(line, &self.filter, self.redeliveries)?;
        }
        if let Some(offset) = read.dropped_to {
            frames.skip_to(offset);
        }
        self.offset = frames.offset();
        counter!(metric_names::EVENT_STREAM_EVENTS).increment(frames.events());
        let is_end = read.lines.is_empty() && read.dropped_to.is_none();
        Ok((!is_end).then(|| frames.into_bytes()))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        gauge!(metric_names::EVENT_STREAM_CLIENTS).decrement(1.0);
    }
}
