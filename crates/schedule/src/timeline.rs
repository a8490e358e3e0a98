//! The law of the clocks: from wall-clock seconds to instants, over gaps and repeated hours.
//!
//! ```text
//! wall clock  01:30   02:00 ····· 03:00   03:30         02:30   03:00 = 02:00   02:30   03:00
//!               │       └── gap ────┘       │             │         └─ again ─────┘       │
//! instants    ──●───────────●───────────────●──         ──●─────────────●───────●─────────●──
//!                     first moment after                      first time   second time
//! ```
//!
//! Between two changes of its offset a zone's wall clock runs evenly, so the search goes from change to change: within a
//! stretch the next wall-clock second is the next instant; at a change the law decides. The law itself: [`crate`].

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::calendar::Rule;

/// The wall clock's next jump, and what it shows from then on.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    /// The first second after it.
    pub at: i64,
    /// Seconds east of UTC from then on.
    pub offset: i64,
}

/// The first due second after `after` (both since 1970-01-01 UTC), or `None` when there is none up to `last`.
pub(crate) fn next_after(rule: &Rule, zone: &TimeZone, after: i64, last: i64) -> Option<i64> {
    let mut from = after;
    let mut offset = offset_at(zone, from)?;
    let mut civil = rule.at_or_after(from + offset + 1)?;
    loop {
        let due = civil - offset;
        if from >= last {
            return None;
        }
        match next_change(zone, from, offset, due) {
            Some(change) => {
                let gap = change.offset > offset;
                if gap && civil < change.at + change.offset {
                    if !rule.every_hour {
                        return (change.at <= last).then_some(change.at);
                    }
                    civil = rule.at_or_after(change.at + change.offset)?;
                }
                // A clock put back shows the same times again. Who fires once goes on with what has not been shown yet.
                if !gap && rule.repeats {
                    civil = rule.at_or_after(change.at + change.offset)?;
                }
                (from, offset) = (change.at, change.offset);
            }
            None if !rule.repeats && is_second_time(zone, civil, offset) => {
                civil = rule.at_or_after(end_of_repetition(zone, due)?)?
            }
            None => return (due <= last).then_some(due),
        }
    }
}

/// The first change of the offset after `from` and at or before `until`. Changes of the abbreviation alone are none.
pub(crate) fn next_change(zone: &TimeZone, from: i64, offset: i64, until: i64) -> Option<Change> {
    let start = Timestamp::from_second(from).ok()?;
    zone.following(start)
        .map(|change| Change {
            at: change.timestamp().as_second(),
            offset: i64::from(change.offset().seconds()),
        })
        .take_while(|change| change.at <= until)
        .find(|change| change.offset != offset)
}

/// Seconds east of UTC; `None` outside the years that jiff knows.
pub(crate) fn offset_at(zone: &TimeZone, second: i64) -> Option<i64> {
    Some(i64::from(
        zone.to_offset(Timestamp::from_second(second).ok()?)
            .seconds(),
    ))
}

/// True when the wall clock has shown this time before, an hour or so ago.
fn is_second_time(zone: &TimeZone, civil: i64, offset: i64) -> bool {
    match civil_offset(zone, civil) {
        Some(AmbiguousOffset::Fold { before, after }) => {
            before != after && i64::from(after.seconds()) == offset
        }
        _ => false,
    }
}

/// What the zone says of a wall-clock time: once, never, or twice.
pub(crate) fn civil_offset(zone: &TimeZone, civil: i64) -> Option<AmbiguousOffset> {
    let datetime = TimeZone::UTC.to_datetime(Timestamp::from_second(civil).ok()?);
    Some(zone.to_ambiguous_timestamp(datetime).offset())
}

/// The wall-clock second at which the repetition that `second` lies in is over.
fn end_of_repetition(zone: &TimeZone, second: i64) -> Option<i64> {
    let offset = offset_at(zone, second)?;
    zone.preceding(Timestamp::from_second(second + 1).ok()?)
        .map(|change| change.timestamp().as_second())
        .find_map(|at| {
            offset_at(zone, at - 1)
                .filter(|before| *before != offset)
                .map(|before| at + before)
        })
}
