//! The effect of operations on an object in REST form.

use serde_json::{Value, json};

use super::{Changes, FieldOp};
use crate::{Object, ParseError, Pointer, value};

pub(super) fn apply(changes: &Changes, base: &Object) -> Result<Object, ParseError> {
    let mut object = base.clone();
    for (path, op) in changes.iter() {
        apply_at(&mut object, path, path, op)?;
    }
    Ok(object)
}

/// `path`: what is left of `field` below `object`.
fn apply_at(object: &mut Object, field: &str, path: &str, op: &FieldOp) -> Result<(), ParseError> {
    let Some((key, rest)) = path.split_once('.') else {
        match after(field, object.get(path), op)? {
            Some(value) => object.insert(path.to_owned(), value),
            None => object.remove(path),
        };
        return Ok(());
    };
    if !object.contains_key(key) && matches!(op, FieldOp::Delete) {
        return Ok(());
    }
    apply_in(object.entry(key).or_insert(Value::Null), field, rest, op)
}

fn apply_in(value: &mut Value, field: &str, path: &str, op: &FieldOp) -> Result<(), ParseError> {
    if value.is_null() {
        *value = json!({});
    }
    match value {
        Value::Object(inner) => apply_at(inner, field, path, op),
        Value::Array(items) => {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            let item = index
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index));
            let item = item.ok_or_else(|| no_place(field))?;
            if rest.is_empty() {
                *item = after(field, Some(item), op)?.unwrap_or(Value::Null);
                return Ok(());
            }
            apply_in(item, field, rest, op)
        }
        _ => Err(no_place(field)),
    }
}

fn no_place(field: &str) -> ParseError {
    ParseError::incorrect_type(format!(
        "cannot change {field}: there is no Object or Array element to change it in"
    ))
}

/// The value after `op`; `None`: no value.
fn after(field: &str, before: Option<&Value>, op: &FieldOp) -> Result<Option<Value>, ParseError> {
    let before = before.filter(|value| !value.is_null());
    Ok(match op {
        FieldOp::Set(Value::Null) | FieldOp::Delete => None,
        FieldOp::Set(value) => Some(value.clone()),
        FieldOp::Increment(amount) => Some(incremented(field, before, *amount)?),
        FieldOp::Add(values) => {
            let mut array = array(field, before)?;
            array.extend(values.iter().cloned());
            Some(Value::Array(array))
        }
        FieldOp::AddUnique(values) => {
            let mut array = array(field, before)?;
            for value in values {
                if !array.iter().any(|held| same_element(held, value)) {
                    array.push(value.clone());
                }
            }
            Some(Value::Array(array))
        }
        FieldOp::Remove(values) => {
            let mut array = array(field, before)?;
            array.retain(|held| !values.iter().any(|value| same_element(held, value)));
            Some(Value::Array(array))
        }
        FieldOp::Relation { add, remove } => match (before, add.first().or(remove.first())) {
            (Some(relation), _) => Some(relation.clone()),
            (None, Some(pointer)) => {
                Some(json!({"__type": "Relation", "className": pointer.class}))
            }
            (None, None) => None,
        },
    })
}

fn incremented(field: &str, before: Option<&Value>, amount: f64) -> Result<Value, ParseError> {
    match before {
        None => value::number(amount),
        Some(Value::Number(before)) => value::number(before.as_f64().unwrap_or(0.0) + amount),
        Some(_) => Err(ParseError::incorrect_type(format!(
            "cannot increment {field}: it is not a Number"
        ))),
    }
}

fn array(field: &str, before: Option<&Value>) -> Result<Vec<Value>, ParseError> {
    match before {
        None => Ok(Vec::new()),
        Some(Value::Array(array)) => Ok(array.clone()),
        Some(_) => Err(ParseError::incorrect_type(format!(
            "cannot change the elements of {field}: it is not an Array"
        ))),
    }
}

/// An object is the same element whether it is there as a pointer or as a whole.
fn same_element(a: &Value, b: &Value) -> bool {
    match (Pointer::of(a), Pointer::of(b)) {
        (Some(a), Some(b)) => a == b,
        _ => value::same(a, b),
    }
}
