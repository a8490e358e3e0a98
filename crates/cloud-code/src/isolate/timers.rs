//! Timers of JavaScript, in the order they fall due.

use std::collections::{BTreeMap, HashMap};

/// The longest delay; what Node and browsers allow.
const MAX_DELAY_MS: f64 = i32::MAX as f64;

/// A timer and whose it is; run 0 is the module's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timer {
    pub id: u32,
    pub run: u32,
    /// False for a timer that its run does not wait for; it is dropped when the run ends.
    pub keeps_open: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_due: BTreeMap<(u64, u64), Timer>,
    by_id: HashMap<u32, (u64, u64)>,
    /// Tells timers apart that fall due in the same nanosecond; the earlier set fires first.
    sequence: u64,
}

impl Timers {
    /// Sets `timer` to `delay_ms` from now; a delay that is no number counts as 0. Returns the timer it replaced.
    pub(crate) fn set(&mut self, timer: Timer, delay_ms: f64, now_ns: u64) -> Option<Timer> {
        let replaced = self.clear(timer.id);
        let delay_ns = (delay_ms.clamp(0.0, MAX_DELAY_MS) * 1e6) as u64;
        self.sequence += 1;
        let due = (now_ns + delay_ns, self.sequence);
        self.by_due.insert(due, timer);
        self.by_id.insert(timer.id, due);
        replaced
    }

    pub(crate) fn clear(&mut self, id: u32) -> Option<Timer> {
        let due = self.by_id.remove(&id)?;
        self.by_due.remove(&due)
    }

    /// Drops every timer of `run`.
    pub(crate) fn clear_run(&mut self, run: u32) {
        self.by_due.retain(|_, timer| timer.run != run);
        let by_due = &self.by_due;
        self.by_id.retain(|_, due| by_due.contains_key(due));
    }

    /// Takes the next timer that is due.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<Timer> {
        let entry = self
            .by_due
            .first_entry()
            .filter(|entry| entry.key().0 <= now_ns)?;
        let timer = entry.remove();
        self.by_id.remove(&timer.id);
        Some(timer)
    }

    /// When the next timer falls due.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(id: u32, run: u32) -> Timer {
        Timer {
            id,
            run,
            keeps_open: true,
        }
    }

    #[test]
    fn timers_fire_in_order_of_due_time_then_of_setting() {
        let mut timers = Timers::default();
        for (id, delay) in [(1, 5.0), (2, 1.0), (3, 1.0), (4, f64::NAN), (5, 1e300)] {
            timers.set(timer(id, id % 2), delay, 1000);
        }
        assert_eq!(timers.next_due_ns(), Some(1000), "not a number is no delay");
        let mut due = |now| {
            std::iter::from_fn(|| timers.take_due(now).map(|timer| timer.id)).collect::<Vec<_>>()
        };
        assert_eq!(due(1000), [4]);
        assert_eq!(due(1_001_000), [2, 3]);
        assert_eq!(due(u64::MAX), [1, 5]);
    }

    #[test]
    fn a_timer_can_be_cleared_replaced_and_dropped_with_its_run() {
        let mut timers = Timers::default();
        assert_eq!(timers.set(timer(1, 7), 1.0, 0), None);
        assert_eq!(timers.set(timer(1, 7), 2.0, 0), Some(timer(1, 7)));
        assert_eq!(timers.take_due(1_500_000), None);
        assert_eq!(timers.clear(1), Some(timer(1, 7)));
        assert_eq!(timers.clear(1), None);
        timers.set(timer(2, 7), 0.0, 0);
        timers.set(timer(3, 0), 0.0, 0);
        timers.clear_run(7);
        assert_eq!(timers.take_due(0), Some(timer(3, 0)));
        assert_eq!((timers.take_due(0), timers.next_due_ns()), (None, None));
    }
}
