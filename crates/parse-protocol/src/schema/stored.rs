//! A class from and to the `schema` column of `_SCHEMA`.

use serde_json::{Value, json};

use super::{ClassSchema, Field, FieldType};
use crate::{ClassLevelPermissions, Object, ParseError};

impl ClassSchema {
    /// Reads `{"className":…,"fields":{…},"classLevelPermissions":…,"indexes":…}`.
    ///
    /// A field of a type this server does not know is left out: the rest of the class stays usable.
    ///
    /// # Errors
    /// 107 when it is no object or names no class.
    pub fn from_stored(stored: &Value) -> Result<ClassSchema, ParseError> {
        let name = stored.get("className").and_then(Value::as_str);
        let name =
            name.ok_or_else(|| ParseError::invalid_json("a stored schema names no class"))?;
        let mut fields = ClassSchema::system_fields(name);
        for (field, description) in stored
            .get("fields")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if let Some(description) = Field::from_stored(description) {
                fields.insert(field.clone(), description);
            }
        }
        Ok(ClassSchema {
            name: name.to_owned(),
            fields,
            class_level_permissions: stored
                .get("classLevelPermissions")
                .and_then(ClassLevelPermissions::from_value),
            indexes: stored
                .get("indexes")
                .filter(|indexes| !indexes.is_null())
                .cloned(),
        })
    }

    pub fn to_stored(&self) -> Value {
        let fields: Object = self
            .fields
            .iter()
            .map(|(name, field)| (name.clone(), field.to_stored()))
            .collect();
        let mut stored = json!({"className": self.name, "fields": fields});
        if let Some(permissions) = &self.class_level_permissions {
            stored["classLevelPermissions"] = permissions.to_value();
        }
        if let Some(indexes) = &self.indexes {
            stored["indexes"] = indexes.clone();
        }
        stored
    }
}

impl Field {
    /// Reads `{"type":…,"targetClass":…,"required":…,"defaultValue":…,"contents":…}`.
    pub fn from_stored(stored: &Value) -> Option<Field> {
        let target = stored.get("targetClass").and_then(Value::as_str);
        Some(Field {
            field_type: FieldType::from_stored(stored.get("type")?.as_str()?, target)?,
            required: stored
                .get("required")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            default_value: stored
                .get("defaultValue")
                .filter(|value| !value.is_null())
                .cloned(),
            contents_string: stored
                .pointer("/contents/type")
                .is_some_and(|contents| contents == "String"),
        })
    }

    pub fn to_stored(&self) -> Value {
        let mut stored = json!({"type": self.field_type.name()});
        if let Some(target) = self.field_type.target() {
            stored["targetClass"] = json!(target);
        }
        if self.contents_string {
            stored["contents"] = json!({"type": "String"});
        }
        if self.required {
            stored["required"] = json!(true);
        }
        if let Some(default_value) = &self.default_value {
            stored["defaultValue"] = default_value.clone();
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_reads_back() {
        let stored = json!({
            "className": "Order",
            "fields": {
                "objectId": {"type": "String"}, "createdAt": {"type": "Date"}, "updatedAt": {"type": "Date"},
                "_rperm": {"type": "Array", "contents": {"type": "String"}},
                "_wperm": {"type": "Array", "contents": {"type": "String"}},
                "total": {"type": "Number", "required": true, "defaultValue": 0},
                "owner": {"type": "Pointer", "targetClass": "_User"},
                "items": {"type": "Relation", "targetClass": "Item"},
            },
            "classLevelPermissions": {"find": {"*": true}, "protectedFields": {"*": []}},
            "indexes": {"_id_": {"_id": 1}},
        });
        let class = ClassSchema::from_stored(&stored).unwrap();
        assert_eq!(class.to_stored(), stored);
        assert_eq!(
            class.field_type("owner").unwrap().to_string(),
            "Pointer<_User>"
        );
        assert_eq!(class.field_type("ACL"), Some(&FieldType::Acl));
        assert_eq!(class.field_type("password"), None);
    }

    #[test]
    fn a_new_class_has_parses_fields() {
        let names = |class: &str| {
            ClassSchema::new(class)
                .fields
                .into_keys()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names("Order"), "_rperm _wperm createdAt objectId updatedAt");
        assert_eq!(
            names("_User"),
            "_hashed_password _rperm _wperm authData createdAt email emailVerified objectId updatedAt username"
        );
        assert_eq!(
            names("_Role"),
            "_rperm _wperm createdAt name objectId roles updatedAt users"
        );
        assert_eq!(names("_Hooks"), "className functionName triggerName url");
        assert_eq!(names("_GlobalConfig"), "masterKeyOnly objectId params");
        let stored = ClassSchema::new("Order").to_stored();
        assert_eq!(
            stored["fields"]["_rperm"],
            json!({"type": "Array", "contents": {"type": "String"}})
        );
        assert_eq!(stored.get("classLevelPermissions"), None);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let stored = json!({"className": "A", "fields": {"x": {"type": "Vector"}, "p": {"type": "Pointer"}, "n": 5}});
        let class = ClassSchema::from_stored(&stored).unwrap();
        assert_eq!(class.fields, ClassSchema::system_fields("A"));
        assert!(ClassSchema::from_stored(&json!({})).is_err());
    }
}
