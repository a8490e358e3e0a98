//! Dates as Parse writes them: UTC, milliseconds, `2026-11-22T09:00:00.000Z`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// Milliseconds since 1970 as an ISO text, or `None` outside years -9999 to 9999.
pub fn format_iso(unix_ms: i64) -> Option<String> {
    let timestamp = Timestamp::from_millisecond(unix_ms).ok()?;
    Some(format!("{timestamp:.3}"))
}

/// Milliseconds since 1970 of an ISO 8601 text; without an offset or a time it means UTC and midnight.
pub fn parse_iso(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_millisecond());
    }
    let in_utc = text
        .parse::<DateTime>()
        .ok()?
        .to_zoned(TimeZone::UTC)
        .ok()?;
    Some(in_utc.timestamp().as_millisecond())
}

/// `{"__type":"Date","iso":…}`.
pub fn to_value(iso: &str) -> Value {
    json!({"__type": "Date", "iso": iso})
}

/// The ISO text of a `{"__type":"Date","iso":…}`.
pub fn iso_of(value: &Value) -> Option<&str> {
    (value.get("__type")?.as_str()? == "Date").then(|| value.get("iso")?.as_str())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_milliseconds_in_utc() {
        for (text, shown) in [
            ("2026-11-22T09:00:00.000Z", "2026-11-22T09:00:00.000Z"),
            ("2026-11-22T09:00:00.1239Z", "2026-11-22T09:00:00.123Z"),
            ("2026-11-22T09:00:00Z", "2026-11-22T09:00:00.000Z"),
            ("2026-11-22T11:00:00+02:00", "2026-11-22T09:00:00.000Z"),
            ("2026-11-22T09:00:00", "2026-11-22T09:00:00.000Z"),
            ("2026-11-22", "2026-11-22T00:00:00.000Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(
                parse_iso(text).and_then(format_iso).as_deref(),
                Some(shown),
                "{text}"
            );
        }
        for text in ["", "soon", "2026-13-01T00:00:00Z", "2026-02-30", "09:00"] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
        assert_eq!(format_iso(i64::MAX), None);
    }

    #[test]
    fn only_a_tagged_date_is_one() {
        assert_eq!(iso_of(&to_value("x")), Some("x"));
        assert_eq!(iso_of(&json!({"iso": "x"})), None);
        assert_eq!(iso_of(&json!("x")), None);
    }
}
