//! What waits under one order key.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::delivery::{Delivery, EntryId};

/// Deliveries of one key that are kept in memory behind a running one. The rest is known by id only
/// and read again when its turn comes, this many at a time, so that a hot key costs its neighbours
/// no memory.
pub(super) const MAX_LOADED_PER_KEY: usize = 16;

/// What runs one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Ordered(Arc<str>),
    /// An unordered delivery waits for nothing but itself.
    Alone(EntryId),
}

/// One entry of the stream that has not been run to its end.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: EntryId,
    pub(super) retry: u32,
    pub(super) maybe_repeated: bool,
    /// `None`: known by id, its contents are in the stream.
    pub(super) delivery: Option<Box<Delivery>>,
}

/// What the key's first waiting delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A worker.
    Ready,
    /// The end of the one before it.
    Running(Running),
    /// The time when it may be tried again.
    Parked(DueAt),
    /// Its contents. Those of this many behind it were asked for as well.
    Fetching { behind: usize },
}

/// A delivery that a handler has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) id: EntryId,
    pub(super) retry: u32,
    /// The lane was given up or begun anew since, and the entry has not been met there again.
    pub(super) is_carried: bool,
}

/// When a parked key is due; the number tells keys due at one instant apart.
pub(super) type DueAt = (Instant, u64);

/// A key with something waiting or running. Keys with neither are forgotten.
#[derive(Debug)]
pub(super) struct KeyQueue {
    pub(super) phase: Phase,
    /// In stream order. The loaded ones come first.
    pub(super) waiting: VecDeque<Waiting>,
}

impl Key {
    pub(super) fn of(delivery: &Delivery) -> Key {
        match delivery.unordered {
            false => Key::Ordered(delivery.order_key.as_str().into()),
            true => Key::Alone(delivery.id()),
        }
    }
}

impl KeyQueue {
    pub(super) fn ready(first: Waiting) -> KeyQueue {
        KeyQueue {
            phase: Phase::Ready,
            waiting: VecDeque::from([first]),
        }
    }

    /// Whether `id` is the running one, read again because its lane is read from the start.
    pub(super) fn meets_running(&mut self, id: EntryId) -> bool {
        match &mut self.phase {
            Phase::Running(running) if running.id == id => {
                running.is_carried = false;
                true
            }
            _ => false,
        }
    }

    /// Whether one more at the end may keep its contents, as far as this key goes.
    pub(super) fn may_load(&self) -> bool {
        let is_moving = matches!(self.phase, Phase::Ready | Phase::Running(_));
        let is_unbroken = self
            .waiting
            .back()
            .is_none_or(|last| last.delivery.is_some());
        is_moving && is_unbroken && self.waiting.len() < MAX_LOADED_PER_KEY
    }

    /// Deliveries in memory, without one that stands in line for a worker.
    pub(super) fn loaded_behind(&self) -> usize {
        let loaded = self
            .waiting
            .iter()
            .take_while(|waiting| waiting.delivery.is_some())
            .count();
        loaded - usize::from(self.phase == Phase::Ready)
    }

    /// Forgets the contents of what waits.
    pub(super) fn unload(&mut self) {
        for waiting in &mut self.waiting {
            waiting.delivery = None;
        }
    }

    /// Whether the first was told to retry.
    pub(super) fn is_retry(&self) -> bool {
        self.waiting.front().is_some_and(|first| first.retry > 0)
    }
}
