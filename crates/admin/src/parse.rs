//! Reading what people write: events, times, LSNs, classes.

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

pub(crate) fn lsn(argument: &'static str, text: &str) -> Result<Lsn, Error> {
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
pub(crate) fn time(argument: &'static str, text: &str, now: Timestamp) -> Result<String, Error> {
    let in_utc = |time: DateTime| time.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
    let found = text.parse::<Timestamp>().ok();
    let found = found.or_else(|| in_utc(text.parse::<DateTime>().ok()?).ok());
    let found =
        found.or_else(|| in_utc(text.parse::<Date>().ok()?.to_datetime(Default::default())).ok());
    let found = found.or_else(|| now.checked_sub(ago(text)?).ok());
    match found {
        Some(time) => Ok(format!("{time:.6}")),
        None => Err(Error::invalid(
            argument,
            format!(
                "{text:?} is not a time: give one such as 2026-11-25T10:00:00Z, a date such as 2026-11-25, \
                 or how long ago such as 15m, 2h or 3d"
            ),
        )),
    }
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
