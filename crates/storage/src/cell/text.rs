//! Cells from the text that Postgres prints, as logical replication sends it.
//!
//! Expected of the sender: `datestyle=ISO` and `extra_float_digits` at its default or above.

use super::{Cell, json};
use crate::column::ColumnType;
use crate::param::Point;

/// Reads what Postgres printed for a column of this type; `None` when it is no such text.
pub(crate) fn from_text(column: ColumnType, text: &str) -> Option<Cell> {
    Some(match column {
        ColumnType::Text => Cell::Text(text.to_owned()),
        ColumnType::Number => Cell::Number(text.parse().ok()?),
        ColumnType::Boolean => match text {
            "t" => Cell::Boolean(true),
            "f" => Cell::Boolean(false),
            _ => return None,
        },
        ColumnType::Timestamp => Cell::Timestamp(parse_timestamp(text)),
        ColumnType::Json => json(text.as_bytes()),
        ColumnType::TextArray => Cell::Texts(texts(text)?),
        ColumnType::Point => Cell::Point(*points(text)?.first()?),
        ColumnType::Polygon => Cell::Polygon(points(text)?),
    })
}

/// Microseconds since 1970 of `2026-11-22 09:00:00.123456+00`, or without the offset of UTC. `None` for `infinity` and
/// years after 9999.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    if let Some(before_christ) = text.strip_suffix(" BC") {
        return parse_timestamp(&astronomical(before_christ)?);
    }
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    Some(
        civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_microsecond(),
    )
}

/// `0044-03-15` BC is in year -43: there is no year 0 before Christ.
fn astronomical(before_christ: &str) -> Option<String> {
    let (year, rest) = before_christ.split_once('-')?;
    let year: i32 = year.parse().ok()?;
    Some(if year == 1 {
        format!("0000-{rest}")
    } else {
        format!("-{:06}-{rest}", year - 1)
    })
}

/// `((x,y),(x,y))` or `(x,y)`: all numbers in it, two by two.
fn points(text: &str) -> Option<Vec<Point>> {
    let numbers = text.split(['(', ')', ',']).filter(|part| !part.is_empty());
    let numbers = numbers
        .map(|part| part.parse().ok())
        .collect::<Option<Vec<f64>>>()?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[x, y]| Point { x: *x, y: *y }).collect())
}

/// A one-dimensional array literal: `{*,"role:Big \"Admins\"",NULL}`. NULL elements are left out.
fn texts(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut texts = Vec::new();
    let mut rest = inner;
    while !rest.is_empty() {
        let (element, after) = element(rest)?;
        texts.extend(element);
        rest = match after.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            None if after.is_empty() => break,
            _ => return None,
        };
    }
    Some(texts)
}

/// The first element of an array literal's inside, and what follows it.
fn element(text: &str) -> Option<(Option<String>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (element, after) = text.split_at(text.find(',').unwrap_or(text.len()));
        return Some(((element != "NULL").then(|| element.to_owned()), after));
    };
    let mut element = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((Some(element), &quoted[at + 1..])),
            (_, '\\') => element.push(chars.next()?.1),
            (_, c) => element.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_literals_are_read_as_postgres_writes_them() {
        let read = |text| texts(text).map(|texts| texts.join("|"));
        assert_eq!(read("{}").as_deref(), Some(""));
        assert_eq!(read("{*,abc}").as_deref(), Some("*|abc"));
        assert_eq!(
            read(r#"{"role:Big \"A\\B\"",NULL,"NULL","a,b"}"#).as_deref(),
            Some(r#"role:Big "A\B"|NULL|a,b"#)
        );
        for broken in ["", "{", "{\"a}", "{a,}", "{\"a\"b}"] {
            assert_eq!(texts(broken), None, "{broken}");
        }
    }

    #[test]
    fn timestamps_are_read_with_any_offset_and_never_panic() {
        assert_eq!(parse_timestamp("1970-01-01 00:00:01.5+00"), Some(1_500_000));
        assert_eq!(parse_timestamp("1970-01-01 05:30:00+05:30"), Some(0));
        assert_eq!(parse_timestamp("1969-12-31 23:59:59.999999+00"), Some(-1));
        assert_eq!(parse_timestamp("1970-01-01 00:00:00"), Some(0));
        let year_us = 366 * 86_400_000_000;
        let year_one = parse_timestamp("0001-01-01 00:00:00+00").unwrap();
        assert_eq!(
            parse_timestamp("0001-01-01 00:00:00+00 BC"),
            Some(year_one - year_us)
        );
        assert!(parse_timestamp("4714-11-24 00:00:00+00 BC").is_some());
        for beyond in [
            "infinity",
            "-infinity",
            "10000-01-01 00:00:00+00",
            "294276-12-31 23:59:59+00",
        ] {
            assert_eq!(parse_timestamp(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn points_and_numbers_are_read() {
        assert_eq!(
            from_text(ColumnType::Point, "(2.5,-1)"),
            Some(Cell::Point(Point { x: 2.5, y: -1.0 }))
        );
        assert_eq!(
            points("((0,0),(1e-05,2))").map(|points| points.len()),
            Some(2)
        );
        assert_eq!(points("(1,2,3)"), None);
        assert!(
            matches!(from_text(ColumnType::Number, "NaN"), Some(Cell::Number(number)) if number.is_nan())
        );
        assert_eq!(
            from_text(ColumnType::Number, "-Infinity"),
            Some(Cell::Number(f64::NEG_INFINITY))
        );
        assert_eq!(from_text(ColumnType::Boolean, "yes"), None);
    }
}
