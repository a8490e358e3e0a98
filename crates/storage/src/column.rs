//! Field types as Postgres columns, and REST values as what goes into them.
//!
//! The layout is Parse Server's (`PostgresStorageAdapter.parseTypeToPostgresType`): both servers can use one database.

use serde_json::Value;
use tidegate_parse_protocol::{ErrorCode, Field, FieldType, ParseError, Pointer, date};

use crate::param::{Param, Point};

/// The columns of a field's values; relations and ACLs have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Text,
    Number,
    Boolean,
    Timestamp,
    Json,
    TextArray,
    Point,
    Polygon,
}

impl ColumnType {
    pub(crate) fn of(field: &Field) -> Option<ColumnType> {
        Some(match &field.field_type {
            FieldType::String | FieldType::File | FieldType::Pointer { .. } => ColumnType::Text,
            FieldType::Number => ColumnType::Number,
            FieldType::Boolean => ColumnType::Boolean,
            FieldType::Date => ColumnType::Timestamp,
            FieldType::Array if field.contents_string => ColumnType::TextArray,
            FieldType::Object | FieldType::Array | FieldType::Bytes => ColumnType::Json,
            FieldType::GeoPoint => ColumnType::Point,
            FieldType::Polygon => ColumnType::Polygon,
            FieldType::Relation { .. } | FieldType::Acl => return None,
        })
    }

    /// As written in `CREATE TABLE` and `ALTER TABLE`.
    pub(crate) fn sql_type(self) -> &'static str {
        match self {
            ColumnType::Text => "text",
            ColumnType::Number => "double precision",
            ColumnType::Boolean => "boolean",
            ColumnType::Timestamp => "timestamp with time zone",
            ColumnType::Json => "jsonb",
            ColumnType::TextArray => "text[]",
            ColumnType::Point => "point",
            ColumnType::Polygon => "polygon",
        }
    }
}

/// A REST value as a parameter for the column of a field of this type; `None`: the value is of another type.
pub(crate) fn param(field_type: &FieldType, contents_string: bool, value: &Value) -> Option<Param> {
    match (field_type, value) {
        (FieldType::String, Value::String(text)) => Some(Param::Text(text.clone())),
        (FieldType::Number, Value::Number(number)) => number.as_f64().map(Param::Number),
        (FieldType::Boolean, Value::Bool(truth)) => Some(Param::Boolean(*truth)),
        (FieldType::Date, value) => unix_ms(value).map(Param::Timestamp),
        (FieldType::Array, Value::Array(items)) if contents_string => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Param::Texts),
        (FieldType::Array, Value::Array(_)) => Some(Param::json(value)),
        (FieldType::Object | FieldType::Bytes, Value::Object(_)) => Some(Param::json(value)),
        (FieldType::Pointer { .. } | FieldType::File, Value::String(text)) => {
            Some(Param::Text(text.clone()))
        }
        (FieldType::Pointer { target }, value) => Pointer::of(value)
            .filter(|pointer| pointer.class == *target)
            .map(|pointer| Param::Text(pointer.id)),
        (FieldType::File, value) => value
            .get("name")?
            .as_str()
            .map(|name| Param::Text(name.to_owned())),
        (FieldType::GeoPoint, value) => geo_point(value).map(Param::Point),
        (FieldType::Polygon, value) => polygon(value).map(Param::Polygon),
        _ => None,
    }
}

/// The parameter that a write stores.
///
/// # Errors
/// 111 for a value of another type; 107 for a NUL, which Postgres cannot store.
pub(crate) fn stored_param(
    class: &str,
    name: &str,
    field: &Field,
    value: &Value,
) -> Result<Param, ParseError> {
    let param = param(&field.field_type, field.contents_string, value);
    let param = param.ok_or_else(|| mismatch(class, name, &field.field_type, value))?;
    refuse_nul(name, &param)?;
    Ok(param)
}

/// Parse's text of `SchemaController.enforceFieldExists`, as [`crate::Error::FieldType`] has it.
fn mismatch(class: &str, name: &str, expected: &FieldType, value: &Value) -> ParseError {
    let got = FieldType::infer(value)
        .ok()
        .flatten()
        .map_or_else(|| "nothing".to_owned(), |got| got.to_string());
    let message = format!("schema mismatch for {class}.{name}; expected {expected} but got {got}");
    ParseError::new(ErrorCode::INCORRECT_TYPE, message)
}

/// Refuses, by the field's name, a text that Postgres cannot hold.
///
/// # Errors
/// 107.
pub(crate) fn refuse_nul(name: &str, param: &Param) -> Result<(), ParseError> {
    let has_nul = match param {
        Param::Text(text) => text.contains('\0'),
        Param::Texts(texts) => texts.iter().any(|text| text.contains('\0')),
        Param::Json(json) => has_escaped_nul(json),
        _ => false,
    };
    if !has_nul {
        return Ok(());
    }
    let name = name.replace('\0', "\\0");
    let message = format!("Field {name} contains a NUL character, which cannot be stored.");
    Err(ParseError::new(ErrorCode::INVALID_JSON, message))
}

/// True for JSON text with `\u0000` in a string; `\\u0000` is a backslash and five letters.
fn has_escaped_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let backslashes = json[..at]
            .bytes()
            .rev()
            .take_while(|byte| *byte == b'\\')
            .count();
        backslashes % 2 == 0
    })
}

/// Milliseconds since 1970 of a `{"__type":"Date"}`, or of the plain ISO text of `createdAt` and `updatedAt`.
fn unix_ms(value: &Value) -> Option<i64> {
    date::parse_iso(value.as_str().or_else(|| date::iso_of(value))?)
}

/// GeoPoints are stored as (longitude, latitude).
fn geo_point(value: &Value) -> Option<Point> {
    Some(Point {
        x: value.get("longitude")?.as_f64()?,
        y: value.get("latitude")?.as_f64()?,
    })
}

/// The API's `[[latitude, longitude], …]`, swapped and closed.
fn polygon(value: &Value) -> Option<Vec<Point>> {
    let corner = |corner: &Value| {
        Some(Point {
            x: corner.get(1)?.as_f64()?,
            y: corner.get(0)?.as_f64()?,
        })
    };
    let corners = value.get("coordinates")?.as_array()?;
    let mut points = corners.iter().map(corner).collect::<Option<Vec<_>>>()?;
    let first = *points.first().filter(|_| points.len() >= 3)?;
    if points.last() != Some(&first) {
        points.push(first);
    }
    Some(points)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_parameters_of_their_field_and_no_other() {
        let pointer = FieldType::Pointer {
            target: "_User".into(),
        };
        let cases = [
            (FieldType::String, json!("x"), Some(Param::Text("x".into()))),
            (FieldType::String, json!(1), None),
            (FieldType::Number, json!(1), Some(Param::Number(1.0))),
            (FieldType::Number, json!(true), None),
            (
                FieldType::Date,
                json!({"__type": "Date", "iso": "1970-01-01T00:00:01.000Z"}),
                Some(Param::Timestamp(1000)),
            ),
            (
                FieldType::Date,
                json!("1970-01-01T00:00:01.000Z"),
                Some(Param::Timestamp(1000)),
            ),
            (FieldType::Date, json!("soon"), None),
            (
                pointer.clone(),
                json!({"__type": "Pointer", "className": "_User", "objectId": "u1"}),
                Some(Param::Text("u1".into())),
            ),
            (
                pointer,
                json!({"__type": "Pointer", "className": "Other", "objectId": "u1"}),
                None,
            ),
            (
                FieldType::File,
                json!({"__type": "File", "name": "a.png"}),
                Some(Param::Text("a.png".into())),
            ),
            (
                FieldType::GeoPoint,
                json!({"__type": "GeoPoint", "latitude": 1, "longitude": 2}),
                Some(Param::Point(Point { x: 2.0, y: 1.0 })),
            ),
            (FieldType::Object, json!([1]), None),
            (
                FieldType::Array,
                json!([1]),
                Some(Param::Json("[1]".into())),
            ),
        ];
        for (field_type, value, expected) in cases {
            assert_eq!(
                param(&field_type, false, &value),
                expected,
                "{field_type} {value}"
            );
        }
        assert_eq!(
            param(&FieldType::Array, true, &json!(["*"])),
            Some(Param::Texts(vec!["*".into()]))
        );
    }

    #[test]
    fn a_polygon_is_swapped_and_closed() {
        let value = json!({"__type": "Polygon", "coordinates": [[0, 1], [2, 3], [4, 5]]});
        let point = |x, y| Point { x, y };
        let closed = vec![
            point(1.0, 0.0),
            point(3.0, 2.0),
            point(5.0, 4.0),
            point(1.0, 0.0),
        ];
        assert_eq!(
            param(&FieldType::Polygon, false, &value),
            Some(Param::Polygon(closed))
        );
    }

    #[test]
    fn a_nul_is_refused_by_the_name_of_its_field() {
        let refused = |field_type, value| {
            stored_param("Order", "note", &Field::new(field_type), &value)
                .map_err(|error| error.code)
        };
        assert_eq!(
            refused(FieldType::String, json!("a\0")),
            Err(ErrorCode::INVALID_JSON)
        );
        assert_eq!(
            refused(FieldType::Object, json!({"deep": ["a\0"]})),
            Err(ErrorCode::INVALID_JSON)
        );
        assert_eq!(
            refused(FieldType::Object, json!({"a\0": 1})),
            Err(ErrorCode::INVALID_JSON)
        );
        assert!(refused(FieldType::Object, json!({"path": "\\u0000"})).is_ok());
    }
}
