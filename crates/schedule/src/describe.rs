//! A schedule in plain English: `at 09:00 on Monday to Friday, Europe/Berlin`.
//!
//! croner's own words ("At minute 0, of hour 0-6.") are used only for cron expressions that have no plainer ones here.

use jiff::Timestamp;

use crate::cron::{Cron, MONTHS};
use crate::duration::long;
use crate::field::WEEKDAYS;
use crate::options::Options;
use crate::read::FULL_WEEKDAYS;
use crate::timing::{DayTimes, Timing, Weekdays};

/// Most times of day that are listed one by one.
const MAX_LISTED: usize = 6;

/// One phrase, lower case, without a final period.
pub fn describe(options: &Options) -> String {
    let mut text = match &options.timing {
        Timing::Cron(cron) => cron_words(cron),
        Timing::Every(every) => format!("every {}", long(*every)),
        Timing::Daily(times) => format!("{} every day", day_times(*times)),
        Timing::Weekly { on, times } => format!("{} on {}", day_times(*times), weekdays(*on)),
        Timing::Monthly { on, at } => {
            let mut days: Vec<String> = (1..=31)
                .filter(|day| on.bits & (1 << day) != 0)
                .map(ordinal)
                .collect();
            if on.last {
                days.push("last day".to_owned());
            }
            format!("at {at} on the {} of each month", and(&days))
        }
        Timing::Once(at) => return format!("once, at {}", minute(*at)),
    };
    if !matches!(options.timing, Timing::Every(_)) {
        text = format!("{text}, {}", options.timezone);
    }
    if let Some(starts) = options.starts {
        text = format!("{text}, from {}", minute(starts));
    }
    if let Some(ends) = options.ends {
        text = format!("{text}, until {}", minute(ends));
    }
    text
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
        .replace(":00 UTC", " UTC")
}

fn day_times(DayTimes { at, every }: DayTimes) -> String {
    match every {
        None => format!("at {at}"),
        Some(every) => format!("every {} from {at} to the end of the day", long(every)),
    }
}

fn weekdays(on: Weekdays) -> String {
    match on.names().as_slice() {
        ["MON", "TUE", "WED", "THU", "FRI"] => "Monday to Friday".to_owned(),
        names => and(&names.iter().map(|name| full(name)).collect::<Vec<_>>()),
    }
}

fn cron_words(cron: &Cron) -> String {
    let fields = cron.fields();
    let [second, minute, hour, day, month, weekday] = fields.each_ref().map(String::as_str);
    let words = times(second, minute, hour)
        .and_then(|times| Some(format!("{times}{}{}", days(day, weekday)?, months(month)?)));
    words.unwrap_or_else(|| {
        let theirs = cron.in_words();
        let theirs = theirs.trim_end_matches('.');
        let first = theirs
            .chars()
            .next()
            .map(|first| first.to_ascii_lowercase());
        first.into_iter().chain(theirs.chars().skip(1)).collect()
    })
}

fn times(second: &str, minute: &str, hour: &str) -> Option<String> {
    let (seconds, minutes, hours) = (numbers(second), numbers(minute), numbers(hour));
    if let (Some(seconds), Some(minutes), Some(hours)) = (&seconds, &minutes, &hours)
        && seconds.len() * minutes.len() * hours.len() <= MAX_LISTED
    {
        let mut times = Vec::new();
        for (hour, minute, second) in hours
            .iter()
            .flat_map(|h| minutes.iter().map(move |m| (h, m)))
            .flat_map(|(h, m)| seconds.iter().map(move |s| (h, m, s)))
        {
            times.push(if *second == 0 {
                format!("{hour:02}:{minute:02}")
            } else {
                format!("{hour:02}:{minute:02}:{second:02}")
            });
        }
        times.sort();
        return Some(format!("at {}", and(&times)));
    }
    match (second, minute, hour) {
        ("*", "*", "*") => return Some("every second".to_owned()),
        (_, "*", "*") if step(second, 60).is_some() => {
            return Some(format!("every {} seconds", step(second, 60)?));
        }
        ("0", "*", "*") => return Some("every minute".to_owned()),
        ("0", _, "*") if step(minute, 60).is_some() => {
            return Some(format!("every {} minutes", step(minute, 60)?));
        }
        ("0", "0", "*") => return Some("every hour".to_owned()),
        _ => {}
    }
    let [minute] = minutes?[..] else { return None };
    match (second, hour) {
        ("0", "*") => Some(format!("every hour at minute {minute}")),
        ("0", _) if step(hour, 24).is_some() => {
            let at = if minute == 0 {
                String::new()
            } else {
                format!(" at minute {minute}")
            };
            Some(format!("every {} hours{at}", step(hour, 24)?))
        }
        ("0", _) => {
            let (from, to) = hour.split_once('-')?;
            let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
            Some(format!(
                "every hour from {from:02}:{minute:02} to {to:02}:{minute:02}"
            ))
        }
        _ => None,
    }
}

/// The step of `*/15`, when it divides the whole so that the interval is the same throughout.
fn step(field: &str, whole: u32) -> Option<u32> {
    field
        .strip_prefix("*/")?
        .parse()
        .ok()
        .filter(|step| *step > 1 && *step < whole && whole.is_multiple_of(*step))
}

fn numbers(field: &str) -> Option<Vec<u32>> {
    field.split(',').map(|value| value.parse().ok()).collect()
}

fn days(day: &str, weekday: &str) -> Option<String> {
    let (together, weekday) = weekday
        .strip_prefix('+')
        .map_or((false, weekday), |weekday| (true, weekday));
    let any = |field: &str| field == "*" || field == "?";
    Some(match (any(day), any(weekday)) {
        (true, true) => " every day".to_owned(),
        (false, true) => format!(" on {}", month_days(day)?),
        (true, false) => format!(" on {}", week_days(weekday)?),
        (false, false) if together => {
            format!(" on {} if it is {}", month_days(day)?, week_days(weekday)?)
        }
        (false, false) => format!(" on {}, and on {}", month_days(day)?, week_days(weekday)?),
    })
}

fn month_days(field: &str) -> Option<String> {
    let mut words = Vec::new();
    for item in field.split(',') {
        words.push(match item {
            "L" => "the last day".to_owned(),
            "LW" => "the last working day".to_owned(),
            _ => match (item.strip_suffix('W'), item.split_once('-')) {
                (Some(day), _) => format!(
                    "the working day nearest to the {}",
                    ordinal(day.parse().ok()?)
                ),
                (None, Some((from, to))) => format!(
                    "the {} to {}",
                    ordinal(from.parse().ok()?),
                    ordinal(to.parse().ok()?)
                ),
                (None, None) => format!("the {}", ordinal(item.parse().ok()?)),
            },
        });
    }
    Some(format!("{} of the month", and(&words)))
}

fn week_days(field: &str) -> Option<String> {
    let mut words = Vec::new();
    for item in field.split(',') {
        words.push(if let Some((day, which)) = item.split_once('#') {
            let which = ["first", "second", "third", "fourth", "fifth"]
                .get(which.parse::<usize>().ok()?.checked_sub(1)?)?;
            format!("the {which} {} of the month", week_day(day)?)
        } else if let Some(day) = item.strip_suffix('L') {
            format!("the last {} of the month", week_day(day)?)
        } else if let Some((from, to)) = item.split_once('-') {
            format!("{} to {}", week_day(from)?, week_day(to)?)
        } else {
            week_day(item)?.to_owned()
        });
    }
    Some(and(&words))
}

fn week_day(text: &str) -> Option<&'static str> {
    match text.parse::<usize>() {
        Ok(number) => FULL_WEEKDAYS.get(number % 7).copied(),
        Err(_) => WEEKDAYS.contains(&text).then(|| full(text)),
    }
}

fn full(short: &str) -> &'static str {
    FULL_WEEKDAYS[WEEKDAYS
        .iter()
        .position(|name| *name == short)
        .unwrap_or_default()]
}

fn months(field: &str) -> Option<String> {
    if field == "*" {
        return Some(String::new());
    }
    let month = |text: &str| match text.parse::<usize>() {
        Ok(number) => MONTHS.get(number.checked_sub(1)?).copied(),
        Err(_) => MONTHS
            .into_iter()
            .find(|month| month[..3].eq_ignore_ascii_case(text)),
    };
    let mut words = Vec::new();
    for item in field.split(',') {
        words.push(match item.split_once('-') {
            Some((from, to)) => format!("{} to {}", month(from)?, month(to)?),
            None => month(item)?.to_owned(),
        });
    }
    Some(format!(", in {}", and(&words)))
}

fn ordinal(day: u32) -> String {
    let ending = match (day % 10, day % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

/// `a`, `a and b`, `a, b and c`.
fn and<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
