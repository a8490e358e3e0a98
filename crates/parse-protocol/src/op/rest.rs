//! Operations from and to their wire form.

use serde_json::{Value, json};

use super::FieldOp;
use crate::{ErrorCode, ParseError, Pointer, value};

pub(super) fn from_rest(value: &Value) -> Result<FieldOp, ParseError> {
    let Some(op) = value.get("__op") else {
        return Ok(FieldOp::Set(plain(value)));
    };
    match op.as_str() {
        Some("Delete") => Ok(FieldOp::Delete),
        Some("Increment") => increment(value),
        Some("Add") => Ok(FieldOp::Add(objects(value)?)),
        Some("AddUnique") => Ok(FieldOp::AddUnique(objects(value)?)),
        Some("Remove") => Ok(FieldOp::Remove(objects(value)?)),
        Some("AddRelation" | "RemoveRelation" | "Batch") => relation(value),
        Some(other) => Err(unsupported(other)),
        None => Err(ParseError::invalid_json("__op must be a string")),
    }
}

pub(super) fn to_rest(op: &FieldOp) -> Value {
    let array = |name: &str, objects: &[Value]| json!({"__op": name, "objects": objects});
    match op {
        FieldOp::Set(value) => value.clone(),
        FieldOp::Delete => json!({"__op": "Delete"}),
        FieldOp::Increment(amount) => {
            json!({"__op": "Increment", "amount": value::number(*amount).unwrap_or(Value::Null)})
        }
        FieldOp::Add(objects) => array("Add", objects),
        FieldOp::AddUnique(objects) => array("AddUnique", objects),
        FieldOp::Remove(objects) => array("Remove", objects),
        FieldOp::Relation { add, remove } => relation_to_rest(add, remove),
    }
}

/// A whole object in a field stands for the pointer to it; one without an id is refused as a value of unknown type.
fn plain(value: &Value) -> Value {
    match value.get("__type").and_then(Value::as_str) {
        Some("Object") => {
            Pointer::of(value).map_or_else(|| value.clone(), |pointer| pointer.to_value())
        }
        _ => value.clone(),
    }
}

fn relation_to_rest(add: &[Pointer], remove: &[Pointer]) -> Value {
    let one = |name: &str, pointers: &[Pointer]| json!({"__op": name, "objects": pointers.iter().map(Pointer::to_value).collect::<Vec<_>>()});
    match (add, remove) {
        (add, []) => one("AddRelation", add),
        ([], remove) => one("RemoveRelation", remove),
        (add, remove) => {
            json!({"__op": "Batch", "ops": [one("AddRelation", add), one("RemoveRelation", remove)]})
        }
    }
}

fn increment(value: &Value) -> Result<FieldOp, ParseError> {
    let amount = value.get("amount").and_then(Value::as_f64);
    amount
        .map(FieldOp::Increment)
        .ok_or_else(|| ParseError::invalid_json("the amount to increment by must be a number"))
}

/// The text is Parse's for all three array operations (`flattenUpdateOperatorsForCreate`).
fn objects(value: &Value) -> Result<Vec<Value>, ParseError> {
    let objects = value.get("objects").and_then(Value::as_array);
    objects
        .cloned()
        .ok_or_else(|| ParseError::invalid_json("objects to add must be an array"))
}

/// Flattens relation operations in order; the last word on an object counts.
fn relation(value: &Value) -> Result<FieldOp, ParseError> {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    match value.get("__op").and_then(Value::as_str) {
        Some("Batch") => {
            let ops = value
                .get("ops")
                .and_then(Value::as_array)
                .filter(|ops| !ops.is_empty());
            let ops =
                ops.ok_or_else(|| ParseError::invalid_json("the ops of a Batch must be an array"))?;
            for op in ops {
                one_relation(op, &mut add, &mut remove)?;
            }
        }
        _ => one_relation(value, &mut add, &mut remove)?,
    }
    one_class(&add, &remove)?;
    Ok(FieldOp::Relation { add, remove })
}

fn one_relation(
    op: &Value,
    add: &mut Vec<Pointer>,
    remove: &mut Vec<Pointer>,
) -> Result<(), ParseError> {
    let (into, out_of) = match op.get("__op").and_then(Value::as_str) {
        Some("AddRelation") => (add, remove),
        Some("RemoveRelation") => (remove, add),
        other => return Err(unsupported(other.unwrap_or("Batch"))),
    };
    for object in objects(op)? {
        let pointer = Pointer::from_value(&object)?;
        out_of.retain(|other| *other != pointer);
        if !into.contains(&pointer) {
            into.push(pointer);
        }
    }
    Ok(())
}

fn one_class(add: &[Pointer], remove: &[Pointer]) -> Result<(), ParseError> {
    let mut classes = add.iter().chain(remove).map(|pointer| &pointer.class);
    let Some(first) = classes.next() else {
        return Ok(());
    };
    match classes.find(|class| *class != first) {
        None => Ok(()),
        Some(other) => Err(ParseError::incorrect_type(format!(
            "a relation holds one class, not {first} and {other}"
        ))),
    }
}

fn unsupported(op: &str) -> ParseError {
    ParseError::new(
        ErrorCode::COMMAND_UNAVAILABLE,
        format!("The {op} operator is not supported yet."),
    )
}
