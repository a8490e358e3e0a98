//! Deliveries during whose run a worker may have ended.
//!
//! ```text
//! taken over, nothing recorded ─▶ mark 1 ─▶ run with all others
//! taken over, mark n           ─▶ mark n+1 ─▶ run alone among suspects    mark 3 and again ─▶ quarantined
//! ```
//!
//! A worker that ends says nothing of what it ran, and its lanes are full of deliveries that it never began. So the
//! first time, all that is taken over is run as ever, but marked before. What carries a mark when a worker ends once
//! more was running then; such ones run one after another, so that each further end has one culprit, and the others,
//! once they are done, have no mark any more.

use tokio::sync::{Semaphore, SemaphorePermit};

/// From this mark on a delivery is run alone.
pub(crate) const ALONE_FROM: u32 = 2;

pub(crate) struct Suspects {
    turn: Semaphore,
    /// Those that wait for it hold a place among the running; most places are for others.
    waiting: Semaphore,
}

impl Suspects {
    /// `concurrency`: handlers that this worker runs at once.
    pub fn new(concurrency: usize) -> Suspects {
        Suspects {
            turn: Semaphore::new(1),
            waiting: Semaphore::new((concurrency / 4).max(1)),
        }
    }

    /// Waits for the turn to run alone. None: too many wait already; come again later.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let _place = self.waiting.try_acquire().ok()?;
        self.turn.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn one_has_the_turn_a_few_wait_and_the_rest_comes_later() {
        let suspects = Suspects::new(8);
        let first = suspects.turn().now_or_never().unwrap().unwrap();
        let mut second = Box::pin(suspects.turn());
        let mut third = Box::pin(suspects.turn());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(matches!(suspects.turn().now_or_never(), Some(None)));
        drop(first);
        assert!(matches!(second.as_mut().now_or_never(), Some(Some(_))));
    }
}
