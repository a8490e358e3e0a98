//! Whether a write fits its class.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ClassSchema, Field, FieldType, field_type};
use crate::{Access, Changes, Constraint, ErrorCode, FieldOp, Filter, ParseError, Pointer};

impl ClassSchema {
    /// Checks the types of a write, and returns the fields that the class must still get for it.
    ///
    /// # Errors
    /// 111 for a value of another type than its field, for a second GeoPoint, or a missing column that the class cannot
    /// do without (`SchemaController.validateObject`).
    pub fn check_write(
        &self,
        changes: &Changes,
        is_create: bool,
    ) -> Result<BTreeMap<String, FieldType>, ParseError> {
        let mut types = changes.field_types()?;
        if types
            .values()
            .filter(|got| **got == FieldType::GeoPoint)
            .count()
            > 1
        {
            return Err(ParseError::incorrect_type(
                "there can only be one geopoint field in a class",
            ));
        }
        for (field, got) in &types {
            if let Some(expected) = self.field_type(field).filter(|expected| *expected != got) {
                return Err(field_type::mismatch(&self.name, field, expected, got));
            }
        }
        self.check_required_columns(changes, is_create)?;
        types.retain(|field, _| self.field_type(field).is_none());
        Ok(types)
    }

    /// Gives a create its default values, and refuses a write that leaves a required field empty.
    ///
    /// # Errors
    /// 142 `X is required` (`RestWrite.setRequiredFieldsIfNeeded`).
    pub fn fill_defaults(&self, changes: &mut Changes, is_create: bool) -> Result<(), ParseError> {
        for (name, field) in &self.fields {
            if is_create || changes.get(name).is_some() {
                fill_default(name, field, changes, is_create)?;
            }
        }
        Ok(())
    }

    /// The objects that point to the user from one of `fields` ([`crate::Permission::OnlyPointerFields`]).
    pub fn pointer_filter(&self, fields: &[String], access: &Access) -> Filter {
        let Some(user) = access.user_id() else {
            return Filter::none();
        };
        let user = Pointer::new("_User", user).to_value();
        let points_here = fields.iter().filter_map(|field| {
            let constraint = match self.field_type(field)? {
                FieldType::Pointer { .. } => Constraint::Equal(user.clone()),
                FieldType::Array => Constraint::All(vec![user.clone()]),
                _ => return None,
            };
            Some(Filter::Field {
                path: vec![field.clone()],
                constraint,
            })
        });
        Filter::Or(points_here.collect())
    }

    fn check_required_columns(&self, changes: &Changes, is_create: bool) -> Result<(), ParseError> {
        let required: &[&str] = match self.name.as_str() {
            "_Role" => &["name", "ACL"],
            "_Product" => &["productIdentifier", "icon", "order", "title", "subtitle"],
            _ => &[],
        };
        let is_missing = |column: &&&str| match changes.get(column) {
            None => is_create,
            Some(FieldOp::Delete) => true,
            Some(FieldOp::Set(value)) => is_create && is_falsy(value),
            Some(_) => false,
        };
        match required.iter().find(is_missing) {
            Some(column) => Err(ParseError::incorrect_type(format!("{column} is required."))),
            None => Ok(()),
        }
    }
}

fn fill_default(
    name: &str,
    field: &Field,
    changes: &mut Changes,
    is_create: bool,
) -> Result<(), ParseError> {
    let is_unset = matches!(changes.get(name), None | Some(FieldOp::Delete));
    let is_empty = is_unset
        || changes
            .value(name)
            .is_some_and(|value| value.is_null() || value == "");
    if !is_empty {
        return Ok(());
    }
    match &field.default_value {
        Some(default) if is_create && is_unset => changes.set(name, default.clone()),
        _ if field.required => {
            return Err(ParseError::new(
                ErrorCode::VALIDATION_ERROR,
                format!("{name} is required"),
            ));
        }
        _ => {}
    }
    Ok(())
}

fn is_falsy(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value == "" || value.as_f64() == Some(0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointer_permissions_are_a_filter() {
        let stored = json!({"className": "A", "fields": {
            "owner": {"type": "Pointer", "targetClass": "_User"}, "team": {"type": "Array"}, "n": {"type": "Number"},
        }});
        let class = ClassSchema::from_stored(&stored).unwrap();
        let fields = ["owner", "team", "n", "gone"].map(str::to_owned);
        let user = json!({"__type": "Pointer", "className": "_User", "objectId": "u1"});
        let filter = class.pointer_filter(&fields, &Access::user("u1", ["R"]));
        let expected = Filter::Or(vec![
            Filter::equal("owner", user.clone()),
            Filter::Field {
                path: vec!["team".to_owned()],
                constraint: Constraint::All(vec![user]),
            },
        ]);
        assert_eq!(filter, expected);
        assert_eq!(
            class.pointer_filter(&fields, &Access::public()),
            Filter::none()
        );
    }
}
