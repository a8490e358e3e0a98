//! Which lanes this consumer owns: renewed by a task of its own, so that no amount of work starves
//! it.
//!
//! A lane has one owner at a time, decided in Postgres by whoever implements [`LaneLeases`]. Here
//! we only keep to it: a lane that a renewal no longer names is dropped at once, and released when
//! nothing of it runs any more; when renewals fail for a lease's whole duration, counted from
//! before the last good one was asked for, every lane is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use crate::delivery::Lane;
use crate::intake::Intake;

/// The error of a [`LaneLeases`]. It is logged; what the queue does about it is the same for all.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Pause after a renewal that failed. Short, because the leases are running out.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);

/// How long a release may take, which holds up renewals meanwhile. Lanes that were not released run
/// out by themselves.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Grants lanes. The queue calls one method at a time, and may drop a call that takes longer than
/// the leases last.
pub trait LaneLeases: Send + Sync + 'static {
    /// Renews what this consumer holds, and takes what it is due. Answers every lane it now owns,
    /// each with its fence: the same as before if ownership was not interrupted, else a higher one.
    /// A lane left out is one to give up; it must not be granted to another before it is released
    /// or its lease has run out.
    ///
    /// `busy`: lanes of which something runs here. Only these are kept beyond what is due: one that
    /// was to be released, and whose release failed, must run out.
    fn renew<'a>(&'a self, busy: &'a [u16]) -> BoxFuture<'a, Result<Vec<Lane>, BoxError>>;

    /// Gives back lanes of which nothing runs here any more. A lane that has another fence by now
    /// is not meant.
    fn release<'a>(&'a self, lanes: &'a [Lane]) -> BoxFuture<'a, Result<(), BoxError>>;

    /// How often to renew; at most a third of the duration.
    fn renew_interval(&self) -> Duration;

    /// How long a grant holds from when `renew` was called.
    fn lease_duration(&self) -> Duration;
}

/// Keeps the leases for as long as a consumer runs.
pub(crate) struct Keeper {
    pub(crate) leases: Arc<dyn LaneLeases>,
    pub(crate) intake: Arc<Intake>,
    /// Tells the reader.
    pub(crate) granted: watch::Sender<Vec<Lane>>,
    /// When what we hold runs out; `None` while we hold nothing.
    pub(crate) holds_until: Option<Instant>,
}

impl Keeper {
    /// Renews until told to stop, then gives back every lane that has come to rest.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            let pause = self.renew().await;
            let is_stopped = tokio::select! {
                () = self.rest(pause) => false,
                _ = &mut stop => true,
            };
            if is_stopped {
                self.lose();
                let rested = self.intake.take_rested();
                return self.release(rested).await;
            }
        }
    }

    /// Renews once. Answers how long to wait before the next time.
    async fn renew(&mut self) -> Duration {
        let asked = Instant::now();
        let busy = self.intake.busy();
        let limit = self
            .holds_until
            .unwrap_or(asked + self.leases.lease_duration());
        match tokio::time::timeout_at(limit.into(), self.leases.renew(&busy)).await {
            Ok(Ok(lanes)) => {
                let until = asked + self.leases.lease_duration();
                self.holds_until = Some(until);
                self.intake.grant(&lanes, until);
                self.announce(lanes);
                self.leases.renew_interval()
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "lane leases were not renewed");
                PAUSE_AFTER_FAILURE
            }
            Err(_) => {
                tracing::warn!("the renewal of lane leases takes longer than they last");
                self.lose();
                PAUSE_AFTER_FAILURE
            }
        }
    }

    /// Waits, and meanwhile releases lanes that come to rest and notices when the leases run out.
    async fn rest(&mut self, pause: Duration) {
        let wake = Instant::now() + pause;
        loop {
            let runs_out = self.holds_until.filter(|until| *until <= wake);
            tokio::select! {
                () = tokio::time::sleep_until(runs_out.unwrap_or(wake).into()) => match runs_out {
                    Some(_) => {
                        tracing::error!("lane leases ran out, nothing runs until renewed");
                        self.lose();
                    }
                    None => return,
                },
                rested = self.intake.rested() => self.release(rested).await,
            }
        }
    }

    fn lose(&mut self) {
        self.holds_until = None;
        self.intake.lose_leases();
        self.announce(Vec::new());
    }

    async fn release(&self, lanes: Vec<Lane>) {
        if lanes.is_empty() {
            return;
        }
        match tokio::time::timeout(RELEASE_LIMIT, self.leases.release(&lanes)).await {
            Ok(Ok(())) => tracing::debug!(lanes = lanes.len(), "lanes released"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "lanes were not released, their leases run out")
            }
            Err(_) => tracing::warn!("the release of lanes takes too long, their leases run out"),
        }
    }

    fn announce(&self, mut lanes: Vec<Lane>) {
        lanes.sort_unstable_by_key(|lane| lane.index);
        self.granted.send_if_modified(|before| {
            let is_changed = *before != lanes;
            *before = lanes;
            is_changed
        });
    }
}
