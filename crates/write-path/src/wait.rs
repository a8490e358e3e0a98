//! Requests that wait for the after-triggers of their own writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_event::Notice;
use tokio::sync::oneshot;

use crate::answer::Waited;

/// Every waiting request of this process, by token.
#[derive(Default)]
pub struct Waiters {
    next_token: AtomicU64,
    // A std mutex: held for a map access, never over an await.
    waiting: Mutex<HashMap<u64, Awaited>>,
}

struct Awaited {
    left: usize,
    done: oneshot::Sender<()>,
}

/// One request's place; registered before its commit, so that no word can come too early.
pub(crate) struct Ticket {
    waiters: Arc<Waiters>,
    pub token: u64,
    done: oneshot::Receiver<()>,
}

impl Waiters {
    /// Registers a write that fires `triggers` after-triggers (at least one).
    pub(crate) fn expect(self: &Arc<Self>, triggers: usize) -> Ticket {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let (sender, done) = oneshot::channel();
        self.lock().insert(
            token,
            Awaited {
                left: triggers,
                done: sender,
            },
        );
        Ticket {
            waiters: Arc::clone(self),
            token,
            done,
        }
    }

    /// Takes in a worker's word that one after-trigger has had its first attempt.
    pub fn notice(&self, notice: &Notice) {
        let mut waiting = self.lock();
        let Some(awaited) = waiting.get_mut(&notice.token) else {
            return;
        };
        awaited.left = awaited.left.saturating_sub(1);
        if awaited.left == 0
            && let Some(awaited) = waiting.remove(&notice.token)
        {
            let _ = awaited.done.send(());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Awaited>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Returns when every after-trigger had its first attempt, or after `at_most`.
    pub async fn wait(mut self, at_most: Duration) -> Waited {
        match tokio::time::timeout(at_most, &mut self.done).await {
            Ok(_) => Waited::Done,
            Err(_) => Waited::TimedOut,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_ends_with_the_last_notice_and_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::default());
        let ticket = waiters.expect(2);
        let notice = Notice {
            token: ticket.token,
            succeeded: true,
        };
        waiters.notice(&notice);
        assert_eq!(waiters.lock().len(), 1);
        waiters.notice(&notice);
        assert_eq!(ticket.wait(Duration::from_secs(5)).await, Waited::Done);
        assert!(waiters.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_times_out_and_a_late_notice_does_nothing() {
        let waiters = Arc::new(Waiters::default());
        let ticket = waiters.expect(1);
        let notice = Notice {
            token: ticket.token,
            succeeded: true,
        };
        assert_eq!(ticket.wait(Duration::from_secs(2)).await, Waited::TimedOut);
        waiters.notice(&notice);
        assert!(waiters.lock().is_empty());
    }
}
