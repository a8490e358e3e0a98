//! Bringing back the contents of what is known by id: retries that are due, and the rest of long
//! key queues.

use std::time::Instant;

use super::key::{MAX_LOADED_PER_KEY, Phase};
use super::{Gate, Slot};
use crate::delivery::{Delivery, EntryId};

/// Entries of one key to read again from their lane, in order.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) generation: u64,
    pub(crate) ids: Vec<EntryId>,
    pub(crate) slot: Slot,
    epoch: u64,
}

impl Gate {
    /// What to read again now, each once. Parked keys that are due by `now` join, as far as there
    /// is room for retries.
    pub(crate) fn take_fetches(&mut self, now: Instant) -> Vec<Fetch> {
        self.count_in(now);
        while self.has_room_for_retries() {
            match self.parked.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let slot = first.remove();
                    self.advance(&slot);
                }
                _ => break,
            }
        }
        self.count_in(now);
        std::mem::take(&mut self.fetches)
    }

    /// When [`Gate::take_fetches`] will have more without anything else happening.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let parked = self.parked.first_key_value();
        let retry = parked.filter(|_| self.has_room_for_retries());
        let retry = retry.map(|(&(until, _), _)| until);
        retry.into_iter().chain(self.next_turn()).min()
    }

    /// Whether [`Gate::take_fetches`] has something now.
    pub(crate) fn wants_fetch(&self, now: Instant) -> bool {
        !self.fetches.is_empty() || self.next_due().is_some_and(|until| until <= now)
    }

    fn has_room_for_retries(&self) -> bool {
        self.again.len() + self.again_fetching < self.max_buffered
    }

    /// Asks for the first contents of a key, and for some more behind them while memory lasts.
    pub(super) fn fetch(&mut self, slot: &Slot) {
        let spare = self.max_buffered.saturating_sub(self.loaded_behind);
        let limit = (1 + spare).min(MAX_LOADED_PER_KEY);
        let Some(generation) = self.generation else {
            return;
        };
        let Some(state) = self.lanes.get_mut(&slot.lane) else {
            return;
        };
        let Some(queue) = state.keys.get_mut(&slot.key) else {
            return;
        };
        let ids: Vec<EntryId> = queue
            .waiting
            .iter()
            .take(limit)
            .map(|waiting| waiting.id)
            .collect();
        let behind = ids.len() - 1;
        queue.phase = Phase::Fetching { behind };
        self.again_fetching += usize::from(queue.is_retry());
        self.loaded_behind += behind;
        self.fetches.push(Fetch {
            generation,
            ids,
            slot: slot.clone(),
            epoch: state.epoch,
        });
    }

    /// Whether the answer to a fetch is still waited for.
    pub(crate) fn awaits(&self, fetch: &Fetch) -> bool {
        self.is_active(fetch.slot.lane, fetch.epoch)
    }

    /// Takes in what was asked for, one answer per id. The key goes on without an entry that is not
    /// there, because it has been acknowledged; so the answers must be from a time when the
    /// generation still held. After a flush nothing is there, and later entries would overtake.
    pub(crate) fn fetched(&mut self, fetch: &Fetch, answers: Vec<Option<Delivery>>) {
        if !self.awaits(fetch) {
            return;
        }
        let Some(queue) = self.queue(&fetch.slot) else {
            return;
        };
        let Phase::Fetching { behind } = queue.phase else {
            return;
        };
        let was_retry = queue.is_retry();
        let mut loaded = 0;
        for (waiting, answer) in queue.waiting.iter_mut().zip(answers) {
            loaded += usize::from(answer.is_some());
            waiting.delivery = answer.map(Box::new);
        }
        let mut position = 0;
        queue.waiting.retain(|waiting| {
            position += 1;
            position > fetch.ids.len() || waiting.delivery.is_some()
        });
        self.loaded_behind = self.loaded_behind - behind + loaded;
        self.again_fetching -= usize::from(was_retry);
        self.advance_counted(&fetch.slot);
    }
}
