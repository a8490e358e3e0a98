//! `keys` and `excludeKeys`, applied to an object.

use serde_json::Value;

use super::ReadOptions;
use crate::Object;

impl ReadOptions {
    /// Takes out what was not asked for. Run it after the includes: `a.b` reaches only into included objects, and
    /// leaves a plain Object field whole (as `RestQuery`'s `includePath`).
    pub fn project(&self, object: &mut Object) {
        if let Some(keys) = &self.keys {
            keep(object, &keys.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for key in &self.exclude_keys {
            exclude(object, key);
        }
    }
}

fn keep(object: &mut Object, keys: &[&str]) {
    object.retain(|field, value| {
        let nested: Vec<&str> = keys.iter().filter_map(|key| below(key, field)).collect();
        if !nested.is_empty() {
            in_included(value, &mut |inner| keep(inner, &nested));
        }
        is_always_kept(field) || !nested.is_empty() || keys.contains(&field.as_str())
    });
}

fn exclude(object: &mut Object, key: &str) {
    match key.split_once('.') {
        Some((field, nested)) => {
            if let Some(value) = object.get_mut(field) {
                in_included(value, &mut |inner| exclude(inner, nested));
            }
        }
        None if is_always_kept(key) => {}
        None => {
            object.remove(key);
        }
    }
}

/// The rest of `key` when it is `field.rest`.
fn below<'a>(key: &'a str, field: &str) -> Option<&'a str> {
    key.strip_prefix(field)?.strip_prefix('.')
}

/// Visits the object that a pointer was replaced by, or those in an array.
fn in_included(value: &mut Value, visit: &mut impl FnMut(&mut Object)) {
    match value {
        Value::Object(inner) if inner.get("__type").is_some_and(|tag| tag == "Object") => {
            visit(inner)
        }
        Value::Array(items) => items.iter_mut().for_each(|item| in_included(item, visit)),
        _ => {}
    }
}

fn is_always_kept(field: &str) -> bool {
    matches!(
        field,
        "__type"
            | "className"
            | "objectId"
            | "createdAt"
            | "updatedAt"
            | "ACL"
            | "_rperm"
            | "_wperm"
    )
}
