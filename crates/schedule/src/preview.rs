//! The next due times in words that a person can check against a wall clock.

use jiff::Timestamp;
use jiff::tz::AmbiguousOffset;
use serde::{Serialize, Serializer};

use crate::calendar::{DAY, Rule};
use crate::schedule::Schedule;
use crate::timeline::{self, Change};

/// Most rows of one preview.
pub const MAX_ROWS: usize = 1000;

/// One due time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// In UTC; as JSON in ISO with `Z`.
    #[serde(serialize_with = "iso")]
    pub due: Timestamp,
    /// `2027-03-28T03:00:00+02:00`.
    pub local: String,
    /// What the zone calls its time then: `CEST`.
    pub zone: String,
    /// What the clocks do to it, on a day on which they change.
    pub note: Option<String>,
}

/// The first `count` due times after `at`, at most [`MAX_ROWS`]; fewer when the schedule ends.
pub fn preview(schedule: &Schedule, at: Timestamp, count: usize) -> Vec<Row> {
    schedule
        .after(at)
        .take(count.min(MAX_ROWS))
        .map(|due| row(schedule, due))
        .collect()
}

fn row(schedule: &Schedule, due: Timestamp) -> Row {
    let info = schedule.zone.to_offset_info(due);
    Row {
        due,
        local: due
            .to_zoned(schedule.zone.clone())
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string(),
        zone: info.abbreviation().to_owned(),
        note: note(schedule, due),
    }
}

fn note(schedule: &Schedule, due: Timestamp) -> Option<String> {
    let second = due.as_second();
    let (before, offset) = (
        timeline::offset_at(&schedule.zone, second - 1)?,
        timeline::offset_at(&schedule.zone, second)?,
    );
    if let Some(rule) = schedule.rule() {
        if before < offset
            && let Some(missing) = missing(rule, second, before, offset)
        {
            let (missing, fires) = both(missing, second + offset);
            return Some(format!(
                "clocks go forward: {missing} does not exist, fires at {fires}"
            ));
        }
        if let Some(AmbiguousOffset::Fold { before, after }) =
            timeline::civil_offset(&schedule.zone, second + offset)
            && before != after
        {
            let (time, _) = both(second + offset, second + offset);
            let first = offset == i64::from(before.seconds());
            return Some(match (rule.repeats, first) {
                (false, _) => {
                    format!("clocks go back: {time} comes twice, fires the first time only")
                }
                (true, true) => {
                    format!("clocks go back: {time} comes twice, this is the first time")
                }
                (true, false) => {
                    format!("clocks go back: {time} comes twice, this is the second time")
                }
            });
        }
    }
    let (change, before) = change_of_day(schedule, due)?;
    let (from, to) = both(change.at + before, change.at + change.offset);
    let direction = if change.offset > before {
        "forward"
    } else {
        "back"
    };
    Some(format!(
        "clocks go {direction} on this day, from {from} to {to}"
    ))
}

/// The wall-clock second in the gap that is made up for at its end, if one is.
fn missing(rule: &Rule, second: i64, before: i64, offset: i64) -> Option<i64> {
    rule.at_or_after(second + before)
        .filter(|civil| !rule.every_hour && *civil < second + offset)
}

/// The change of the clocks on the local day of `due`, and the offset before it.
fn change_of_day(schedule: &Schedule, due: Timestamp) -> Option<(Change, i64)> {
    let day = due.to_zoned(schedule.zone.clone()).start_of_day().ok()?;
    let last = day
        .tomorrow()
        .ok()?
        .start_of_day()
        .ok()?
        .timestamp()
        .as_second()
        - 1;
    let from = day.timestamp().as_second() - 1;
    let before = timeline::offset_at(&schedule.zone, from)?;
    timeline::next_change(&schedule.zone, from, before, last).map(|change| (change, before))
}

/// Two wall-clock seconds as times of day, with their dates where these differ.
fn both(one: i64, other: i64) -> (String, String) {
    let dated = one.div_euclid(DAY) != other.div_euclid(DAY);
    (clock(one, dated), clock(other, dated))
}

fn clock(civil: i64, dated: bool) -> String {
    let format = match (dated, civil % 60) {
        (false, 0) => "%H:%M",
        (false, _) => "%H:%M:%S",
        (true, 0) => "%Y-%m-%d %H:%M",
        (true, _) => "%Y-%m-%d %H:%M:%S",
    };
    Timestamp::from_second(civil).map_or_else(
        |_| civil.to_string(),
        |civil| civil.strftime(format).to_string(),
    )
}

/// A [`Timestamp`] as JSON.
pub(crate) fn iso<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}
