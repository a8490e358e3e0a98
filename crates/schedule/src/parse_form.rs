//! Schedules as the stock dashboard and Back4app's form write them.
//!
//! Parse Server keeps `_JobSchedule` rows and runs none, so their meaning is what the forms say and what the schedulers of
//! the community made of them:
//!
//! - `startAfter` (ISO text): nothing is due before. Without `repeatMinutes` the row is due once, then.
//! - `timeOfDay` (`HH:MM:SS.mmmZ`, UTC): of a daily row the time of day; of one with a shorter interval the time at which
//!   the interval begins each day ("Starting at what time each day?"), until the day ends at midnight UTC.
//! - `repeatMinutes`: 1440 is daily. Longer ones count real time from the first `timeOfDay` at or after `startAfter`.
//! - `daysOfWeek`: seven of 0, 1, `"0"`, `"1"`, true, false. **Index 0 is Monday**: the dashboard writes seven 1s and says nothing, all
//!   community schedulers found compute the cron weekday as `(index + 1) % 7`. Seven 0s would never fire and are refused.
//!
//! Back4app: `{ start (ISO), dailyRun: "HH:MM" | null, intervalRun: "HH:MM" | null }`, in UTC. `dailyRun` is a time of day,
//! `intervalRun` hours and minutes from one run to the next, counted from `start`; neither is once, at `start`.
//!
//! Sources: parse-dashboard `src/dashboard/Data/Jobs/JobsForm.react.js`; parse-server `SchemaController.js` (`_JobSchedule`).

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::calendar::DAY;
use crate::error::Error;
use crate::instant;
use crate::options::{MAX_DESCRIPTION_CHARS, MAX_EVERY, Options};
use crate::timing::{DayTimes, TimeOfDay, Timing, Weekdays};

const MINUTES_A_DAY: u64 = 1440;

/// Reads a `_JobSchedule` row. `created`: when the row was made, for rows without `startAfter`.
///
/// `params` may be a JSON text, as the dashboard writes it, or an object. Columns that say nothing of the time are passed over.
///
/// # Errors
/// A column that cannot be understood, by its name, with what is expected.
pub fn job_schedule(row: &Map<String, Value>, created: Timestamp) -> Result<Options, Error> {
    let starts = match present(row, "startAfter") {
        Some(value) => instant::read("startAfter", &date(value), &TimeZone::UTC, false)?,
        None => instant::whole_millis(created).unwrap_or(created),
    };
    let time = present(row, "timeOfDay").map(time_of_day).transpose()?;
    let repeat = present(row, "repeatMinutes")
        .map(repeat_minutes)
        .transpose()?
        .unwrap_or(0);
    let days = present(row, "daysOfWeek").map(days_of_week).transpose()?;
    let timing = match (repeat, time) {
        (0, _) => Timing::Once(starts),
        (MINUTES_A_DAY, time) => on(
            days,
            DayTimes {
                at: time.unwrap_or(of_instant(starts)),
                every: None,
            },
        ),
        (minutes, Some(at)) if minutes < MINUTES_A_DAY => on(
            days,
            DayTimes {
                at,
                every: Some(Duration::from_secs(minutes * 60)),
            },
        ),
        (minutes, _) if days.is_none_or(|days| days.bits == ALL_DAYS) => {
            Timing::Every(Duration::from_secs(minutes * 60))
        }
        (minutes, None) if minutes < MINUTES_A_DAY => {
            return Err(Error::new(
                "timeOfDay",
                "is missing; days of the week with an interval need the time at which it begins",
            ));
        }
        _ => {
            return Err(Error::new(
                "daysOfWeek",
                "cannot be kept with an interval of more than a day; choose all days, or an interval up to 1440",
            ));
        }
    };
    let mut options = Options::of(timing);
    options.params = params(row.get("params"))?;
    options.description = description(row);
    options.starts = match (&options.timing, time) {
        (Timing::Once(_), _) => None,
        (Timing::Every(_), Some(at)) => Some(first_at(starts, at)),
        _ => Some(starts),
    };
    Ok(options)
}

/// Reads the `schedule` of Back4app's form.
///
/// # Errors
/// A field that cannot be understood, by its name, with what is expected.
pub fn back4app(form: &Map<String, Value>, created: Timestamp) -> Result<Options, Error> {
    let starts = match present(form, "start") {
        Some(value) => instant::read("start", &date(value), &TimeZone::UTC, false)?,
        None => instant::whole_millis(created).unwrap_or(created),
    };
    let time = |field: &str| {
        present(form, field)
            .map(|value| {
                let wrong = || {
                    Error::new(
                        field,
                        format!("{value} is not a time; write HH:MM, or null"),
                    )
                };
                value.as_str().and_then(TimeOfDay::parse).ok_or_else(wrong)
            })
            .transpose()
    };
    let (timing, starts) = match (time("dailyRun")?, time("intervalRun")?) {
        (Some(_), Some(_)) => {
            return Err(Error::new(
                "intervalRun",
                "is not alone; leave out dailyRun, or make a schedule of each",
            ));
        }
        (Some(at), None) => (Timing::Daily(DayTimes { at, every: None }), Some(starts)),
        (None, Some(TimeOfDay { second: 0 })) => {
            return Err(Error::new("intervalRun", "is 00:00; the least is 00:01"));
        }
        (None, Some(interval)) => (
            Timing::Every(Duration::from_secs(interval.second.into())),
            Some(starts),
        ),
        (None, None) => (Timing::Once(starts), None),
    };
    Ok(Options {
        starts,
        ..Options::of(timing)
    })
}

const ALL_DAYS: u8 = 0b111_1111;

fn on(days: Option<Weekdays>, times: DayTimes) -> Timing {
    match days {
        Some(on) if on.bits != ALL_DAYS => Timing::Weekly { on, times },
        _ => Timing::Daily(times),
    }
}

/// A column that says something: not missing, null or an empty text.
fn present<'a>(row: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    row.get(name)
        .filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// A Parse date (`{ __type: "Date", iso }`) as its text; anything else as it is.
fn date(value: &Value) -> Value {
    value.get("iso").unwrap_or(value).clone()
}

/// `12:30:00.000Z`, with or without seconds, fraction and `Z`.
fn time_of_day(value: &Value) -> Result<TimeOfDay, Error> {
    let text = value.as_str().unwrap_or_default();
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    TimeOfDay::parse(whole).ok_or_else(|| {
        Error::new(
            "timeOfDay",
            format!("{value} is not a time of day; write \"HH:MM:00.000Z\", in UTC"),
        )
    })
}

fn repeat_minutes(value: &Value) -> Result<u64, Error> {
    let most = MAX_EVERY.as_secs() / 60;
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    match number {
        Some(minutes) if minutes.fract() == 0.0 && (0.0..=most as f64).contains(&minutes) => {
            Ok(minutes as u64)
        }
        _ => Err(Error::new(
            "repeatMinutes",
            format!(
                "{value} is not a number of minutes; write a whole number up to {most}, 1440 for daily"
            ),
        )),
    }
}

fn days_of_week(value: &Value) -> Result<Weekdays, Error> {
    let wrong = || {
        Error::new(
            "daysOfWeek",
            format!("{value} is not seven of 0 and 1, Monday first"),
        )
    };
    let days = value
        .as_array()
        .filter(|days| days.len() == 7)
        .ok_or_else(wrong)?;
    let mut bits = 0;
    for (index, day) in days.iter().enumerate() {
        let chosen = match day {
            Value::Bool(chosen) => *chosen,
            Value::Number(number) if number.as_f64() == Some(1.0) => true,
            Value::Number(number) if number.as_f64() == Some(0.0) => false,
            Value::String(text) if text == "1" => true,
            Value::String(text) if text == "0" => false,
            _ => return Err(wrong()),
        };
        bits |= u8::from(chosen) << ((index + 1) % 7);
    }
    if bits == 0 {
        return Err(Error::new(
            "daysOfWeek",
            "names no day, so it would never fire; write 1 for each day that is meant",
        ));
    }
    Ok(Weekdays { bits })
}

fn params(value: Option<&Value>) -> Result<Option<Map<String, Value>>, Error> {
    let wrong = || Error::new("params", "is not a JSON object, nor the text of one");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(params)) => Ok(Some(params.clone())),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => match serde_json::from_str(text).map_err(|_| wrong())? {
            Value::Object(params) => Ok(Some(params)),
            Value::Null => Ok(None),
            _ => Err(wrong()),
        },
        Some(_) => Err(wrong()),
    }
}

/// Cut where it is too long: the row is not ours to refuse for it.
fn description(row: &Map<String, Value>) -> Option<String> {
    let text = present(row, "description")?.as_str()?;
    Some(text.chars().take(MAX_DESCRIPTION_CHARS).collect())
}

fn of_instant(at: Timestamp) -> TimeOfDay {
    TimeOfDay {
        second: at.as_second().rem_euclid(DAY) as u32,
    }
}

/// The first instant at or after `starts` with that time of day, UTC.
fn first_at(starts: Timestamp, at: TimeOfDay) -> Timestamp {
    let wait = (i64::from(at.second) * 1000 - starts.as_millisecond()).rem_euclid(DAY * 1000);
    starts
        .checked_add(SignedDuration::from_millis(wait))
        .unwrap_or(starts)
}
