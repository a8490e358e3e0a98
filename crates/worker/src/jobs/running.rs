//! The runs that this worker holds, and what each of them is told.
//!
//! ```text
//! claim ─▶ held ──────────────▶ performed ─▶ let go
//!            ▲ Draining, Cancelled, Lost: from the beat, a word of Postgres, the end of the process
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_job::{Lease, RunId};
use tokio::sync::watch;

/// Why a run is to end. What is told later counts if it is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// This worker ends: it goes on elsewhere.
    Draining,
    /// Somebody wants it to end.
    Cancelled,
    /// It is somebody else's by now, or deleted: nothing of it may go on here.
    Lost,
}

#[derive(Default)]
pub(crate) struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    runs: HashMap<Lease, watch::Sender<Option<Reason>>>,
    is_draining: bool,
}

impl Running {
    /// Takes a run that was claimed onto the list, until what is returned is dropped.
    pub fn hold(self: &Arc<Self>, lease: Lease) -> Held {
        let mut state = self.lock();
        let (tell, told) = watch::channel(state.is_draining.then_some(Reason::Draining));
        state.runs.insert(lease.clone(), tell);
        Held {
            running: Arc::clone(self),
            lease,
            told,
        }
    }

    pub fn leases(&self) -> Vec<Lease> {
        self.lock().runs.keys().cloned().collect()
    }

    pub fn tell(&self, lease: &Lease, reason: Reason) {
        if let Some(tell) = self.lock().runs.get(lease) {
            raise(tell, reason);
        }
    }

    /// Tells a run under whatever lease.
    pub fn cancel(&self, run: RunId) {
        let state = self.lock();
        let same = state.runs.iter().filter(|(lease, _)| lease.run == run);
        same.for_each(|(_, tell)| raise(tell, Reason::Cancelled));
    }

    /// All that was claimed under a name of this worker is lost.
    pub fn lose(&self, worker: &str) {
        let state = self.lock();
        let own = state
            .runs
            .iter()
            .filter(|(lease, _)| &*lease.worker == worker);
        own.for_each(|(_, tell)| raise(tell, Reason::Lost));
    }

    /// Tells all runs, and each that comes later.
    pub fn drain(&self) {
        let mut state = self.lock();
        state.is_draining = true;
        let all = state.runs.values();
        all.for_each(|tell| raise(tell, Reason::Draining));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raise(tell: &watch::Sender<Option<Reason>>, reason: Reason) {
    tell.send_if_modified(|told| {
        let is_greater = Some(reason) > *told;
        if is_greater {
            *told = Some(reason);
        }
        is_greater
    });
}

/// A run that this worker holds.
pub(crate) struct Held {
    running: Arc<Running>,
    lease: Lease,
    told: watch::Receiver<Option<Reason>>,
}

impl Held {
    /// What it was told so far.
    pub fn reason(&self) -> Option<Reason> {
        *self.told.borrow()
    }

    /// Waits until it is told this or more.
    pub async fn told(&self, least: Reason) -> Reason {
        let mut told = self.told.clone();
        let reason = told.wait_for(|told| *told >= Some(least)).await;
        // The sender is on the list for as long as this is.
        reason.ok().and_then(|told| *told).unwrap_or(Reason::Lost)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.running.lock().runs.remove(&self.lease);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lease(run: u64, fence: u64, worker: &str) -> Lease {
        Lease {
            run: RunId(run),
            worker: worker.into(),
            fence,
        }
    }

    #[test]
    fn a_run_is_told_the_greatest_and_only_what_is_its_own() {
        let running = Arc::new(Running::default());
        let first = running.hold(lease(1, 1, "w-1"));
        let again = running.hold(lease(1, 2, "w-2"));
        let other = running.hold(lease(2, 1, "w-1"));
        running.cancel(RunId(1));
        assert_eq!(first.reason(), Some(Reason::Cancelled));
        assert_eq!(again.reason(), Some(Reason::Cancelled));
        assert_eq!(other.reason(), None);
        running.lose("w-1");
        running.tell(&lease(1, 1, "w-1"), Reason::Cancelled);
        assert_eq!(first.told(Reason::Lost).now_or_never(), Some(Reason::Lost));
        assert_eq!(again.told(Reason::Lost).now_or_never(), None);
        assert_eq!(
            again.told(Reason::Draining).now_or_never(),
            Some(Reason::Cancelled)
        );
        assert_eq!(other.reason(), Some(Reason::Lost));
    }

    #[test]
    fn what_is_claimed_while_draining_is_told_at_once_and_what_is_dropped_is_forgotten() {
        let running = Arc::new(Running::default());
        let early = running.hold(lease(1, 1, "w"));
        running.drain();
        assert_eq!(early.reason(), Some(Reason::Draining));
        drop(early);
        let late = running.hold(lease(2, 1, "w"));
        assert_eq!(late.reason(), Some(Reason::Draining));
        assert_eq!(running.leases(), [lease(2, 1, "w")]);
    }
}
