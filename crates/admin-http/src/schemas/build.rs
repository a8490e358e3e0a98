//! The words that schemas are written in.

use serde_json::{Map, Value, json};

pub(super) type Schemas = Map<String, Value>;

pub(super) fn schemas<const N: usize>(named: [(&str, Value); N]) -> Schemas {
    named
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

/// An object with these properties, all of them there.
pub(super) fn object(required: Value) -> Value {
    partly(required, json!({}))
}

/// An object with these properties; of the second, any may be absent.
pub(super) fn partly(required: Value, optional: Value) -> Value {
    let Value::Object(mut properties) = required else {
        unreachable!("properties are written as objects")
    };
    let names: Vec<String> = properties.keys().cloned().collect();
    if let Value::Object(optional) = optional {
        properties.extend(optional);
    }
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

/// The schema, with these properties too.
pub(super) fn and(mut schema: Value, required: Value) -> Value {
    let more = object(required);
    for (name, property) in more["properties"].as_object().into_iter().flatten() {
        schema["properties"][name] = property.clone();
    }
    let names = more["required"].as_array().cloned().unwrap_or_default();
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend(names);
    }
    schema
}

pub(super) fn of(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(super) fn list_of(item: Value) -> Value {
    json!({ "type": "array", "items": item })
}

/// Of these, or null.
pub(super) fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn maybe_text() -> Value {
    json!({ "type": ["string", "null"] })
}

pub(super) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub(super) fn maybe_time() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

pub(super) fn flag() -> Value {
    json!({ "type": "boolean" })
}

pub(super) fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// Any object: params, results.
pub(super) fn any_object() -> Value {
    json!({ "type": "object" })
}
