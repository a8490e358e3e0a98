//! What becomes of due times that passed before anybody looked.
//!
//! ```text
//!  last handled                                   now - 30 s        now
//!  ──┤ · · · · · missed: the policy decides · · · · ┤ · late: fires · ├──
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::options::Missed;
use crate::schedule::Schedule;

/// A due time younger than this is late, not missed: a scheduler that took over or was busy for a moment lost nothing.
pub const GRACE: Duration = Duration::from_secs(30);

/// A `once` up to this much in the past when first seen fires at once: the moment of a form's "now" is its opening.
pub const ONCE_GRACE: Duration = Duration::from_secs(600);

/// Skipped due times are counted up to this: a schedule of each second may have missed millions.
pub const MAX_COUNTED: usize = 10_000;

/// What one look at a schedule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// To be fired now, in order.
    pub fire: Vec<Due>,
    /// Due times that nothing is made of. They are older than all of `fire`.
    pub skipped: Option<Skipped>,
    /// To be remembered, and given to the next look: all due times up to here are decided. Never goes back.
    pub handled: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Timestamp,
    /// Made up for, not merely late.
    pub missed: bool,
}

/// A row of due times that are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub first: Timestamp,
    pub last: Timestamp,
    /// How many, at most [`MAX_COUNTED`].
    pub count: usize,
    /// There are more than `count`.
    pub more: bool,
}

impl Schedule {
    /// Decides about all due times after `last` up to `now`.
    ///
    /// `last`: `handled` of the look before, or the instant from which on the schedule is to count (it was resumed, or its
    /// timing changed). `None`: first seen. Nothing is back-filled then, but for a `once` less than [`ONCE_GRACE`] old.
    ///
    /// A clock put back decides nothing anew: `now` before `last` has no due times.
    pub fn catch_up(&self, last: Option<Timestamp>, now: Timestamp) -> CatchUp {
        let Some(last) = last else {
            let fire = self
                .once()
                .filter(|at| *at <= now && now.duration_since(*at) < signed(ONCE_GRACE));
            return CatchUp {
                fire: fire
                    .map(|at| Due { at, missed: false })
                    .into_iter()
                    .collect(),
                skipped: None,
                handled: now,
            };
        };
        if now <= last {
            return CatchUp {
                fire: Vec::new(),
                skipped: None,
                handled: last,
            };
        }
        // The last instant of what is missed: a due time of exactly that age is.
        let boundary = now.checked_sub(signed(GRACE)).unwrap_or(now).max(last);
        let late = self.due_between(boundary, now, usize::MAX);
        let wanted = match self.missed {
            Missed::Skip => 0,
            // What is merely late stands for what is missed.
            Missed::One => usize::from(late.is_empty()),
            Missed::All { cap } => cap as usize,
        };
        let made_up = self.latest(last, boundary, wanted);
        let skipped = self.skipped(last, made_up.first().map_or(boundary, before));
        let due = |missed| move |at| Due { at, missed };
        CatchUp {
            fire: made_up
                .into_iter()
                .map(due(true))
                .chain(late.into_iter().map(due(false)))
                .collect(),
            skipped,
            handled: now,
        }
    }

    /// The latest `count` due times after `from` and at or before `to`, in order.
    fn latest(&self, from: Timestamp, mut to: Timestamp, count: usize) -> Vec<Timestamp> {
        let mut found = Vec::new();
        while found.len() < count
            && let Some(at) = self.latest_one(from, to)
        {
            found.push(at);
            to = before(&at);
        }
        found.reverse();
        found
    }

    /// The latest due time after `from` and at or before `to`: looked for backwards in steps that double, then by halving.
    fn latest_one(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let next = |after: Timestamp| self.next_after(after).filter(|due| *due <= to);
        let mut step = SignedDuration::from_secs(1);
        let mut nothing_after = to;
        let mut found = loop {
            let start = to.checked_sub(step).unwrap_or(from).max(from);
            match next(start) {
                Some(due) => break due,
                None if start == from => return None,
                None => nothing_after = start,
            }
            step = step.saturating_mul(4);
        };
        while let Some(due) = next(found) {
            let middle = due
                .checked_add(nothing_after.duration_since(due) / 2)
                .unwrap_or(due);
            match next(middle) {
                Some(later) => found = later,
                None => (found, nothing_after) = (due, middle),
            }
        }
        Some(found)
    }

    fn skipped(&self, from: Timestamp, to: Timestamp) -> Option<Skipped> {
        let first = self.next_after(from).filter(|due| *due <= to)?;
        let count = self.due_between(from, to, MAX_COUNTED + 1).len();
        let last = self.latest_one(from, to).unwrap_or(first);
        Some(Skipped {
            first,
            last,
            count: count.min(MAX_COUNTED),
            more: count > MAX_COUNTED,
        })
    }
}

/// The instant just before a due time.
fn before(at: &Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(*at)
}

pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).expect("durations are limited to years when read")
}
