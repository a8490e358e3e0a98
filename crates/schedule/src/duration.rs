//! Durations as options write them: a number of milliseconds, or a text such as `90s`, `10m`, `2h`, `1d`, `1h30m`.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::error::Error;

/// Unit, its milliseconds, its name; longest first, as they are written in one text.
const UNITS: [(&str, u64, &str); 5] = [
    ("d", 86_400_000, "day"),
    ("h", 3_600_000, "hour"),
    ("m", 60_000, "minute"),
    ("s", 1000, "second"),
    ("ms", 1, "millisecond"),
];

/// Reads a duration from `least` to `most`.
pub(crate) fn read(
    field: &str,
    value: &Value,
    least: Duration,
    most: Duration,
) -> Result<Duration, Error> {
    let millis = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => parse(text.trim()),
        _ => None,
    };
    let Some(millis) = millis else {
        return Err(Error::new(
            field,
            format!(
                "{value} is not a duration; write whole milliseconds (600000) or a text such as \"90s\", \"10m\", \"2h\", \"1d\""
            ),
        ));
    };
    let duration = Duration::from_millis(millis);
    if duration < least {
        return Err(Error::new(
            field,
            format!(
                "{} is too short; the least is {}",
                short(duration),
                short(least)
            ),
        ));
    }
    if duration > most {
        return Err(Error::new(
            field,
            format!(
                "{} is too long; the most is {}",
                short(duration),
                short(most)
            ),
        ));
    }
    Ok(duration)
}

/// Milliseconds of `1h30m`; a bare number is milliseconds, as it is in JSON.
fn parse(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mut rest = text;
    let mut total = 0u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..]
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .count();
        let unit = rest[digits..digits + letters].to_ascii_lowercase();
        let (_, millis, _) = units.find(|(name, ..)| *name == unit)?;
        total = total.checked_add(rest[..digits].parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// `1h30m`: reads back as the same duration.
pub(crate) fn short(duration: Duration) -> String {
    let mut rest = millis(duration);
    let mut text = String::new();
    for (unit, size, _) in UNITS {
        if rest >= size {
            let _ = write!(text, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    if text.is_empty() {
        "0ms".to_owned()
    } else {
        text
    }
}

/// `10 minutes`, `1 hour and 30 minutes`, for a sentence; `minute` alone for one, as in "every minute".
pub(crate) fn long(duration: Duration) -> String {
    let mut rest = millis(duration);
    let mut parts = Vec::new();
    for (_, size, name) in UNITS {
        let count = rest / size;
        rest %= size;
        match count {
            0 => {}
            1 if parts.is_empty() && rest == 0 => parts.push(name.to_owned()),
            1 => parts.push(format!("1 {name}")),
            _ => parts.push(format!("{count} {name}s")),
        }
    }
    parts.join(" and ")
}

/// Whole milliseconds; durations here are at most a few years.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("durations are limited to years when read")
}
