//! Gaining and losing lanes, and generations.

use std::collections::HashMap;
use std::time::Instant;

use super::key::{Key, KeyQueue, Phase};
use super::{Gate, Slot};
use crate::delivery::{EntryId, Lane};

/// A lane that is leased, or that something still runs of.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) lease: Lane,
    /// Read and run from.
    pub(super) is_active: bool,
    /// Counts activations, so that what was read under a former one is not taken for this one's.
    pub(super) epoch: u64,
    /// Entries up to here may have been run by someone before.
    pub(super) repeats_through: EntryId,
    pub(super) keys: HashMap<Key, KeyQueue>,
    pub(super) running: usize,
    pub(super) unflushed: usize,
    /// A handler was dropped before its end: what it began elsewhere may still go on.
    pub(super) has_orphan: bool,
}

impl Gate {
    /// Takes note of what a renewal granted. Lanes that are not among it, or came back under
    /// another fence, are dropped: what is buffered of them is forgotten, what runs goes on. New
    /// ones wait for [`Gate::activate`].
    pub(crate) fn grant(&mut self, leased: &[Lane], until: Instant) {
        self.leased = leased.iter().map(|lane| (lane.index, *lane)).collect();
        self.leased_until = Some(until);
        self.drop_unleased();
        for lane in leased {
            let state = self
                .lanes
                .entry(lane.index)
                .or_insert_with(|| LaneState::new(*lane));
            state.lease = *lane;
        }
    }

    /// Takes note that nothing is leased any more.
    pub(crate) fn lose_leases(&mut self) {
        self.leased.clear();
        self.leased_until = None;
        self.drop_unleased();
    }

    fn drop_unleased(&mut self) {
        let lost = |state: &LaneState| self.leased.get(&state.lease.index) != Some(&state.lease);
        let active = self.lanes.values().filter(|state| state.is_active);
        let lost: Vec<u16> = active
            .filter(|state| lost(state))
            .map(|state| state.lease.index)
            .collect();
        for index in lost {
            self.deactivate(index);
        }
    }

    /// Begins to run from a leased lane, which is read from its start: entries up to
    /// `repeats_through` may have been run before. Answers the epoch to offer under, or `None` if
    /// the lease has been lost meanwhile.
    pub(crate) fn activate(&mut self, lease: Lane, repeats_through: EntryId) -> Option<u64> {
        if self.leased.get(&lease.index) != Some(&lease) {
            return None;
        }
        self.deactivate(lease.index);
        self.last_epoch += 1;
        let state = self.lanes.get_mut(&lease.index)?;
        state.is_active = true;
        state.has_orphan = false;
        state.epoch = self.last_epoch;
        state.repeats_through = repeats_through;
        Some(self.last_epoch)
    }

    /// Whether the lane is still active as of `epoch`.
    pub(crate) fn is_active(&self, lane: u16, epoch: u64) -> bool {
        self.lanes
            .get(&lane)
            .is_some_and(|state| state.is_active && state.epoch == epoch)
    }

    pub(crate) fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Goes over to another generation, or to none: drops all that is buffered, but not what runs.
    pub(crate) fn change_generation(&mut self, generation: Option<u64>) {
        self.generation = generation;
        let indexes: Vec<u16> = self.lanes.keys().copied().collect();
        for index in indexes {
            self.deactivate(index);
        }
    }

    /// The lanes of which something runs. One whose handler was dropped is left out: nobody knows when what it began
    /// ends, so its lease must run out.
    pub(crate) fn busy(&self) -> Vec<u16> {
        let is_busy =
            |state: &&LaneState| (state.running > 0 || state.unflushed > 0) && !state.has_orphan;
        let busy = self.lanes.values().filter(is_busy);
        busy.map(|state| state.lease.index).collect()
    }

    /// The lanes that are not leased any more and have come to rest, each once: nothing runs,
    /// nothing is unflushed, no handler was dropped.
    pub(crate) fn take_rested(&mut self) -> Vec<Lane> {
        let leased = &self.leased;
        let rested = |state: &LaneState| {
            let is_idle = state.running == 0 && state.unflushed == 0;
            let is_over = is_idle && !state.is_active && !state.has_orphan;
            is_over && !leased.contains_key(&state.lease.index)
        };
        let rested = self.lanes.extract_if(|_, state| rested(state));
        rested.map(|(_, state)| state.lease).collect()
    }

    /// Forgets what is buffered of a lane and keeps what runs.
    fn deactivate(&mut self, index: u16) {
        let Some(state) = self.lanes.get_mut(&index) else {
            return;
        };
        state.is_active = false;
        let mut uncounted = Vec::new();
        for queue in state.keys.values_mut() {
            self.loaded_behind -= queue.loaded_behind();
            let is_retry = queue.is_retry();
            match &mut queue.phase {
                Phase::Parked(due) => drop(self.parked.remove(due)),
                Phase::Fetching { behind } => {
                    self.loaded_behind -= *behind;
                    self.again_fetching -= usize::from(is_retry);
                }
                Phase::Running(running) => running.is_carried = true,
                Phase::Ready | Phase::Limited => {}
            }
            queue.waiting.clear();
            if !matches!(queue.phase, Phase::Running(_))
                && let Some(group) = queue.uncount()
            {
                uncounted.push(group);
            }
        }
        state
            .keys
            .retain(|_, queue| matches!(queue.phase, Phase::Running(_)));
        let is_kept = |slot: &Slot| slot.lane != index;
        self.fresh.retain(is_kept);
        self.again.retain(is_kept);
        self.fetches.retain(|fetch| fetch.slot.lane != index);
        self.clear_lines(index);
        for group in uncounted {
            self.give_back(&group);
        }
    }
}

impl LaneState {
    fn new(lease: Lane) -> LaneState {
        LaneState {
            lease,
            is_active: false,
            epoch: 0,
            repeats_through: EntryId::ZERO,
            keys: HashMap::new(),
            running: 0,
            unflushed: 0,
            has_orphan: false,
        }
    }
}
