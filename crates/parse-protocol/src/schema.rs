//! Classes and field types, as `_SCHEMA` stores them.

mod field_type;
mod stored;
mod system;
mod validate;

use std::collections::BTreeMap;

use serde_json::Value;

pub use field_type::FieldType;

use crate::{Access, ClassLevelPermissions, ClpOperation, Permission};

/// One field of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub field_type: FieldType,
    /// A create without a value is refused.
    pub required: bool,
    /// What a create without a value gets.
    pub default_value: Option<Value>,
    /// An Array whose column is `text[]` and not `jsonb`: `_rperm`, `_wperm`.
    pub contents_string: bool,
}

/// One class: the row of `_SCHEMA` that describes its table.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassSchema {
    pub name: String,
    /// As stored: with `_rperm`, `_wperm` and `_hashed_password`, without `ACL` and `password`.
    pub fields: BTreeMap<String, Field>,
    /// `None`: everybody may do everything.
    pub class_level_permissions: Option<ClassLevelPermissions>,
    /// Passed through: `{"name":{"column":1}}`.
    pub indexes: Option<Value>,
}

impl Field {
    pub fn new(field_type: FieldType) -> Self {
        Field {
            field_type,
            required: false,
            default_value: None,
            contents_string: false,
        }
    }
}

impl ClassSchema {
    /// A class as it is when first used: Parse's default fields and those it has for a class of this name.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let fields = ClassSchema::system_fields(&name);
        ClassSchema {
            name,
            fields,
            class_level_permissions: None,
            indexes: None,
        }
    }

    /// The fields that every class has and those that Parse gives a class of this name, in stored form.
    pub fn system_fields(class: &str) -> BTreeMap<String, Field> {
        system::fields(class)
    }

    /// The type of a field, by its name in the API: `ACL` and `password` included.
    pub fn field_type(&self, field: &str) -> Option<&FieldType> {
        match field {
            "ACL" => Some(&FieldType::Acl),
            "password" if self.name == "_User" => Some(&FieldType::String),
            _ => self.fields.get(field).map(|field| &field.field_type),
        }
    }

    /// What `access` may do with the class as a whole.
    pub fn allows(&self, operation: ClpOperation, access: &Access) -> Permission {
        match &self.class_level_permissions {
            None => Permission::Allowed,
            Some(permissions) => permissions.allows(operation, access),
        }
    }
}
