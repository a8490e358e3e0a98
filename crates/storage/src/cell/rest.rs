//! Cells as REST JSON.

use serde_json::{Value, json};
use tidegate_parse_protocol::{FieldType, Pointer, date};

use super::Cell;
use crate::param::Point;

/// What the API shows for a field of this type; `None`: the field is empty and is left out.
///
/// `null` stands for what JSON or a JavaScript Date cannot hold: NaN, infinities, years outside 0–9999.
pub(crate) fn to_rest(name: &str, field_type: &FieldType, cell: Cell) -> Option<Value> {
    Some(match (field_type, cell) {
        (_, Cell::Null | Cell::Json(Value::Null)) => return None,
        (FieldType::Pointer { target }, Cell::Text(id)) => Pointer::new(target, id).to_value(),
        (FieldType::File, Cell::Text(name)) => json!({"__type": "File", "name": name}),
        (_, Cell::Text(text)) => Value::String(text),
        (_, Cell::Number(number)) => self::number(number),
        (_, Cell::Boolean(truth)) => Value::Bool(truth),
        (_, Cell::Timestamp(unix_us)) => timestamp(name, unix_us),
        (_, Cell::Json(value)) => value,
        (_, Cell::Texts(texts)) => texts.into(),
        (_, Cell::Point(Point { x, y })) => {
            json!({"__type": "GeoPoint", "latitude": number(y), "longitude": number(x)})
        }
        (_, Cell::Polygon(points)) => {
            let corners: Vec<_> = points
                .iter()
                .map(|point| json!([number(point.y), number(point.x)]))
                .collect();
            json!({"__type": "Polygon", "coordinates": corners})
        }
        (_, Cell::Unreadable) => Value::Null,
    })
}

/// A number as JavaScript prints it: `1`, not `1.0`.
fn number(number: f64) -> Value {
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// `createdAt` and `updatedAt` are plain texts, every other date is tagged (`postgresObjectToParseObject`).
fn timestamp(name: &str, unix_us: Option<i64>) -> Value {
    match unix_us.and_then(|unix_us| date::format_iso(unix_us.div_euclid(1000))) {
        None => Value::Null,
        Some(iso) if matches!(name, "createdAt" | "updatedAt") => Value::String(iso),
        Some(iso) => date::to_value(&iso),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_cannot_hold_is_null_and_whole_numbers_are_whole() {
        let number = |number| {
            to_rest("n", &FieldType::Number, Cell::Number(number))
                .unwrap()
                .to_string()
        };
        assert_eq!(number(5.0), "5");
        assert_eq!(number(-0.0), "0");
        assert_eq!(number(0.1), "0.1");
        assert_eq!(number(1e300), "1e+300");
        assert_eq!(number(f64::NAN), "null");
        assert_eq!(number(f64::INFINITY), "null");
    }

    #[test]
    fn dates_are_tagged_except_the_two_default_ones() {
        let show = |name, us| to_rest(name, &FieldType::Date, Cell::Timestamp(us)).unwrap();
        assert_eq!(
            show("createdAt", Some(1_500_999)),
            json!("1970-01-01T00:00:01.500Z")
        );
        assert_eq!(
            show("due", Some(-1)),
            json!({"__type": "Date", "iso": "1969-12-31T23:59:59.999Z"})
        );
        assert_eq!(show("due", None), Value::Null);
    }
}
