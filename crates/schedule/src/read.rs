//! Reads [`Options`] from JSON: one function an option, each with an error that says how to mend it.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::time::Duration;

use crate::calendar::DAY;
use crate::cron::Cron;
use crate::duration;
use crate::error::Error;
use crate::field::WEEKDAYS;
use crate::instant;
use crate::near::nearest;
use crate::options::{
    DEFAULT_MISSED_CAP, MAX_DESCRIPTION_CHARS, MAX_EVERY, MAX_JITTER, MAX_MISSED_CAP, MAX_PRIORITY,
    MAX_RETRIES, MIN_EVERY, Missed, Options, Overlap,
};
use crate::timing::{DayTimes, MonthDays, TimeOfDay, Timing, Weekdays};
use crate::zone;

const FORMS: [&str; 6] = ["cron", "every", "daily", "weekly", "monthly", "once"];
const OTHERS: [&str; 10] = [
    "timezone",
    "params",
    "missed",
    "overlap",
    "jitter",
    "starts",
    "ends",
    "retries",
    "priority",
    "description",
];

type Object = Map<String, Value>;

pub(crate) fn options(value: &Value) -> Result<Options, Error> {
    let Value::Object(object) = value else {
        return Err(Error::new(
            "schedule",
            "is not an object; write { cron: \"0 9 * * *\" }, or every, daily, weekly, monthly",
        ));
    };
    known("", object, &[&FORMS[..], &OTHERS[..]].concat())?;
    let (timezone, zone) = match given(object, "timezone") {
        None => ("UTC".to_owned(), TimeZone::UTC),
        Some(Value::String(name)) => zone::find("timezone", name)?,
        Some(other) => {
            return Err(Error::new(
                "timezone",
                format!("{other} is not a name; write an IANA name such as \"Europe/Berlin\""),
            ));
        }
    };
    let timing = timing(object, &zone)?;
    let starts = given(object, "starts")
        .map(|value| instant::read("starts", value, &zone, false))
        .transpose()?;
    let ends = given(object, "ends")
        .map(|value| instant::read("ends", value, &zone, true))
        .transpose()?;
    if let (Some(starts), Some(ends)) = (starts, ends)
        && ends < starts
    {
        return Err(Error::new(
            "ends",
            format!("{ends} is before starts, {starts}; change one of them"),
        ));
    }
    if matches!(timing, Timing::Once(_)) && starts.or(ends).is_some() {
        return Err(Error::new(
            "once",
            "is a moment by itself; leave out starts and ends",
        ));
    }
    Ok(Options {
        timing,
        timezone,
        params: params(object)?,
        missed: missed(object)?,
        overlap: overlap(object)?,
        jitter: match given(object, "jitter") {
            Some(value) => duration::read("jitter", value, Duration::ZERO, MAX_JITTER)?,
            None => Duration::ZERO,
        },
        starts,
        ends,
        retries: integer(object, "retries", 0, i64::from(MAX_RETRIES))?
            .map(|retries| retries as u32),
        priority: integer(
            object,
            "priority",
            -i64::from(MAX_PRIORITY),
            i64::from(MAX_PRIORITY),
        )?
        .map(|priority| priority as i16),
        description: description(object)?,
    })
}

/// What was said; `null` is nothing said.
fn given<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// Refuses a name that is none of `names`. `within`: the option whose object this is, with a dot.
fn known(within: &str, object: &Object, names: &[&str]) -> Result<(), Error> {
    let Some(unknown) = object.keys().find(|key| !names.contains(&key.as_str())) else {
        return Ok(());
    };
    let meant = match unknown.as_str() {
        "tz" | "zone" | "timeZone" if within.is_empty() => Some("timezone"),
        other => nearest(other, names.iter().copied()),
    };
    let remedy = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("the options are {}", names.join(", ")),
    };
    Err(Error::new(
        format!("{within}{unknown}"),
        format!("there is no such option; {remedy}"),
    ))
}

fn timing(object: &Object, zone: &TimeZone) -> Result<Timing, Error> {
    let forms: Vec<&str> = FORMS
        .into_iter()
        .filter(|form| given(object, form).is_some())
        .collect();
    let form = match forms.as_slice() {
        [form] => *form,
        [] => {
            return Err(Error::new(
                "schedule",
                "says no time; write one of cron, every, daily, weekly, monthly, once",
            ));
        }
        [first, more @ ..] => {
            return Err(Error::new(
                *first,
                format!(
                    "is not alone; leave out {}, or make a schedule of each",
                    more.join(" and ")
                ),
            ));
        }
    };
    let value = &object[form];
    match form {
        "cron" => match value {
            Value::String(text) => Cron::parse(text).map(Timing::Cron),
            other => Err(Error::new(
                "cron",
                format!("{other} is not a text; write \"0 9 * * MON-FRI\""),
            )),
        },
        "every" => duration::read("every", value, MIN_EVERY, MAX_EVERY).map(Timing::Every),
        "daily" => match value {
            Value::Object(inner) => {
                known("daily.", inner, &["at", "every"])?;
                Ok(Timing::Daily(day_times("daily", inner)?))
            }
            other => Ok(Timing::Daily(DayTimes {
                at: time_of_day("daily", Some(other))?,
                every: None,
            })),
        },
        "weekly" => {
            let inner = object_of("weekly", value, "{ on: [\"MON\", \"THU\"], at: \"09:00\" }")?;
            known("weekly.", inner, &["on", "at", "every"])?;
            Ok(Timing::Weekly {
                on: weekdays(inner)?,
                times: day_times("weekly", inner)?,
            })
        }
        "monthly" => {
            let inner = object_of("monthly", value, "{ on: [1, 15, \"last\"], at: \"09:00\" }")?;
            known("monthly.", inner, &["on", "at"])?;
            Ok(Timing::Monthly {
                on: month_days(inner)?,
                at: time_of_day("monthly.at", given(inner, "at"))?,
            })
        }
        _ => instant::read("once", value, zone, false).map(Timing::Once),
    }
}

fn object_of<'a>(field: &str, value: &'a Value, example: &str) -> Result<&'a Object, Error> {
    value
        .as_object()
        .ok_or_else(|| Error::new(field, format!("{value} is not an object; write {example}")))
}

fn day_times(form: &str, object: &Object) -> Result<DayTimes, Error> {
    let at = time_of_day(&format!("{form}.at"), given(object, "at"))?;
    let field = format!("{form}.every");
    let every = given(object, "every")
        .map(|value| {
            duration::read(
                &field,
                value,
                Duration::from_secs(60),
                Duration::from_secs(DAY as u64),
            )
        })
        .transpose()?;
    if every.is_some_and(|every| every.subsec_nanos() != 0) {
        return Err(Error::new(field, "is not a whole number of seconds"));
    }
    Ok(DayTimes { at, every })
}

fn time_of_day(field: &str, value: Option<&Value>) -> Result<TimeOfDay, Error> {
    let Some(value) = value else {
        return Err(Error::new(
            field,
            "is missing; write a time of day such as \"09:00\"",
        ));
    };
    value.as_str().and_then(TimeOfDay::parse).ok_or_else(|| {
        Error::new(field, format!("{value} is not a time of day; write HH:MM from \"00:00\" to \"23:59\", two digits each"))
    })
}

fn weekdays(object: &Object) -> Result<Weekdays, Error> {
    let days = list("weekly.on", object, "[\"MON\", \"THU\"]")?;
    let mut bits = 0;
    for day in days {
        let name = day.as_str().unwrap_or_default().to_uppercase();
        let full = |index: usize| FULL_WEEKDAYS[index].to_uppercase();
        match (0..7).find(|index| WEEKDAYS[*index] == name || full(*index) == name) {
            Some(index) => bits |= 1 << index,
            None => {
                return Err(Error::new(
                    "weekly.on",
                    format!(
                        "{day} is not a weekday; the names are MON, TUE, WED, THU, FRI, SAT, SUN"
                    ),
                ));
            }
        }
    }
    Ok(Weekdays { bits })
}

pub(crate) const FULL_WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

fn month_days(object: &Object) -> Result<MonthDays, Error> {
    let mut on = MonthDays {
        bits: 0,
        last: false,
    };
    for day in list("monthly.on", object, "[1, 15, \"last\"]")? {
        match (day.as_u64(), day.as_str()) {
            (Some(day @ 1..=31), _) => on.bits |= 1 << day,
            (_, Some("last")) => on.last = true,
            _ => {
                return Err(Error::new(
                    "monthly.on",
                    format!(
                        "{day} is not a day of the month; write numbers from 1 to 31, or \"last\""
                    ),
                ));
            }
        }
    }
    Ok(on)
}

fn list<'a>(field: &str, object: &'a Object, example: &str) -> Result<&'a Vec<Value>, Error> {
    match given(object, "on") {
        Some(Value::Array(days)) if !days.is_empty() && days.len() <= 32 => Ok(days),
        Some(Value::Array(days)) if !days.is_empty() => {
            Err(Error::new(field, "has more than 32 days"))
        }
        Some(Value::Array(_)) | None => Err(Error::new(
            field,
            format!("names no day; write on: {example}"),
        )),
        Some(other) => Err(Error::new(
            field,
            format!("{other} is not a list of days; write on: {example}"),
        )),
    }
}

fn params(object: &Object) -> Result<Option<Object>, Error> {
    match given(object, "params") {
        None => Ok(None),
        Some(Value::Object(params)) => Ok(Some(params.clone())),
        Some(_) => Err(Error::new(
            "params",
            "is not an object; write { name: value }",
        )),
    }
}

fn missed(object: &Object) -> Result<Missed, Error> {
    let wrong = |value: &Value| {
        Err(Error::new(
            "missed",
            format!(
                "{value} is not a policy; write \"skip\", \"one\", \"all\", or {{ all: most }} with 1 to {MAX_MISSED_CAP}"
            ),
        ))
    };
    match given(object, "missed") {
        None => Ok(Missed::default()),
        Some(Value::String(text)) if text == "skip" => Ok(Missed::Skip),
        Some(Value::String(text)) if text == "one" => Ok(Missed::One),
        Some(Value::String(text)) if text == "all" => Ok(Missed::All {
            cap: DEFAULT_MISSED_CAP,
        }),
        Some(value @ Value::Object(inner)) if inner.len() == 1 => {
            match inner.get("all").and_then(Value::as_u64) {
                Some(cap) if (1..=u64::from(MAX_MISSED_CAP)).contains(&cap) => {
                    Ok(Missed::All { cap: cap as u32 })
                }
                _ => wrong(value),
            }
        }
        Some(value) => wrong(value),
    }
}

fn overlap(object: &Object) -> Result<Overlap, Error> {
    let Some(value) = given(object, "overlap") else {
        return Ok(Overlap::default());
    };
    Overlap::ALL
        .into_iter()
        .find(|policy| value.as_str() == Some(policy.name()))
        .ok_or_else(|| {
            Error::new(
                "overlap",
                format!(
                    "{value} is not a policy; write \"skip\", \"queue\", \"allow\" or \"cancel\""
                ),
            )
        })
}

fn integer(object: &Object, field: &str, least: i64, most: i64) -> Result<Option<i64>, Error> {
    match given(object, field) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Error::new(
                field,
                format!("{value} is not a whole number from {least} to {most}"),
            )),
        },
    }
}

fn description(object: &Object) -> Result<Option<String>, Error> {
    match given(object, "description") {
        None => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= MAX_DESCRIPTION_CHARS => {
            Ok(Some(text.clone()))
        }
        Some(Value::String(_)) => Err(Error::new(
            "description",
            format!("is longer than {MAX_DESCRIPTION_CHARS} characters"),
        )),
        Some(_) => Err(Error::new("description", "is not a text")),
    }
}
