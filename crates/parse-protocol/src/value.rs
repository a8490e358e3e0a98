//! What is checked of every JSON value before it is let in.

use serde_json::Value;

use crate::{ErrorCode, ParseError};

/// The deepest nesting of a stored value. Every later reader (Postgres, the isolates, a client) recurses over it;
/// a deeper one is refused with 107.
pub const MAX_NESTING_DEPTH: usize = 100;

/// Checks one field's value, or the parameters of a call.
///
/// # Errors
/// 107 for a NUL in any text (Postgres stores none) or too deep nesting, 105 for a key that reaches a JavaScript
/// prototype (`requestKeywordDenylist`). `field` is named in the first two.
pub(crate) fn check(field: &str, value: &Value) -> Result<(), ParseError> {
    check_at(field, value, 0)
}

/// Checks that no key of a stored object can be taken for an operator or a path.
///
/// # Errors
/// 121, as `validateKeys` of the Postgres adapter.
pub(crate) fn check_nested_keys(value: &Value) -> Result<(), ParseError> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check_nested_keys),
        Value::Object(fields) => fields.iter().try_for_each(|(key, inner)| {
            if key.contains(['$', '.']) {
                let message = "Nested keys should not contain the '$' or '.' characters";
                return Err(ParseError::new(ErrorCode::INVALID_NESTED_KEY, message));
            }
            check_nested_keys(inner)
        }),
        _ => Ok(()),
    }
}

pub(crate) fn check_key(field: &str, key: &str, value: &Value) -> Result<(), ParseError> {
    if key.contains('\0') {
        return Err(has_nul(field));
    }
    let denied = match key {
        "__proto__" | "constructor" => format!(r#"{{"key":"{key}"}}"#),
        "_bsontype" if value == "Code" => r#"{"key":"_bsontype","value":"Code"}"#.to_owned(),
        _ => return Ok(()),
    };
    Err(ParseError::invalid_key(format!(
        "Prohibited keyword in request data: {denied}."
    )))
}

fn check_at(field: &str, value: &Value, depth: usize) -> Result<(), ParseError> {
    if depth > MAX_NESTING_DEPTH {
        let message = format!("Field {field} is nested deeper than {MAX_NESTING_DEPTH} levels.");
        return Err(ParseError::invalid_json(message));
    }
    match value {
        Value::String(text) if text.contains('\0') => Err(has_nul(field)),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_at(field, item, depth + 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, inner)| {
            check_key(field, key, inner)?;
            check_at(field, inner, depth + 1)
        }),
        _ => Ok(()),
    }
}

fn has_nul(field: &str) -> ParseError {
    let field = field.replace('\0', "\\0");
    ParseError::invalid_json(format!(
        "Field {field} contains a NUL character, which cannot be stored."
    ))
}

/// Equality as JavaScript and `jsonb` see it: `1` and `1.0` are the same number.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// A number as JSON: whole where it is whole and exact, as JavaScript prints it.
///
/// # Errors
/// 111 for an infinity or NaN, which JSON cannot hold.
pub fn number(value: f64) -> Result<Value, ParseError> {
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    if value.fract() == 0.0 && value.abs() <= MAX_SAFE_INTEGER {
        return Ok(Value::from(value as i64));
    }
    let number = serde_json::Number::from_f64(value);
    number
        .map(Value::Number)
        .ok_or_else(|| ParseError::incorrect_type("a Number must be finite"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |inner, level| {
            if level % 2 == 0 {
                json!([inner])
            } else {
                json!({"a": inner})
            }
        })
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(check("f", &nested(MAX_NESTING_DEPTH - 1)), Ok(()));
        assert_eq!(check("f", &nested(MAX_NESTING_DEPTH)), Ok(()));
        assert_eq!(
            check("f", &nested(MAX_NESTING_DEPTH + 1)).unwrap_err().code,
            ErrorCode::INVALID_JSON
        );
    }

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (value, shown) in [
            (1.0, "1"),
            (-0.0, "0"),
            (0.5, "0.5"),
            (-3.0, "-3"),
            (9_007_199_254_740_991.0, "9007199254740991"),
        ] {
            assert_eq!(number(value).unwrap().to_string(), shown);
        }
        assert_eq!(number(1e300).unwrap().as_f64(), Some(1e300));
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(number(value).unwrap_err().code, ErrorCode::INCORRECT_TYPE);
        }
    }

    #[test]
    fn sameness_looks_through_number_forms() {
        assert!(same(&json!({"a": [1, 2.0]}), &json!({"a": [1.0, 2]})));
        assert!(!same(&json!([1]), &json!([1, 1])));
        assert!(!same(&json!({"a": 1}), &json!({"b": 1})));
        assert!(!same(&json!("1"), &json!(1)));
    }
}
