//! Following a run's log as server-sent events.
//!
//! ```text
//! id: 17                    the event that brought the lines: `Last-Event-ID` of a client that comes back
//! event: log
//! data: [{"event":17,"attempt":1,"atMs":…,"level":"info","text":"…"}]
//!
//! event: end                the run has ended, and there is nothing more
//! data: {"id":"R000000001","state":"succeeded",…}
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tidegate_admin::{Admin, Error, LoggedLine, RunLine};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::refusal::Refusal;
use crate::{Door, MAX_FOLLOWERS};

/// How often the log is looked at: workers write what was logged a few times a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A client hears something at least so often: proxies in between end connections that are silent for long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events of the log that are read at once.
const BATCH_EVENTS: u32 = 100;

/// One client's way through a log.
struct Follower {
    admin: Admin,
    run: String,
    attempt: Option<u32>,
    after: u64,
    /// When something was last sent; None: nothing yet.
    sent_at: Option<Instant>,
    is_over: bool,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

pub(crate) async fn follow(
    door: &Door,
    run: String,
    attempt: Option<u32>,
    after: u64,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    // A run that is not there is told before the stream begins.
    door.admin.run(&run).await?;
    let place = door.followers.clone().try_acquire_owned().map_err(|_| {
        Refusal::Busy(format!(
            "{MAX_FOLLOWERS} clients follow logs already: ask again later"
        ))
    })?;
    let follower = Follower {
        admin: door.admin.clone(),
        run,
        attempt,
        after: last_event_id(headers)?.unwrap_or(after),
        sent_at: None,
        is_over: false,
        shutdown: door.shutdown.clone(),
        _place: place,
    };
    let frames = stream::unfold(follower, |mut follower| async move {
        let frame = follower.next().await?;
        Some((Ok::<_, Infallible>(frame), follower))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        // For nginx, which else collects what it passes on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Where a client that comes back goes on.
fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || Refusal::Wrong("Last-Event-ID: is not the id of an event".to_owned());
    id.map(Some).ok_or_else(wrong)
}

impl Follower {
    /// What to send next; None: the stream ends, and the client comes back when it has not heard of the end.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let shutdown = self.shutdown.clone();
        let found = tokio::select! {
            found = self.find_next() => found,
            () = shutdown.cancelled() => return None,
        };
        match found {
            Ok(frame) => {
                self.sent_at = Some(Instant::now());
                Some(frame)
            }
            Err(error) => {
                tracing::warn!(%error, "a stream of a run's log ended early");
                None
            }
        }
    }

    async fn find_next(&mut self) -> Result<String, Error> {
        loop {
            // Before the lines: what was logged before the end is read after it.
            let run = self.admin.run(&self.run).await?;
            let lines = self
                .admin
                .run_logs(&self.run, self.attempt, self.after, BATCH_EVENTS);
            let lines = lines.await?;
            if let Some(last) = lines.last() {
                self.after = last.event;
                return Ok(log_frame(self.after, &lines));
            }
            if run.state.is_final() {
                self.is_over = true;
                return Ok(end_frame(&run));
            }
            // At once, so that the client knows that it is heard.
            if self.sent_at.is_none_or(|at| at.elapsed() >= KEEP_ALIVE) {
                return Ok(": nothing new\n\n".to_owned());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

fn log_frame(id: u64, lines: &[LoggedLine]) -> String {
    let lines = serde_json::to_string(lines).expect("lines are plain data");
    format!("id: {id}\nevent: log\ndata: {lines}\n\n")
}

fn end_frame(run: &RunLine) -> String {
    let run = serde_json::to_string(run).expect("a run is plain data");
    format!("event: end\ndata: {run}\n\n")
}
