//! Instants as options write them.
//!
//! Invariant: they are whole milliseconds. Postgres keeps no nanoseconds: a due time that comes back from it must be the
//! one that was computed, or it is none of the schedule's.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::error::Error;

/// An instant; what is finer than milliseconds is cut off. `whole_day`: a bare day means its last millisecond, not its
/// first moment.
pub(crate) fn read(
    field: &str,
    value: &Value,
    zone: &TimeZone,
    whole_day: bool,
) -> Result<Timestamp, Error> {
    let read = match value {
        Value::Number(number) => number
            .as_i64()
            // What is too large saturates, and is no time.
            .or_else(|| number.as_f64().map(|millis| millis.floor() as i64))
            .and_then(|millis| Timestamp::from_millisecond(millis).ok()),
        Value::String(text) => text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| local(text, zone, whole_day)),
        _ => None,
    };
    read.and_then(whole_millis).ok_or_else(|| {
        Error::new(field, format!("{value} is not a time; write ISO such as \"2027-03-28T09:00:00Z\" or \"2027-03-28\", or milliseconds since 1970"))
    })
}

/// The millisecond in which it lies; None before the first that can be said.
pub(crate) fn whole_millis(at: Timestamp) -> Option<Timestamp> {
    let millis = at.as_nanosecond().div_euclid(1_000_000);
    Timestamp::from_millisecond(millis.try_into().ok()?).ok()
}

fn local(text: &str, zone: &TimeZone, whole_day: bool) -> Option<Timestamp> {
    if let (10, Ok(day)) = (text.len(), text.parse::<Date>()) {
        let day = if whole_day { day.tomorrow().ok()? } else { day };
        let first = zone.to_timestamp(day.at(0, 0, 0, 0)).ok()?;
        return if whole_day {
            Timestamp::from_millisecond(first.as_millisecond() - 1).ok()
        } else {
            Some(first)
        };
    }
    zone.to_timestamp(text.parse::<DateTime>().ok()?).ok()
}
