//! A schedule ready to be asked: when next, and when between.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::Rule;
use crate::duration::millis;
use crate::error::Error;
use crate::options::{Missed, Options, Overlap};
use crate::timeline;
use crate::timing::Timing;
use crate::zone;

/// One schedule, compiled: about half a kilobyte, and microseconds a question.
///
/// Due times have whole seconds; those of `every` have its anchor's milliseconds.
#[derive(Clone, Debug)]
pub struct Schedule {
    name: Arc<str>,
    clock: Clock,
    pub zone: TimeZone,
    pub starts: Option<Timestamp>,
    pub ends: Option<Timestamp>,
    pub missed: Missed,
    pub overlap: Overlap,
    pub jitter: Duration,
}

#[derive(Clone, Debug)]
enum Clock {
    Wall(Arc<Rule>),
    /// Milliseconds since 1970 and between two due times.
    Real {
        anchor: i64,
        every: i64,
    },
    Once(Timestamp),
}

impl Schedule {
    /// `name`: unique among schedules; jitter derives from it. `created`: the anchor of `every` where nothing is said of starts.
    ///
    /// # Errors
    /// A zone that this machine's database lacks; nothing else, for options that were read.
    pub fn new(name: &str, options: &Options, created: Timestamp) -> Result<Self, Error> {
        let (_, zone) = zone::find("timezone", &options.timezone)?;
        let clock = match (&options.timing, options.timing.rule()) {
            (_, Some(rule)) => Clock::Wall(rule),
            (Timing::Once(at), None) => Clock::Once(*at),
            (Timing::Every(every), None) => Clock::Real {
                anchor: floor_millis(options.starts.unwrap_or(created)),
                every: millis(*every).max(1) as i64,
            },
            (other, None) => unreachable!("{other:?} has a rule"),
        };
        Ok(Schedule {
            name: name.into(),
            clock,
            zone,
            starts: options.starts,
            ends: options.ends,
            missed: options.missed,
            overlap: options.overlap,
            jitter: options.jitter,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first due time after that instant (never that instant itself), or `None` when there is none any more.
    ///
    /// A due time is looked for within [`crate::HORIZON_YEARS`], so the search ends whatever is asked.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let nanosecond = SignedDuration::from_nanos(1);
        let after = match self
            .starts
            .and_then(|starts| starts.checked_sub(nanosecond).ok())
        {
            Some(before_start) => after.max(before_start),
            None => after,
        };
        let due = match &self.clock {
            Clock::Once(at) => Some(*at).filter(|at| *at > after),
            Clock::Real { anchor, every } => {
                let passed = (floor_millis(after) - anchor).div_euclid(*every) + 1;
                Timestamp::from_millisecond(anchor.checked_add(passed.max(0).checked_mul(*every)?)?)
                    .ok()
            }
            Clock::Wall(rule) => {
                let last = self.ends.unwrap_or(Timestamp::MAX).as_second();
                let due = timeline::next_after(
                    rule,
                    &self.zone,
                    floor_millis(after).div_euclid(1000),
                    last,
                )?;
                Timestamp::from_second(due).ok()
            }
        };
        due.filter(|due| self.ends.is_none_or(|ends| *due <= ends))
    }

    /// The due times after `from` and at or before `to`, in order, the first `max` of them.
    pub fn due_between(&self, from: Timestamp, to: Timestamp, max: usize) -> Vec<Timestamp> {
        self.after(from)
            .take_while(|due| *due <= to)
            .take(max)
            .collect()
    }

    /// Every due time after that instant, in order.
    pub fn after(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next_after(from), |due| self.next_after(*due))
    }

    /// When the run of a due time may begin: its jitter after it. The same for the same name and due time, on every machine.
    pub fn run_at(&self, due: Timestamp) -> Timestamp {
        let most = millis(self.jitter);
        if most == 0 {
            return due;
        }
        let delay = mix(&self.name, due.as_millisecond()) % (most + 1);
        due.checked_add(SignedDuration::from_millis(delay as i64))
            .unwrap_or(due)
    }

    /// The wall-clock rule, for who explains due times; `None` where real time rules.
    pub(crate) fn rule(&self) -> Option<&Rule> {
        match &self.clock {
            Clock::Wall(rule) => Some(rule),
            Clock::Real { .. } | Clock::Once(_) => None,
        }
    }

    /// The moment of a schedule that has only one.
    pub(crate) fn once(&self) -> Option<Timestamp> {
        match self.clock {
            Clock::Once(at) => Some(at),
            Clock::Wall(_) | Clock::Real { .. } => None,
        }
    }
}

fn floor_millis(at: Timestamp) -> i64 {
    at.as_nanosecond().div_euclid(1_000_000) as i64
}

/// FNV-1a over both, then murmur's last step, so that neighbours scatter. Never to change: it says when runs begin.
fn mix(name: &str, millis: i64) -> u64 {
    let bytes = name.bytes().chain(millis.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
