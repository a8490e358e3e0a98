//! Decides which delivery may run next: per key one at a time and in stream order.
//!
//! ```text
//!               ┌───────────── Fetching ◀───────────────┐
//!               ▼                 ▲  next one known     │ due
//!  offer ──▶ Ready ──take──▶ Running  by id only        │
//!               ▲              │  │ └──Done─┘           │
//!               └──Done, next──┘  └──────Retry──────▶ Parked
//! ```
//!
//! No I/O and no clock: the reader offers what it read, the worker takes and settles, the refetcher
//! asks which entries to read again. The stream holds every delivery until it is acknowledged, so
//! that what this forgets is not lost.
//!
//! Deliveries with a limit stand in their group's line before they become Ready: Limited.
//!
//! Layout: this file runs deliveries; [`lanes`] gains and loses lanes; [`refetch`] brings back what
//! is known by id; [`key`] is one key's queue; [`group`] counts what has limits.
//!
//! Invariants:
//! - Of one key, at most one delivery is Ready, Running or Fetching, and it is the key's lowest
//!   entry not yet done.
//! - A key stays gated while a delivery of it runs, also across the loss of its lane and a new
//!   generation.
//! - Nothing is taken after the leases ran out.
//! - Of one group, no more run at once, or begin within its time, than its limit says.
//! - Retries take at most half of the concurrency while something fresh waits.
//! - Contents in memory: `max_buffered` fresh deliveries (more only by what one read overshoots,
//!   and by one for each that runs), as many retries, as many behind running ones, and what runs.
//!   Anything else that waits costs an id.

mod group;
mod key;
mod lanes;
mod refetch;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::delivery::{Delivery, EntryId, Lane, Received, Verdict};

use group::Group;
pub(crate) use key::Key;
use key::{DueAt, KeyQueue, Phase, Running, Waiting};
use lanes::LaneState;
pub(crate) use refetch::Fetch;

/// The longest a retry is put off here, whatever its handler said; a restart would forget a longer
/// one anyway.
const MAX_PARKED: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything this consumer has read and not finished.
#[derive(Debug)]
pub(crate) struct Gate {
    max_buffered: usize,
    /// Most retries that run while something fresh waits, and how many run.
    max_again: usize,
    running_again: usize,
    groups: HashMap<Arc<str>, Group>,
    announced_turn: Option<Instant>,
    generation: Option<u64>,
    /// What the last renewal granted, by index, and until when.
    leased: HashMap<u16, Lane>,
    leased_until: Option<Instant>,
    lanes: HashMap<u16, LaneState>,
    last_epoch: u64,
    /// Keys in line for a worker: with their first attempt, and with a retry. They are taken from
    /// in turn, so that neither a backlog nor a storm of retries starves the other.
    fresh: VecDeque<Slot>,
    again: VecDeque<Slot>,
    is_again_next: bool,
    /// Retries on their way into `again`.
    again_fetching: usize,
    /// Deliveries in memory, or asked for, that are not in line.
    loaded_behind: usize,
    parked: BTreeMap<DueAt, Slot>,
    last_parked: u64,
    fetches: Vec<Fetch>,
    /// Done, but not yet removed from their streams.
    unflushed: usize,
}

/// Names a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) lane: u16,
    pub(crate) key: Key,
}

/// A delivery on its way to a handler.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) slot: Slot,
    pub(crate) received: Received,
}

/// A delivery to remove from its lane: its outcome is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Acknowledgement {
    /// `None`: it ended while no generation held; there is nothing to remove.
    pub(crate) generation: Option<u64>,
    pub(crate) lane: u16,
    pub(crate) id: EntryId,
}

impl Gate {
    /// `concurrency`: handlers that the caller runs at once.
    pub(crate) fn new(max_buffered: usize, concurrency: usize) -> Gate {
        Gate {
            max_buffered,
            max_again: (concurrency / 2).max(1),
            running_again: 0,
            groups: HashMap::new(),
            announced_turn: None,
            generation: None,
            leased: HashMap::new(),
            leased_until: None,
            lanes: HashMap::new(),
            last_epoch: 0,
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            is_again_next: false,
            again_fetching: 0,
            loaded_behind: 0,
            parked: BTreeMap::new(),
            last_parked: 0,
            fetches: Vec::new(),
            unflushed: 0,
        }
    }

    /// Fresh deliveries that may be read.
    pub(crate) fn room(&self) -> usize {
        self.max_buffered.saturating_sub(self.fresh.len())
    }

    /// Takes in a delivery that was read from a lane. What was read before the lane's present
    /// activation is ignored.
    pub(crate) fn offer(&mut self, lane: u16, epoch: u64, delivery: Delivery) {
        let Some(state) = self.lanes.get_mut(&lane) else {
            return;
        };
        if !state.is_active || state.epoch != epoch {
            return;
        }
        let mut waiting = Waiting {
            id: delivery.id(),
            retry: 0,
            is_again: false,
            maybe_repeated: delivery.id() <= state.repeats_through,
            delivery: None,
        };
        let fence = state.lease.fence;
        match state.keys.entry(Key::of(&delivery)) {
            Entry::Vacant(vacant) => {
                let key = vacant.key().clone();
                if let Some(limit) = delivery.limit.clone() {
                    let group = Group::of(&mut self.groups, &limit, lane, fence);
                    if group.may_load() && self.loaded_behind < self.max_buffered {
                        waiting.delivery = Some(Box::new(delivery));
                        self.loaded_behind += 1;
                    }
                    group.line.push_back(Slot { lane, key });
                    vacant.insert(KeyQueue::limited(waiting, Arc::clone(&group.name)));
                    return;
                }
                waiting.delivery = Some(Box::new(delivery));
                vacant.insert(KeyQueue::ready(waiting));
                self.fresh.push_back(Slot { lane, key });
            }
            Entry::Occupied(mut occupied) => {
                let queue = occupied.get_mut();
                if queue.meets_running(waiting.id) {
                    return;
                }
                if queue.may_load() && self.loaded_behind < self.max_buffered {
                    waiting.delivery = Some(Box::new(delivery));
                    self.loaded_behind += 1;
                }
                queue.waiting.push_back(waiting);
            }
        }
    }

    /// The next delivery to run, if there is one and the leases still hold.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Taken> {
        if self.leased_until.is_none_or(|until| now >= until) {
            return None;
        }
        self.count_in(now);
        let slot = self.next_in_line()?;
        let state = self
            .lanes
            .get_mut(&slot.lane)
            .expect("keys in line are of active lanes");
        let queue = state
            .keys
            .get_mut(&slot.key)
            .expect("a key in line has a queue");
        let first = queue
            .waiting
            .pop_front()
            .expect("a key in line has a first delivery");
        queue.phase = Phase::Running(Running {
            id: first.id,
            retry: first.retry,
            maybe_repeated: first.maybe_repeated,
            is_again: first.is_again,
            is_carried: false,
        });
        state.running += 1;
        self.running_again += usize::from(first.is_again);
        let counted = queue.group.clone().filter(|_| queue.is_counted);
        let received = Received {
            delivery: *first
                .delivery
                .expect("the first of a key in line is loaded"),
            maybe_repeated: first.maybe_repeated,
            lane: state.lease,
            retry: first.retry,
        };
        if let Some(group) = counted {
            self.begin_counted(&group, now);
        }
        Some(Taken { slot, received })
    }

    /// Whether a key is in line for a worker.
    pub(crate) fn is_ready(&self) -> bool {
        !self.fresh.is_empty() || !self.again.is_empty()
    }

    fn next_in_line(&mut self) -> Option<Slot> {
        self.is_again_next = !self.is_again_next;
        if self.running_again >= self.max_again
            && let Some(slot) = self.fresh.pop_front()
        {
            return Some(slot);
        }
        let (first, second) = match self.is_again_next {
            true => (&mut self.again, &mut self.fresh),
            false => (&mut self.fresh, &mut self.again),
        };
        first.pop_front().or_else(|| second.pop_front())
    }

    /// Ends the run of what was taken for `slot`. The answer, if any, is to be removed from the
    /// stream, and then [`Gate::flushed`].
    pub(crate) fn settle(
        &mut self,
        slot: &Slot,
        verdict: Verdict,
        now: Instant,
    ) -> Option<Acknowledgement> {
        let state = self.lanes.get_mut(&slot.lane)?;
        let queue = state.keys.get_mut(&slot.key)?;
        let Phase::Running(running) = queue.phase else {
            return None;
        };
        state.running -= 1;
        self.running_again -= usize::from(running.is_again);
        if let Some(group) = queue.uncount() {
            self.count_out(&group);
        }
        let state = self.lanes.get_mut(&slot.lane)?;
        match verdict {
            Verdict::Done => {
                state.unflushed += 1;
                self.unflushed += 1;
                self.advance(slot);
                Some(Acknowledgement {
                    generation: self.generation,
                    lane: slot.lane,
                    id: running.id,
                })
            }
            Verdict::Retry { after } | Verdict::Later { after } => {
                let is_retry = matches!(verdict, Verdict::Retry { .. });
                if state.is_active {
                    self.park(slot, running, is_retry, now + after.min(MAX_PARKED));
                } else {
                    // Whoever reads the lane next meets the entry at its place.
                    state.keys.remove(&slot.key);
                }
                None
            }
        }
    }

    /// Ends the run of a handler that was dropped before its end. Its lane is not released, so that
    /// whatever it began elsewhere has until the lease runs out to end.
    pub(crate) fn orphan(&mut self, slot: &Slot, retry_after: Duration, now: Instant) {
        if let Some(state) = self.lanes.get_mut(&slot.lane) {
            state.has_orphan = true;
        }
        self.settle(slot, Verdict::Retry { after: retry_after }, now);
    }

    fn park(&mut self, slot: &Slot, running: Running, is_retry: bool, until: Instant) {
        self.last_parked += 1;
        let due = (until, self.last_parked);
        let queue = self
            .queue(slot)
            .expect("a key is parked by its running delivery");
        let loaded = queue.loaded_behind();
        queue.phase = Phase::Parked(due);
        queue.unload();
        // A carried one is not known to be in the stream; if it is, it will be read, and until then
        // its key waits.
        if !running.is_carried {
            queue.waiting.push_front(Waiting {
                id: running.id,
                retry: running.retry.saturating_add(u32::from(is_retry)),
                maybe_repeated: is_retry || running.maybe_repeated,
                is_again: true,
                delivery: None,
            });
        }
        self.loaded_behind -= loaded;
        self.parked.insert(due, slot.clone());
    }

    /// Lets the next of a key that has nothing running come forward.
    fn advance(&mut self, slot: &Slot) {
        match self.queue(slot) {
            Some(queue) if queue.group.is_some() && !queue.waiting.is_empty() => {
                self.stand_in_line(slot);
            }
            _ => self.advance_counted(slot),
        }
    }

    /// The same for a key without a group, and for one that its group's limit has room for.
    fn advance_counted(&mut self, slot: &Slot) {
        let Some(queue) = self.queue(slot) else {
            return;
        };
        match queue.waiting.front() {
            None => {
                let group = queue.uncount();
                let state = self.lanes.get_mut(&slot.lane).expect("its queue was there");
                state.keys.remove(&slot.key);
                if let Some(group) = group {
                    self.give_back(&group);
                }
            }
            Some(first) if first.delivery.is_some() => {
                queue.phase = Phase::Ready;
                self.loaded_behind -= 1;
                self.line_up(slot);
            }
            Some(_) => self.fetch(slot),
        }
    }

    fn line_up(&mut self, slot: &Slot) {
        let is_retry = self.queue(slot).is_some_and(|queue| queue.is_retry());
        match is_retry {
            true => self.again.push_back(slot.clone()),
            false => self.fresh.push_back(slot.clone()),
        }
    }

    fn queue(&mut self, slot: &Slot) -> Option<&mut KeyQueue> {
        self.lanes.get_mut(&slot.lane)?.keys.get_mut(&slot.key)
    }

    /// Takes note that acknowledgements are no longer on their way, having been carried out or
    /// become pointless.
    pub(crate) fn flushed(&mut self, acknowledgements: &[Acknowledgement]) {
        self.unflushed -= acknowledgements.len();
        for acknowledgement in acknowledgements {
            if let Some(state) = self.lanes.get_mut(&acknowledgement.lane) {
                state.unflushed -= 1;
            }
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.unflushed == 0
    }
}
