//! All operations of one write.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::FieldOp;
use crate::{Acl, ErrorCode, FieldType, Object, ParseError, name, value};

/// What one write does to each field, by field name; `a.b` names a key inside the Object field `a`.
#[derive(Clone, Default, PartialEq)]
pub struct Changes(pub BTreeMap<String, FieldOp>);

impl Changes {
    /// Reads the body of a create or update.
    ///
    /// `createdAt`, `updatedAt`, `__type` and `className` are the server's to say and are left out, as is a `null` ACL.
    /// `objectId` is kept for the caller to judge.
    ///
    /// # Errors
    /// 105 for a field name that is not allowed, 121 for a nested key with `$` or `.`, 107 for a NUL or too deep
    /// nesting, 123 for a malformed ACL, 111 for an unknown or incomplete `__type`, and what
    /// [`FieldOp::from_rest`] says.
    pub fn from_rest(body: &Object) -> Result<Changes, ParseError> {
        let mut changes = BTreeMap::new();
        for (field, value) in body {
            if is_server_side(field, value) {
                continue;
            }
            changes.insert(field.clone(), field_change(field, value)?);
        }
        let changes = Changes(changes);
        changes.acl()?;
        Ok(changes)
    }

    /// The same operations as a request body; `from_rest` gives them back.
    pub fn to_rest(&self) -> Object {
        self.0
            .iter()
            .map(|(field, op)| (field.clone(), op.to_rest()))
            .collect()
    }

    /// The type that each field must have for this write, by the field's own name: `a.b` needs an Object `a`, and
    /// `a.0` an Array. Not in it: `ACL`, `objectId`, and fields that get no value.
    ///
    /// # Errors
    /// 111 as [`FieldOp::field_type`].
    pub fn field_types(&self) -> Result<BTreeMap<String, FieldType>, ParseError> {
        let mut types = BTreeMap::new();
        for (field, op) in self
            .iter()
            .filter(|(field, _)| !matches!(*field, "ACL" | "objectId"))
        {
            let (root, field_type) = match field.split_once('.') {
                None => (field, op.field_type()?),
                Some((root, key)) if is_array_index(key) => (root, Some(FieldType::Array)),
                Some((root, _)) => (root, Some(FieldType::Object)),
            };
            if let Some(field_type) = field_type {
                types.insert(root.to_owned(), field_type);
            }
        }
        Ok(types)
    }

    /// The object after this write. `base`: the object before it, empty for a create.
    ///
    /// Relation operations leave no trace in the object but their field's `{"__type":"Relation",…}`.
    ///
    /// # Errors
    /// 111 when an operation does not fit the value it finds.
    pub fn apply(&self, base: &Object) -> Result<Object, ParseError> {
        super::apply::apply(self, base)
    }

    /// The access list that this write sets, if it does.
    ///
    /// `Delete` sets the empty list (master key only) as Parse Server does: an ACL is never lost by accident.
    ///
    /// # Errors
    /// 123 for a malformed one.
    pub fn acl(&self) -> Result<Option<Acl>, ParseError> {
        match self.0.get("ACL") {
            None | Some(FieldOp::Set(Value::Null)) => Ok(None),
            Some(FieldOp::Set(acl)) => Acl::from_rest(acl).map(Some),
            Some(FieldOp::Delete) => Ok(Some(Acl::default())),
            Some(_) => Acl::from_rest(&Value::Null).map(Some),
        }
    }

    /// Takes out the `objectId` that a create names. `allowed`: clients may choose ids (`allowCustomObjectId`).
    ///
    /// # Errors
    /// 105 when they may not, 104 for an empty one, as `RestWrite`'s constructor.
    pub fn take_object_id(&mut self, allowed: bool) -> Result<Option<String>, ParseError> {
        let is_given = |op: &FieldOp| {
            !matches!(op, FieldOp::Set(Value::Null)) && *op != FieldOp::Set("".into())
        };
        if !allowed {
            for field in ["objectId", "id"] {
                if self.0.get(field).is_some_and(is_given) {
                    return Err(ParseError::invalid_key(format!(
                        "{field} is an invalid field name."
                    )));
                }
            }
            self.0.remove("objectId");
            return Ok(None);
        }
        match self.0.remove("objectId") {
            None => Ok(None),
            Some(FieldOp::Set(Value::String(id))) if name::is_valid_object_id(&id) => Ok(Some(id)),
            Some(_) => {
                let message = "objectId must not be empty, null or undefined";
                Err(ParseError::new(ErrorCode::MISSING_OBJECT_ID, message))
            }
        }
    }

    pub fn get(&self, field: &str) -> Option<&FieldOp> {
        self.0.get(field)
    }

    /// The value that this write gives to `field`, when it is a plain one.
    pub fn value(&self, field: &str) -> Option<&Value> {
        match self.0.get(field)? {
            FieldOp::Set(value) => Some(value),
            _ => None,
        }
    }

    pub fn set(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(field.into(), FieldOp::Set(value.into()));
    }

    pub fn remove(&mut self, field: &str) -> Option<FieldOp> {
        self.0.remove(field)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &FieldOp)> {
        self.0.iter().map(|(field, op)| (field.as_str(), op))
    }
}

/// Names and operations without values: a write can carry a password, and row values do not belong in logs.
impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(field, op)| (field, op.name())))
            .finish()
    }
}

fn is_array_index(key: &str) -> bool {
    let first = key.split('.').next().unwrap_or(key);
    first.bytes().all(|b| b.is_ascii_digit())
}

fn is_server_side(field: &str, value: &Value) -> bool {
    match field {
        "createdAt" | "updatedAt" | "__type" | "className" => true,
        "ACL" => value.is_null(),
        _ => false,
    }
}

fn field_change(field: &str, value: &Value) -> Result<FieldOp, ParseError> {
    value::check_key(field, field, value)?;
    let root = field.split('.').next().unwrap_or(field);
    if !name::is_valid_field_name(root) || field.split('.').any(str::is_empty) {
        return Err(ParseError::invalid_key(format!(
            "Invalid field name: {field}."
        )));
    }
    value::check(field, value)?;
    // The keys of an ACL are principals; a custom user id may have a dot.
    if field != "ACL" {
        value::check_nested_keys(value)?;
    }
    let op = FieldOp::from_rest(value)?;
    op.field_type()?;
    Ok(op)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(body: Value) -> Changes {
        Changes::from_rest(body.as_object().unwrap()).unwrap()
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!(
            "{:?}",
            changes(json!({"password": "hunter2", "n": {"__op": "Increment", "amount": 4711}}))
        );
        assert_eq!(shown, r#"{"n": "Increment", "password": "Set"}"#);
    }

    #[test]
    fn an_acl_is_never_lost_by_accident() {
        assert_eq!(changes(json!({"a": 1})).acl(), Ok(None));
        assert_eq!(changes(json!({"ACL": null})).acl(), Ok(None));
        assert_eq!(
            changes(json!({"ACL": {"__op": "Delete"}})).acl(),
            Ok(Some(Acl::default()))
        );
        let mut everybody = Acl::default();
        everybody.grant("*", true, false);
        assert_eq!(
            changes(json!({"ACL": {"*": {"read": true}}})).acl(),
            Ok(Some(everybody))
        );
        let body = json!({"ACL": {"__op": "Increment", "amount": 1}});
        assert_eq!(
            Changes::from_rest(body.as_object().unwrap())
                .unwrap_err()
                .code,
            ErrorCode::INVALID_ACL
        );
    }

    #[test]
    fn ids_are_the_clients_only_where_allowed() {
        for (body, allowed, expected) in [
            (json!({"a": 1}), false, Ok(None)),
            (json!({"objectId": null}), false, Ok(None)),
            (json!({"objectId": "x"}), false, Err(105)),
            (json!({"id": "x"}), false, Err(105)),
            (json!({"objectId": "x"}), true, Ok(Some("x"))),
            (json!({"id": "x"}), true, Ok(None)),
            (json!({"objectId": ""}), true, Err(104)),
            (json!({"objectId": null}), true, Err(104)),
            (json!({"objectId": "role:x"}), true, Err(104)),
            (json!({"objectId": 5}), true, Err(104)),
        ] {
            let mut changes = changes(body.clone());
            let got = changes
                .take_object_id(allowed)
                .map_err(|error| error.code.0);
            assert_eq!(
                got,
                expected.map(|id| id.map(str::to_owned)),
                "{body} {allowed}"
            );
            assert!(got.is_err() || changes.get("objectId").is_none());
        }
    }
}
