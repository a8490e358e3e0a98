//! Deliveries with a limit: a line for each group, and who of it may go on.
//!
//! ```text
//! offer, retry due, next of a key ──▶ line ──count_in──▶ Ready or Fetching ──▶ Running ──count_out──▶ (room for the next)
//! ```
//!
//! Invariant: what is counted is on its way to a worker, or runs; what begins is written down for as long as the rate
//! looks back. Of the line, the first few are in memory; the rest is known by id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::key::{KeyQueue, MAX_LOADED_PER_KEY, Phase};
use super::{Gate, Slot};
use crate::delivery::Limit;

/// Beginnings that are remembered for one group. A higher rate is kept to in shorter times: 100,000 in 10 s as 10,000 in 1 s.
const MAX_REMEMBERED: u32 = 10_000;

/// The longest that a lane's new owner begins nothing of a group, because its former owner may just have. A rate over a
/// longer time may be exceeded around a change of owner, to twice at most.
const MAX_WAIT_FOR_FORMER: Duration = Duration::from_secs(10);

/// What is counted together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    lane: u16,
    /// Of the lane's lease under which `begun` was written.
    fence: u64,
    limit: Limit,
    /// Keys that wait for their turn.
    pub(super) line: VecDeque<Slot>,
    /// On their way to a worker, or running.
    pub(super) counted: u32,
    /// On their way.
    pub(super) ahead: u32,
    /// When the last ones began, oldest first; as many as the rate allows at most.
    begun: VecDeque<Instant>,
    /// Somebody else owned the lane before: what they began is not known.
    is_taken_over: bool,
}

impl Group {
    /// The group of a delivery that came by `lane`.
    pub(super) fn of<'a>(
        groups: &'a mut HashMap<Arc<str>, Group>,
        limit: &Limit,
        lane: u16,
        fence: u64,
    ) -> &'a mut Group {
        let name: Arc<str> = limit.group.as_str().into();
        let group = groups.entry(Arc::clone(&name)).or_insert_with(|| Group {
            name,
            lane,
            fence,
            limit: limit.clone(),
            line: VecDeque::new(),
            counted: 0,
            ahead: 0,
            begun: VecDeque::new(),
            is_taken_over: fence > 1,
        });
        if group.fence != fence {
            (group.fence, group.is_taken_over) = (fence, true);
        }
        if group.limit != *limit {
            group.limit = limit.clone();
        }
        group
    }

    /// Whether one more at the end of the line may keep its contents.
    pub(super) fn may_load(&self) -> bool {
        self.line.len() < MAX_LOADED_PER_KEY
    }

    /// The rate as it is kept to: so many in any so long.
    fn rate(&self) -> Option<(u32, Duration)> {
        let (count, per) = self.limit.rate?;
        let count = count.max(1);
        match count <= MAX_REMEMBERED {
            true => Some((count, per)),
            false => Some((
                MAX_REMEMBERED,
                per.mul_f64(f64::from(MAX_REMEMBERED) / f64::from(count)),
            )),
        }
    }

    /// Forgets beginnings that the rate no longer looks at.
    fn look_back(&mut self, now: Instant) {
        let Some((count, per)) = self.rate() else {
            return;
        };
        if std::mem::take(&mut self.is_taken_over) {
            // The former owner is taken to have begun as many as it might have: just now, or, where to wait would take too
            // long, evenly.
            let spread = if per <= MAX_WAIT_FOR_FORMER {
                Duration::ZERO
            } else {
                per
            };
            let ages = (0..count).rev();
            let ages = ages.map(|n| spread.mul_f64(f64::from(n) / f64::from(count)));
            self.begun = ages.filter_map(|age| now.checked_sub(age)).collect();
        }
        while self.begun.front().is_some_and(|begun| *begun + per <= now) {
            self.begun.pop_front();
        }
    }

    fn has_room(&self) -> bool {
        let most = self.limit.concurrency.map_or(u32::MAX, |most| most.max(1));
        self.counted < most
    }

    /// When the rate has room for one more. `None`: now, or when one that is on its way has begun.
    fn next_begin(&self) -> Option<Instant> {
        let (count, per) = self.rate()?;
        let taken = self.begun.len() + self.ahead as usize;
        let oldest = taken.checked_sub(count as usize)?;
        Some(*self.begun.get(oldest)? + per)
    }

    /// The next key that may go on.
    fn next(&mut self, now: Instant) -> Option<Slot> {
        if self.line.is_empty() || !self.has_room() {
            return None;
        }
        self.look_back(now);
        let taken = self.begun.len() + self.ahead as usize;
        if self
            .rate()
            .is_some_and(|(count, _)| taken >= count as usize)
        {
            return None;
        }
        self.counted += 1;
        self.ahead += 1;
        self.line.pop_front()
    }
}

impl KeyQueue {
    /// The group it was counted with, to be told that it no longer is.
    pub(super) fn uncount(&mut self) -> Option<Arc<str>> {
        match std::mem::take(&mut self.is_counted) {
            true => self.group.clone(),
            false => None,
        }
    }
}

impl Gate {
    /// Lets those go on whose turn it is, as far as there is room for fresh deliveries.
    pub(super) fn count_in(&mut self, now: Instant) {
        while self.room() > 0 {
            let Some(slot) = self.groups.values_mut().find_map(|group| group.next(now)) else {
                return;
            };
            let queue = self.queue(&slot).expect("a key in line has a queue");
            queue.is_counted = true;
            self.advance_counted(&slot);
        }
    }

    /// When a group may go on that waits for nothing but time.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        // Without room, the next take lets them go on.
        if self.room() == 0 {
            return None;
        }
        let waiting = self.groups.values();
        let waiting = waiting.filter(|group| !group.line.is_empty() && group.has_room());
        waiting.filter_map(Group::next_begin).min()
    }

    /// Whether [`Gate::next_turn`] is another than when this was last asked.
    pub(crate) fn has_new_turn(&mut self) -> bool {
        let turn = self.next_turn();
        let is_new = turn.is_some() && turn != self.announced_turn;
        self.announced_turn = turn;
        is_new
    }

    /// A delivery of the group begins.
    pub(super) fn begin_counted(&mut self, name: &Arc<str>, now: Instant) {
        if let Some(group) = self.groups.get_mut(name) {
            group.ahead -= 1;
            if group.limit.rate.is_some() {
                group.begun.push_back(now);
            }
        }
    }

    /// A delivery of the group no longer runs.
    pub(super) fn count_out(&mut self, name: &Arc<str>) {
        if let Some(group) = self.groups.get_mut(name) {
            group.counted -= 1;
        }
    }

    /// A delivery of the group does not begin after all.
    pub(super) fn give_back(&mut self, name: &Arc<str>) {
        self.count_out(name);
        if let Some(group) = self.groups.get_mut(name) {
            group.ahead -= 1;
        }
    }

    /// Puts a key at the end of its group's line.
    pub(super) fn stand_in_line(&mut self, slot: &Slot) {
        let queue = self.queue(slot).expect("the caller has just seen it");
        queue.phase = Phase::Limited;
        let name = queue.group.clone().expect("only groups have lines");
        let group = self.groups.get_mut(&name).expect("a group stays");
        group.line.push_back(slot.clone());
    }

    /// Forgets who waited in a lane that is given up or begun anew.
    pub(super) fn clear_lines(&mut self, lane: u16) {
        let of_lane = self.groups.values_mut().filter(|group| group.lane == lane);
        of_lane.for_each(|group| group.line.clear());
    }
}
