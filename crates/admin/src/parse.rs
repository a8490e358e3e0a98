//! Reading what people write: events, times, lengths of time, LSNs, classes.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tidegate_event::{EventId, Lsn, Operation as Change};

use crate::Error;

/// How an event can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Id(EventId),
    Offset(u64),
    /// The latest event of an object.
    Object {
        class: String,
        key: String,
    },
}

/// An event id, a log offset, or `CLASS/OBJECTID`.
pub(crate) fn event(text: &str) -> Result<Named, Error> {
    if let Some((class, key)) = text.split_once('/') {
        if !class.is_empty() && !key.is_empty() {
            let (class, key) = (class.to_owned(), key.to_owned());
            return Ok(Named::Object { class, key });
        }
    } else if let Ok(offset) = text.parse() {
        return Ok(Named::Offset(offset));
    } else if let Ok(id) = text.parse() {
        return Ok(Named::Id(id));
    }
    Err(Error::invalid(
        "ID",
        format!(
            "{text:?} is no event: give an event id such as 1-0.16B37D48-0, a log offset such as 42, \
             or CLASS/OBJECTID such as Order/x7Gk2aB1cD"
        ),
    ))
}

/// A class, or `schema.table`.
pub(crate) fn table(class: &str) -> Result<(String, String), Error> {
    let (schema, table) = class.split_once('.').unwrap_or(("public", class));
    if schema.is_empty() || table.is_empty() {
        return Err(Error::invalid(
            "CLASS",
            format!(
                "{class:?} is neither a class such as Order nor a table such as billing.invoices"
            ),
        ));
    }
    Ok((schema.to_owned(), table.to_owned()))
}

pub(crate) fn lsn(argument: &str, text: &str) -> Result<Lsn, Error> {
    text.parse().map_err(|_| {
        let problem = format!("{text:?} is not an LSN such as 16/B374D848");
        Error::invalid(argument, problem)
    })
}

pub(crate) fn change(text: &str) -> Result<Change, Error> {
    match text {
        "insert" => Ok(Change::Insert),
        "update" => Ok(Change::Update),
        "delete" => Ok(Change::Delete),
        _ => Err(Error::invalid(
            "--change",
            format!("{text:?} is none of insert, update, delete"),
        )),
    }
}

/// A time, as ISO 8601 in UTC. `text`: a time with its zone, a date or a time without one (UTC), or how long ago (`15m`).
pub(crate) fn time(argument: &str, text: &str, now: Timestamp) -> Result<String, Error> {
    Ok(format!("{:.6}", past(argument, text, now)?))
}

/// As [`time`], as an instant.
pub(crate) fn past(argument: &str, text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let found = moment(text, &TimeZone::UTC);
    let found = found.or_else(|| now.checked_sub(ago(text)?).ok());
    found.ok_or_else(|| {
        let problem = format!(
            "{text:?} is not a time: give one such as 2026-11-25T10:00:00Z, a date such as 2026-11-25, \
             or how long ago such as 15m, 2h or 3d"
        );
        Error::invalid(argument, problem)
    })
}

/// An instant: a time with its offset, or a date or time without one, which is meant in `zone`.
pub(crate) fn instant(argument: &str, text: &str, zone: &TimeZone) -> Result<Timestamp, Error> {
    moment(text, zone).ok_or_else(|| {
        let problem = format!(
            "{text:?} is not a time: give one such as 2026-11-25T10:00:00Z, or a date such as 2026-11-25"
        );
        Error::invalid(argument, problem)
    })
}

fn moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let local = |time: DateTime| zone.to_timestamp(time).ok();
    let found = text.parse::<Timestamp>().ok();
    let found = found.or_else(|| local(text.parse::<DateTime>().ok()?));
    found.or_else(|| local(text.parse::<Date>().ok()?.to_datetime(Default::default())))
}

/// A length of time in milliseconds: `250ms`, `90s`, `5m`, `1h30m`, `2d`.
pub(crate) fn duration_ms(argument: &str, text: &str) -> Result<u64, Error> {
    let mut rest = text.trim();
    let mut sum = (!rest.is_empty()).then_some(0u64);
    while let (Some(before), false) = (sum, rest.is_empty()) {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        let (number, behind) = rest.split_at(digits);
        let unit = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => 0,
        };
        let part = number.parse::<u64>().ok();
        let part = part.filter(|_| milliseconds > 0);
        sum = part
            .and_then(|part| part.checked_mul(milliseconds))
            .and_then(|part| part.checked_add(before));
        rest = behind;
    }
    sum.ok_or_else(|| {
        let problem =
            format!("{text:?} is not a length of time such as 250ms, 90s, 5m, 1h30m or 2d");
        Error::invalid(argument, problem)
    })
}

fn ago(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    Some(SignedDuration::from_secs(i64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_in_three_ways_and_no_other() {
        assert_eq!(event("42").unwrap(), Named::Offset(42));
        assert_eq!(
            event("1-0.16B37D48-3").unwrap(),
            Named::Id("1-0.16B37D48-3".parse().unwrap())
        );
        let object = Named::Object {
            class: "Order".into(),
            key: "a/b".into(),
        };
        assert_eq!(event("Order/a/b").unwrap(), object);
        for bad in ["", "Order", "-1", "1-0.16B37D48", "/a", "Order/"] {
            let error = event(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("ID: ") && error.contains("1-0.16B37D48-0"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn times_are_read_with_and_without_zone_and_as_how_long_ago() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-25T10:00:00+02:00", "2026-11-25T08:00:00.000000Z"),
            ("2026-11-25T10:00:00.5Z", "2026-11-25T10:00:00.500000Z"),
            ("2026-11-25 10:00", "2026-11-25T10:00:00.000000Z"),
            ("2026-11-25", "2026-11-25T00:00:00.000000Z"),
            ("90m", "2026-11-25T10:30:00.000000Z"),
            ("1d", "2026-11-24T12:00:00.000000Z"),
        ] {
            assert_eq!(time("--since", text, now).unwrap(), expected, "{text}");
        }
        for bad in ["", "yesterday", "5", "5w", "-5m", "2026-13-01", "ä"] {
            let error = time("--since", bad, now).unwrap_err().to_string();
            assert!(error.starts_with("--since: "), "{bad}: {error}");
        }
    }

    #[test]
    fn instants_without_offset_are_those_of_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (text, expected) in [
            ("2027-03-27", "2027-03-26T23:00:00Z"),
            ("2027-03-28T03:00", "2027-03-28T01:00:00Z"),
            ("2027-03-28T03:00:00Z", "2027-03-28T03:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(instant("--at", text, &berlin).unwrap(), expected, "{text}");
        }
        // How long ago means nothing where the future is meant.
        for bad in ["", "15m", "tomorrow", "2027-02-30"] {
            let error = instant("--at", bad, &berlin).unwrap_err().to_string();
            assert!(error.starts_with("--at: "), "{bad}: {error}");
        }
    }

    #[test]
    fn lengths_of_time_have_units() {
        for (text, expected) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration_ms("--delay", text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "5",
            "m",
            "5w",
            "-5m",
            "1.5h",
            "5m3",
            "99999999999999999999d",
            "1ä",
        ] {
            let error = duration_ms("--delay", bad).unwrap_err().to_string();
            assert!(error.starts_with("--delay: "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_malformed_lsn_change_or_class_is_refused_by_its_argument() {
        assert!(lsn("--from-lsn", "16/B374D848").is_ok());
        let error = lsn("--from-lsn", "16-B3").unwrap_err().to_string();
        assert!(error.starts_with("--from-lsn: ") && error.contains("16/B374D848"));
        assert!(
            change("upsert")
                .unwrap_err()
                .to_string()
                .starts_with("--change: ")
        );
        assert!(table("").is_err() && table("a.").is_err());
        assert_eq!(
            table("billing.inv.x").unwrap(),
            ("billing".into(), "inv.x".into())
        );
    }
}
