//! Lets what is held go on: paused triggers that were resumed, and what was over its share.
//!
//! Invariant: of one key, deliveries go into the queue in the order of their places. While a trigger, or a key, holds
//! something, everything new of it is held. The last of it goes on while the end of the log is held in place and
//! everything up to that end has been decided about: then nothing new is between what goes on and what comes after.

use std::collections::HashSet;

use tidegate_event::failpoint;
use tidegate_event_log::{Resumed, Which};
use tokio::sync::watch;

use crate::Error;
use crate::backlog::MAX_PENDING_PER_KEY;
use crate::lead::Dispatch;
use crate::settle::MAX_LOOK;

/// Most deliveries in one transaction: what it copies and locks.
const MAX_RESUMED: u64 = 1_000;

/// Most events that dispatch may have left to read when it holds the log in place.
const MAX_FROZEN_LAG: u64 = 1_000;

/// What of a trigger is drained.
struct Draining {
    trigger: u16,
    which: Which,
    limit: u64,
}

impl Dispatch<'_> {
    /// Takes note of what operators paused and resumed.
    pub async fn follow_pauses(
        &mut self,
        paused: &watch::Receiver<HashSet<String>>,
    ) -> Result<(), Error> {
        let paused = paused.borrow().clone();
        for number in 0..self.triggers.names().len() as u16 {
            let is_paused = paused.contains(self.triggers.name(number));
            let trigger = &mut self.backlog.triggers[usize::from(number)];
            if is_paused {
                trigger.is_paused = true;
                trigger.is_held = true;
                trigger.held_keys.clear();
            } else if trigger.is_paused {
                self.unpause(number).await?;
            }
        }
        Ok(())
    }

    /// No worker holds deliveries of this trigger any more; takes in which they have held.
    async fn unpause(&mut self, number: u16) -> Result<(), Error> {
        for offsets in self.pending.of_trigger(number).chunks(MAX_LOOK) {
            let finished = self.log.finished_among(offsets).await?;
            self.finish(finished);
        }
        let end = self.log.last_offset().await?;
        let trigger = &mut self.backlog.triggers[usize::from(number)];
        trigger.is_paused = false;
        trigger.suspect_until = end;
        Ok(())
    }

    /// Lets held deliveries go on where there is room for them; returns whether any did.
    pub async fn drain(&mut self) -> Result<bool, Error> {
        let mut has_drained = false;
        for number in 0..self.backlog.triggers.len() as u16 {
            for draining in self.due(number) {
                has_drained |= self.drain_some(&draining).await?;
            }
        }
        Ok(has_drained)
    }

    /// What of this trigger has room in the queue now, and is not on its way through the log already.
    fn due(&self, number: u16) -> Vec<Draining> {
        let trigger = self.backlog.trigger(number);
        let is_holding = trigger.is_held || !trigger.held_keys.is_empty();
        let has_read_all = self.cursor >= trigger.suspect_until.max(trigger.drained_until);
        if !is_holding || trigger.is_paused || !has_read_all || !self.backlog.may_drain(number) {
            return Vec::new();
        }
        let room = self.backlog.share().saturating_sub(trigger.pending);
        let draining = |which, limit: u64| Draining {
            trigger: number,
            which,
            limit: limit.clamp(1, MAX_RESUMED),
        };
        if trigger.is_held {
            return vec![draining(Which::Except(trigger.hot_keys()), room)];
        }
        let due = trigger.held_keys.iter().filter_map(|(&key, drained)| {
            let pending = trigger.pending_of(Some(key));
            let room_of_key = u64::from(MAX_PENDING_PER_KEY.saturating_sub(pending)).min(room);
            let is_due = self.cursor >= *drained && pending * 2 < MAX_PENDING_PER_KEY;
            is_due.then(|| draining(Which::Key(key), room_of_key))
        });
        due.collect()
    }

    async fn drain_some(&mut self, draining: &Draining) -> Result<bool, Error> {
        let Draining {
            trigger,
            which,
            limit,
        } = draining;
        let name = self.triggers.name(*trigger).to_owned();
        let is_last = self.log.count_held(&name, which, limit + 1).await? <= *limit;
        if is_last && let Some(resumed) = self.drain_last(&name, draining).await? {
            return Ok(resumed.resumed > 0);
        }
        let resumed = self.log.resume_held(&name, which, *limit).await?;
        self.note_resumed(draining, resumed);
        Ok(resumed.resumed > 0)
    }

    /// Lets the last of it go on, and holds nothing new from there on. None: dispatch is too far behind to.
    async fn drain_last(
        &mut self,
        name: &str,
        draining: &Draining,
    ) -> Result<Option<Resumed>, Error> {
        let frozen = self.log.freeze().await?;
        let end = frozen.last_offset();
        let mut is_near = end <= self.cursor + MAX_FROZEN_LAG;
        while is_near && self.cursor < end {
            is_near = self.queue_next().await? && !self.ahead.is_blocked;
        }
        if !is_near {
            frozen.end().await?;
            return Ok(None);
        }
        // With what came meanwhile and was held.
        let all = draining.limit + MAX_FROZEN_LAG;
        let resumed = frozen.resume_held(name, &draining.which, all).await?;
        frozen.end().await?;
        self.note_resumed(draining, resumed);
        let trigger = &mut self.backlog.triggers[usize::from(draining.trigger)];
        match &draining.which {
            Which::Key(key) => drop(trigger.held_keys.remove(key)),
            Which::Except(hot) => {
                trigger.is_held = false;
                trigger.held_keys = hot.iter().map(|key| (*key, 0)).collect();
            }
        }
        tracing::debug!(trigger = name, "nothing is held any more");
        Ok(Some(resumed))
    }

    fn note_resumed(&mut self, draining: &Draining, resumed: Resumed) {
        let Some(end) = resumed.last_offset else {
            return;
        };
        failpoint::pass(failpoint::DISPATCH_RESUMED);
        let trigger = &mut self.backlog.triggers[usize::from(draining.trigger)];
        match &draining.which {
            Which::Key(key) => drop(trigger.held_keys.insert(*key, end)),
            Which::Except(_) => trigger.drained_until = end,
        }
    }
}
