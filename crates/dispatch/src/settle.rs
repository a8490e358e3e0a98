//! Follows what is finished: the settled offset.

use std::collections::VecDeque;

/// Events that owe deliveries, oldest first, and how many final outcomes each has.
#[derive(Default)]
pub(crate) struct Unsettled {
    events: VecDeque<Owing>,
    /// Deliveries without a final outcome; events that wait behind an older one count no more.
    pending: u64,
}

struct Owing {
    log_offset: u64,
    owed: u32,
    settled: u32,
}

impl Unsettled {
    pub fn add(&mut self, owed: &[(u64, u32)]) {
        let owing = |&(log_offset, owed): &(u64, u32)| Owing {
            log_offset,
            owed,
            settled: 0,
        };
        self.events.extend(owed.iter().map(owing));
        self.pending += owed.iter().map(|(_, owed)| u64::from(*owed)).sum::<u64>();
    }

    pub fn clear(&mut self) {
        *self = Unsettled::default();
    }

    /// Takes in how many final outcomes events have (ascending by offset).
    pub fn take_in(&mut self, counts: &[(u64, u32)]) {
        let mut events = self.events.iter_mut().peekable();
        for &(log_offset, settled) in counts {
            while events
                .next_if(|event| event.log_offset < log_offset)
                .is_some()
            {}
            if let Some(event) = events.next_if(|event| event.log_offset == log_offset) {
                let settled = settled.min(event.owed);
                self.pending -= u64::from(settled.saturating_sub(event.settled));
                event.settled = settled.max(event.settled);
            }
        }
        while self
            .events
            .front()
            .is_some_and(|event| event.settled >= event.owed)
        {
            self.events.pop_front();
        }
    }

    /// Everything up to here is settled, when everything up to `dispatched` has been queued.
    pub fn settled_offset(&self, dispatched: u64) -> u64 {
        self.events
            .front()
            .map_or(dispatched, |event| event.log_offset - 1)
    }

    /// Events remembered: those that owe, and those that wait behind the oldest that does.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Deliveries queued and without a final outcome, as far as `take_in` was told.
    pub fn pending(&self) -> u64 {
        self.pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_settles_when_each_of_its_deliveries_has_and_all_before_it_have() {
        let mut unsettled = Unsettled::default();
        unsettled.add(&[(3, 1), (5, 2), (6, 1)]);
        assert_eq!(unsettled.settled_offset(9), 2);
        unsettled.take_in(&[(5, 1), (6, 1)]);
        assert_eq!(unsettled.settled_offset(9), 2, "3 is not settled");
        unsettled.take_in(&[(3, 1), (5, 1), (6, 1)]);
        assert_eq!(unsettled.settled_offset(9), 4, "5 has one of two");
        assert_eq!(unsettled.pending(), 1);
        unsettled.take_in(&[(5, 2), (6, 1)]);
        assert_eq!(unsettled.settled_offset(9), 9);
    }

    #[test]
    fn an_outcome_of_an_event_that_owes_nothing_is_passed_over() {
        let mut unsettled = Unsettled::default();
        unsettled.add(&[(5, 1), (8, 1)]);
        unsettled.take_in(&[(2, 1), (6, 1), (8, 1)]);
        assert_eq!(unsettled.settled_offset(9), 4);
        unsettled.take_in(&[(5, 1)]);
        assert_eq!(unsettled.settled_offset(9), 9);
    }
}
