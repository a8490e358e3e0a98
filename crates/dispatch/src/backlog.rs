//! Whether a delivery goes to the queue, is held in the log, or waits where it is. Pure.
//!
//! The queue is shared: a trigger, or an object, that is slower than its changes come may fill its share of it and no
//! more. What is over waits in the log, unread, as long as nothing else is behind it: that costs nothing. As soon as
//! something else is, it is held, and dispatch reads on past it.

use std::collections::{HashMap, HashSet};

use crate::plan::{Candidate, Triggers};

/// Most deliveries of one key in the queue: enough that its handler never waits for dispatch, little enough that a
/// worker, which keeps an id for each, does not notice.
pub(crate) const MAX_PENDING_PER_KEY: u32 = 1_000;

/// Most keys of a trigger that are held by themselves; beyond, the whole trigger is. Each costs a look now and then.
const MAX_HELD_KEYS: usize = 64;

/// What to do with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Queue,
    /// Its trigger is paused, or it must not overtake what is held.
    Hold,
    /// Its trigger has its share of the queue.
    TriggerOver,
    /// Its key has.
    KeyOver,
    /// The queue is full.
    Full,
}

/// What is in the queue, counted, and who is held.
pub(crate) struct Backlog {
    max_queued: u64,
    max_queued_bytes: u64,
    total: u64,
    bytes: u64,
    pub triggers: Vec<TriggerBacklog>,
    /// Deliveries up to here, by log offset and position, were decided about by a former leader or for a former queue:
    /// what has no outcome was queued.
    pub queued_until: (u64, u16),
}

#[derive(Default)]
pub(crate) struct TriggerBacklog {
    pub pending: u64,
    pub is_paused: bool,
    /// Everything new is held, because it is paused, or more than its share is waiting.
    pub is_held: bool,
    /// Keys of which everything new is held, each with the offset up to which it was drained.
    pub held_keys: HashMap<i64, u64>,
    /// Resumed entries up to here may stand behind others that were held once more: they are held again, too.
    pub suspect_until: u64,
    /// Entries up to here are of its last draining.
    pub drained_until: u64,
    keys: HashMap<i64, u32>,
}

impl Backlog {
    pub fn new(max_queued: u64, max_queued_bytes: u64, triggers: usize) -> Backlog {
        Backlog {
            max_queued,
            max_queued_bytes,
            total: 0,
            bytes: 0,
            triggers: (0..triggers).map(|_| TriggerBacklog::default()).collect(),
            queued_until: (0, 0),
        }
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn decide(&self, candidate: &Candidate) -> Decision {
        let trigger = self.trigger(candidate.trigger);
        let decision = if (candidate.log_offset, candidate.position) <= self.queued_until {
            Decision::Queue
        } else if trigger.is_paused {
            Decision::Hold
        } else if candidate.held.is_some() {
            match candidate.log_offset <= trigger.suspect_until {
                true => Decision::Hold,
                false => Decision::Queue,
            }
        } else if trigger.holds(candidate.key) {
            Decision::Hold
        } else if trigger.pending >= self.share() {
            Decision::TriggerOver
        } else if trigger.pending_of(candidate.key) >= MAX_PENDING_PER_KEY {
            Decision::KeyOver
        } else {
            Decision::Queue
        };
        match decision {
            Decision::Queue if self.is_full() => Decision::Full,
            decision => decision,
        }
    }

    pub fn is_full(&self) -> bool {
        self.total >= self.max_queued || self.bytes >= self.max_queued_bytes
    }

    /// Most pending deliveries of one trigger now: never more than a quarter of the queue, and never more than what
    /// is free, so that there is always room for one more trigger.
    pub fn share(&self) -> u64 {
        let free = self.max_queued.saturating_sub(self.total);
        (self.max_queued / 4).min(free).max(1)
    }

    /// True when a trigger has so little in the queue that what it holds may go on.
    pub fn may_drain(&self, trigger: u16) -> bool {
        self.trigger(trigger).pending * 2 < self.share() || self.trigger(trigger).pending == 0
    }

    /// From now on, what is like this delivery is held.
    pub fn hold(&mut self, candidate: &Candidate, decision: Decision) {
        let trigger = &mut self.triggers[usize::from(candidate.trigger)];
        match (decision, candidate.key) {
            (Decision::KeyOver, Some(key)) if trigger.held_keys.len() < MAX_HELD_KEYS => {
                trigger.held_keys.entry(key).or_default();
            }
            _ => trigger.is_held = true,
        }
    }

    pub fn add(&mut self, candidate: &Candidate, bytes: u32) {
        self.total += 1;
        self.bytes += u64::from(bytes);
        let trigger = &mut self.triggers[usize::from(candidate.trigger)];
        trigger.pending += 1;
        if let Some(key) = candidate.key {
            *trigger.keys.entry(key).or_default() += 1;
        }
    }

    pub fn remove(&mut self, trigger: u16, key: Option<i64>, bytes: u32) {
        self.total -= 1;
        self.bytes -= u64::from(bytes);
        let trigger = &mut self.triggers[usize::from(trigger)];
        trigger.pending -= 1;
        if let Some(key) = key
            && let Some(pending) = trigger.keys.get_mut(&key)
        {
            *pending -= 1;
            if *pending == 0 {
                trigger.keys.remove(&key);
            }
        }
    }

    /// Takes in what the log holds, of a former leader or queue: counts by trigger and key, the largest first.
    pub fn take_in_held(
        &mut self,
        names: &Triggers,
        holding: &[String],
        keys: &[tidegate_event_log::HeldKey],
        paused: &HashSet<String>,
        end: u64,
    ) {
        for (number, trigger) in self.triggers.iter_mut().enumerate() {
            let name = names.name(number as u16);
            trigger.is_paused = paused.contains(name);
            trigger.is_held = trigger.is_paused || holding.iter().any(|one| one == name);
            if !trigger.is_held {
                continue;
            }
            trigger.suspect_until = end;
            let held: Vec<_> = keys.iter().filter(|held| held.trigger == name).collect();
            let is_few = !held.is_empty() && held.len() <= MAX_HELD_KEYS;
            if is_few && !trigger.is_paused && held.iter().all(|held| held.key.is_some()) {
                trigger.is_held = false;
                trigger.held_keys = held
                    .iter()
                    .filter_map(|held| Some((held.key?, end)))
                    .collect();
            }
        }
    }

    pub fn trigger(&self, number: u16) -> &TriggerBacklog {
        &self.triggers[usize::from(number)]
    }
}

impl TriggerBacklog {
    fn holds(&self, key: Option<i64>) -> bool {
        self.is_held || key.is_some_and(|key| self.held_keys.contains_key(&key))
    }

    pub fn pending_of(&self, key: Option<i64>) -> u32 {
        key.and_then(|key| self.keys.get(&key).copied())
            .unwrap_or(0)
    }

    /// Keys that have more in the queue than they may have while others of this trigger go on.
    pub fn hot_keys(&self) -> Vec<i64> {
        let hot =
            |(key, pending): (&i64, &u32)| (*pending * 2 >= MAX_PENDING_PER_KEY).then_some(*key);
        let mut hot: Vec<i64> = self.keys.iter().filter_map(hot).collect();
        hot.truncate(MAX_HELD_KEYS);
        hot
    }
}
