//! Rows of tables that are no Parse class, as objects: every column an attribute.
//!
//! The table in this crate's README says what becomes of which type. What cannot be shown as its type's value is the
//! text that Postgres prints: no row fails.

mod array;
mod kind;

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidegate_parse_protocol::{Object, date};
use tokio_postgres::types::Oid;

use crate::cell::parse_timestamp;
use kind::Kind;
pub(crate) use kind::{Types, UserType};

/// More decimal digits than a JavaScript number keeps; such a number stays a text.
const MAX_EXACT_DIGITS: usize = 15;

/// Beyond this, JavaScript takes neighbouring whole numbers for one.
const MAX_SAFE_INTEGER: u64 = 9_007_199_254_740_991;

/// The columns of a published table, by name.
#[derive(Debug, Default)]
pub(crate) struct PlainTable(HashMap<String, Kind>);

impl PlainTable {
    pub(crate) fn new(columns: &[(String, Oid)], types: &Types) -> Self {
        let kinds = columns
            .iter()
            .map(|(name, oid)| (name.clone(), types.kind(*oid)));
        PlainTable(kinds.collect())
    }

    pub(crate) fn has_column(&self, column: &str) -> bool {
        self.0.contains_key(column)
    }
}

/// The object of a row. SQL NULL is left out; a column whose type is not known is a text.
pub(crate) fn to_object(
    table: Option<&PlainTable>,
    row: &BTreeMap<String, Option<String>>,
) -> Object {
    let mut object = Object::new();
    for (name, text) in row {
        let Some(text) = text else { continue };
        let kind = table.and_then(|table| table.0.get(name));
        object.insert(name.clone(), attribute(name, kind, text));
    }
    object
}

fn attribute(name: &str, kind: Option<&Kind>, text: &str) -> Value {
    let value = match (name, kind) {
        // The SDK reads these by rules of its own.
        ("objectId" | "ACL", _) | (_, None) => None,
        ("createdAt" | "updatedAt", Some(Kind::Timestamp)) => iso(text).map(Value::String),
        (_, Some(kind)) => value(kind, text),
    };
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// None for what is not to be shown as its type's value: out of JavaScript's reach, or no such text.
fn value(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Integer => {
            let number: i64 = text.parse().ok()?;
            (number.unsigned_abs() <= MAX_SAFE_INTEGER).then(|| number.into())
        }
        Kind::Float => finite(text),
        Kind::Numeric => {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            (digits <= MAX_EXACT_DIGITS).then(|| finite(text))?
        }
        Kind::Boolean => match text {
            "t" => Some(true.into()),
            "f" => Some(false.into()),
            _ => None,
        },
        Kind::Timestamp => Some(date::to_value(&iso(text)?)),
        Kind::Json => serde_json::from_str(text).ok(),
        Kind::Bytes => {
            let bytes = hexadecimal(text.strip_prefix("\\x")?)?;
            Some(json!({"__type": "Bytes", "base64": STANDARD.encode(bytes)}))
        }
        Kind::Array { element, delimiter } => array::value(element, *delimiter, text),
        Kind::Text => None,
    }
}

/// A number as JavaScript prints it: `1`, not `1.0`; None for NaN and the infinities, which JSON lacks.
fn finite(text: &str) -> Option<Value> {
    let number: f64 = text
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())?;
    let is_whole = number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER as f64;
    let is_negative_zero = number == 0.0 && number.is_sign_negative();
    Some(if is_whole && !is_negative_zero {
        Value::from(number as i64)
    } else {
        Value::from(number)
    })
}

/// In UTC, cut to milliseconds; None for infinities and what is before year 1 or after 9999-12-30.
fn iso(text: &str) -> Option<String> {
    if text.ends_with(" BC") {
        return None;
    }
    date::format_iso(parse_timestamp(text)?.div_euclid(1000))
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::*;

    fn shown(column_type: Type, text: &str) -> Value {
        let kind = Types::default().kind(column_type.oid());
        attribute("column", Some(&kind), text)
    }

    #[test]
    fn values_are_shown_by_their_type_and_lose_nothing() {
        let date = |iso: &str| json!({"__type": "Date", "iso": iso});
        let cases = [
            (Type::INT2, "-7", json!(-7)),
            (
                Type::INT8,
                "9007199254740991",
                json!(9_007_199_254_740_991_i64),
            ),
            (
                Type::INT8,
                "-9223372036854775808",
                json!("-9223372036854775808"),
            ),
            (Type::FLOAT8, "0.1", json!(0.1)),
            (Type::FLOAT8, "5e-324", json!(5e-324)),
            (Type::FLOAT8, "-0", json!(-0.0)),
            (Type::FLOAT4, "NaN", json!("NaN")),
            (Type::FLOAT8, "-Infinity", json!("-Infinity")),
            (Type::NUMERIC, "12.50", json!(12.5)),
            (Type::NUMERIC, "NaN", json!("NaN")),
            (
                Type::NUMERIC,
                "0.1000000000000001",
                json!("0.1000000000000001"),
            ),
            (Type::BOOL, "t", json!(true)),
            (Type::BOOL, "yes", json!("yes")),
            (
                Type::TIMESTAMPTZ,
                "1970-01-01 00:00:01.5+00",
                date("1970-01-01T00:00:01.500Z"),
            ),
            (
                Type::TIMESTAMP,
                "9999-12-30 12:59:59.999999",
                date("9999-12-30T12:59:59.999Z"),
            ),
            (Type::DATE, "2024-02-29", date("2024-02-29T00:00:00.000Z")),
            (Type::DATE, "4713-01-01 BC", json!("4713-01-01 BC")),
            (Type::DATE, "infinity", json!("infinity")),
            (
                Type::TIMESTAMPTZ,
                "294276-12-31 23:59:59+00",
                json!("294276-12-31 23:59:59+00"),
            ),
            (Type::JSONB, "{\"a\": null}", json!({"a": null})),
            (Type::JSON, "null", Value::Null),
            (Type::JSONB, "[1e1000]", json!("[1e1000]")),
            (
                Type::BYTEA,
                "\\x00ff10",
                json!({"__type": "Bytes", "base64": "AP8Q"}),
            ),
            (Type::BYTEA, "\\x0", json!("\\x0")),
            (Type::POINT, "(1,2)", json!("(1,2)")),
            (Type::INTERVAL, "1 mon 2 days", json!("1 mon 2 days")),
            (Type::INT2_VECTOR, "1 2", json!("1 2")),
        ];
        for (column_type, text, expected) in cases {
            assert_eq!(
                shown(column_type.clone(), text).to_string(),
                expected.to_string(),
                "{column_type} {text}"
            );
        }
        let thousand_digits = format!("1{}", "0".repeat(1000));
        assert_eq!(
            shown(Type::NUMERIC, &thousand_digits),
            json!(thousand_digits)
        );
    }

    #[test]
    fn an_object_knows_no_more_than_the_catalog() {
        let texts = [
            ("id", Some("7")),
            ("new", Some("5")),
            ("gone", None),
            ("objectId", Some("1")),
        ];
        let row = texts
            .map(|(name, text)| (name.to_owned(), text.map(str::to_owned)))
            .into();
        let columns = ["id", "objectId"].map(|name| (name.to_owned(), Type::INT4.oid()));
        let table = PlainTable::new(&columns, &Types::default());
        assert_eq!(
            Value::Object(to_object(Some(&table), &row)),
            json!({"id": 7, "new": "5", "objectId": "1"})
        );
        assert_eq!(to_object(None, &row)["id"], "7");
    }
}
