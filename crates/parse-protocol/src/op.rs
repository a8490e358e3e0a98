//! What one write does to each field of an object.
//!
//! ```text
//! {"score":{"__op":"Increment","amount":1},"name":"x"} ─▶ Changes ─▶ SQL (storage) or apply (before-triggers)
//! ```

mod apply;
mod changes;
mod rest;

use serde_json::Value;

pub use changes::Changes;

use crate::{FieldType, ParseError, Pointer};

/// One field's operation; the wire form is a plain value or `{"__op":…}`.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldOp {
    /// A plain value; `null` empties the field like `Delete` but keeps its type unknown.
    Set(Value),
    Delete,
    Increment(f64),
    /// Appends every value, duplicates included.
    Add(Vec<Value>),
    /// Appends the values that the array does not hold yet.
    AddUnique(Vec<Value>),
    /// Takes out every element that equals one of the values.
    Remove(Vec<Value>),
    /// Puts objects into a relation and takes others out; no object is in both. A `Batch` of relation operations is one.
    Relation {
        add: Vec<Pointer>,
        remove: Vec<Pointer>,
    },
}

impl FieldOp {
    /// Reads a plain value or an `__op`.
    ///
    /// # Errors
    /// 107 for an operation without its arguments, 108 for one that does not exist, 106 for a relation of no pointers.
    pub fn from_rest(value: &Value) -> Result<FieldOp, ParseError> {
        rest::from_rest(value)
    }

    pub fn to_rest(&self) -> Value {
        rest::to_rest(self)
    }

    /// The type that the field must have for this operation; `None`: any.
    ///
    /// # Errors
    /// 111 for a `__type` that is unknown or incomplete.
    pub fn field_type(&self) -> Result<Option<FieldType>, ParseError> {
        Ok(match self {
            FieldOp::Set(value) => FieldType::infer(value)?,
            FieldOp::Delete => None,
            FieldOp::Increment(_) => Some(FieldType::Number),
            FieldOp::Add(_) | FieldOp::AddUnique(_) | FieldOp::Remove(_) => Some(FieldType::Array),
            FieldOp::Relation { add, remove } => {
                add.first()
                    .or(remove.first())
                    .map(|pointer| FieldType::Relation {
                        target: pointer.class.clone(),
                    })
            }
        })
    }

    /// The operation's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            FieldOp::Set(_) => "Set",
            FieldOp::Delete => "Delete",
            FieldOp::Increment(_) => "Increment",
            FieldOp::Add(_) => "Add",
            FieldOp::AddUnique(_) => "AddUnique",
            FieldOp::Remove(_) => "Remove",
            FieldOp::Relation { .. } => "Relation",
        }
    }
}
