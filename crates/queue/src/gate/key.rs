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
    /// It was given out before, and put back.
    pub(super) is_again: bool,
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
    /// Its group's turn: see [`super::group`].
    Limited,
}

/// A delivery that a handler has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) id: EntryId,
    pub(super) retry: u32,
    pub(super) maybe_repeated: bool,
    pub(super) is_again: bool,
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
    /// What its deliveries are counted with.
    pub(super) group: Option<Arc<str>>,
    /// It is counted now: its first delivery is on its way to a worker, or runs.
    pub(super) is_counted: bool,
}

impl Key {
    pub(super) fn of(delivery: &Delivery) -> Key {
        match (delivery.unordered, &delivery.limit) {
            (true, _) => Key::Alone(delivery.id()),
            (false, None) => Key::Ordered(delivery.order_key.as_str().into()),
            // Groups share lanes; the keys of one do not wait for another's.
            (false, Some(limit)) => {
                Key::Ordered(format!("{}\u{1f}{}", limit.group, delivery.order_key).into())
            }
        }
    }
}

impl KeyQueue {
    pub(super) fn ready(first: Waiting) -> KeyQueue {
        KeyQueue {
            phase: Phase::Ready,
            waiting: VecDeque::from([first]),
            group: None,
            is_counted: false,
        }
    }

    pub(super) fn limited(first: Waiting, group: Arc<str>) -> KeyQueue {
        KeyQueue {
            phase: Phase::Limited,
            group: Some(group),
            ..KeyQueue::ready(first)
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

    /// Whether the first was given out before.
    pub(super) fn is_retry(&self) -> bool {
        self.waiting.front().is_some_and(|first| first.is_again)
    }
}
