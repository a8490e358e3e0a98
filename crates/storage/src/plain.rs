//! Rows of tables that are no Parse class, as objects: every column an attribute, by best effort.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tidegate_parse_protocol::{FieldType, Object};
use tokio_postgres::types::{Oid, Type};

use crate::cell::{from_text, to_rest};
use crate::column::ColumnType;

/// More decimal digits than a JavaScript number keeps; such a number stays a text.
const MAX_EXACT_DIGITS: usize = 15;

/// The columns of a published table, by name.
#[derive(Debug, Default)]
pub(crate) struct PlainTable(HashMap<String, Oid>);

impl PlainTable {
    pub(crate) fn new(columns: &[(String, Oid)]) -> Self {
        PlainTable(columns.iter().cloned().collect())
    }

    fn column_type(&self, column: &str) -> Option<Type> {
        Type::from_oid(*self.0.get(column)?)
    }
}

/// Numbers, booleans, dates, JSON and arrays of texts as themselves; everything else, and every column whose type is
/// not known, as the text that Postgres prints. SQL NULL is left out.
pub(crate) fn to_object(
    table: Option<&PlainTable>,
    row: &BTreeMap<String, Option<String>>,
) -> Object {
    let mut object = Object::new();
    for (name, text) in row {
        let Some(text) = text else { continue };
        let column_type = table.and_then(|table| table.column_type(name));
        object.insert(name.clone(), attribute(name, column_type, text));
    }
    object
}

fn attribute(name: &str, column_type: Option<Type>, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    let Some(column) = column_type.and_then(|column_type| kind(&column_type, text)) else {
        return as_text();
    };
    let Some(cell) = from_text(column, text) else {
        return as_text();
    };
    let is_null_json = matches!(cell, crate::cell::Cell::Json(Value::Null));
    // The column's type says all; the field's type only matters for pointers and files, which plain tables lack.
    to_rest(name, &FieldType::Object, cell)
        .unwrap_or_else(|| if is_null_json { Value::Null } else { as_text() })
}

fn kind(column_type: &Type, text: &str) -> Option<ColumnType> {
    Some(match *column_type {
        Type::INT2 | Type::INT4 | Type::FLOAT4 | Type::FLOAT8 | Type::OID => ColumnType::Number,
        Type::INT8 | Type::NUMERIC if is_exact(text) => ColumnType::Number,
        Type::BOOL => ColumnType::Boolean,
        Type::TIMESTAMPTZ | Type::TIMESTAMP => ColumnType::Timestamp,
        Type::JSON | Type::JSONB => ColumnType::Json,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => ColumnType::TextArray,
        Type::POINT => ColumnType::Point,
        Type::POLYGON => ColumnType::Polygon,
        _ => return None,
    })
}

fn is_exact(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() <= MAX_EXACT_DIGITS
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_shown_by_their_type_and_lose_nothing() {
        let column = |name: &str, column_type: Type| (name.to_owned(), column_type.oid());
        let table = PlainTable::new(&[
            column("id", Type::INT8),
            column("big", Type::INT8),
            column("price", Type::NUMERIC),
            column("paid", Type::BOOL),
            column("at", Type::TIMESTAMPTZ),
            column("doc", Type::JSONB),
            column("uid", Type::UUID),
        ]);
        let row = [
            ("id", Some("7")),
            ("big", Some("9007199254740993")),
            ("price", Some("12.50")),
            ("paid", Some("t")),
            ("at", Some("1970-01-01 00:00:01+00")),
            ("doc", Some("{\"a\": null}")),
            ("uid", Some("6f7c")),
            ("new", Some("5")),
            ("gone", None),
        ];
        let row = row
            .map(|(name, text)| (name.to_owned(), text.map(str::to_owned)))
            .into();
        let expected = json!({
            "id": 7, "big": "9007199254740993", "price": 12.5, "paid": true,
            "at": {"__type": "Date", "iso": "1970-01-01T00:00:01.000Z"}, "doc": {"a": null}, "uid": "6f7c", "new": "5",
        });
        assert_eq!(Value::Object(to_object(Some(&table), &row)), expected);
        assert_eq!(to_object(None, &row)["id"], "7");
    }
}
