//! Names of classes, fields and objects: which are allowed, and new object ids.

use rand::RngExt;

/// Length of the objectIds that this server makes.
pub const OBJECT_ID_CHARS: usize = 10;

/// The longest class name: `_SCHEMA."className"` is varchar(120), and Postgres cuts table names at 63 bytes.
pub const MAX_CLASS_NAME_BYTES: usize = 63;

/// The longest field name: Postgres cuts column names at 63 bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 63;

/// Classes that Parse brings along and that clients may name (`SchemaController.systemClasses`).
const SYSTEM_CLASSES: &[&str] = &[
    "_User",
    "_Installation",
    "_Role",
    "_Session",
    "_Product",
    "_PushStatus",
    "_JobStatus",
    "_JobSchedule",
    "_Audience",
    "_Idempotency",
];

/// Classes whose tables exist but which are never listed in `_SCHEMA` (`SchemaController.volatileClasses`).
const VOLATILE_CLASSES: &[&str] = &[
    "_JobStatus",
    "_PushStatus",
    "_Hooks",
    "_GlobalConfig",
    "_GraphQLConfig",
    "_JobSchedule",
    "_Audience",
    "_Idempotency",
];

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// True for a class that a client may name: a system class, or letters, digits and `_` after a first letter.
pub fn is_valid_class_name(name: &str) -> bool {
    is_system_class(name)
        || (is_identifier(name) && name.len() <= MAX_CLASS_NAME_BYTES && !is_reserved_field(name))
}

/// True for a field name as such; the default fields are valid names too.
pub fn is_valid_field_name(name: &str) -> bool {
    is_identifier(name) && name.len() <= MAX_FIELD_NAME_BYTES && !is_reserved_field(name)
}

pub fn is_system_class(name: &str) -> bool {
    SYSTEM_CLASSES.contains(&name)
}

/// True for a class whose schema is fixed and not kept in `_SCHEMA`.
pub fn is_volatile_class(name: &str) -> bool {
    VOLATILE_CLASSES.contains(&name)
}

/// True for `objectId`, `createdAt`, `updatedAt` and `ACL`: every class has them.
pub fn is_default_field(name: &str) -> bool {
    matches!(name, "objectId" | "createdAt" | "updatedAt" | "ACL")
}

/// Parse's text for a class name that is not allowed, its final blank included.
pub fn invalid_class_name_message(name: &str) -> String {
    format!(
        "Invalid classname: {name}, classnames can only have alphanumeric characters and _, \
         and must start with an alpha character "
    )
}

/// A fresh objectId: 10 characters of `A-Za-z0-9`, about 59 bits.
pub fn new_object_id() -> String {
    random_alphanumeric(OBJECT_ID_CHARS)
}

/// `chars` characters of `A-Za-z0-9` from the thread's cryptographic generator.
pub fn random_alphanumeric(chars: usize) -> String {
    let mut rng = rand::rng();
    (0..chars)
        .map(|_| char::from(ALPHANUMERIC[rng.random_range(0..ALPHANUMERIC.len())]))
        .collect()
}

/// True for an id that an object can have: not empty, at most 120 bytes (the join tables' varchar), no control
/// character, and none of the characters that would make it a path or a principal (`/`, `:`, `*`).
pub fn is_valid_object_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 120
        && !id
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | ':' | '*'))
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `length` breaks JavaScript's array-likes, `className` names the class on the wire.
fn is_reserved_field(name: &str) -> bool {
    matches!(name, "length" | "className")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_field_names() {
        for name in ["Order", "a", "A_1", "_User", "_Installation", "_Audience"] {
            assert!(is_valid_class_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in [
            "",
            "1a",
            "_Order",
            "_SCHEMA",
            "a-b",
            "a.b",
            "a\"",
            "é",
            "length",
            "className",
            &long,
        ] {
            assert!(!is_valid_class_name(name), "{name}");
            assert!(!is_valid_field_name(name), "{name}");
        }
        assert!(is_valid_field_name("objectId") && is_valid_field_name("ACL"));
        assert!(!is_valid_field_name("_User"));
    }

    #[test]
    fn object_ids() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| new_object_id()).collect();
        assert_eq!(ids.len(), 1000);
        for id in &ids {
            assert!(
                is_valid_object_id(id) && id.len() == OBJECT_ID_CHARS,
                "{id}"
            );
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        }
        for id in ["", "*", "role:x", "a/b", "a\0b", &"a".repeat(121)] {
            assert!(!is_valid_object_id(id), "{id}");
        }
        assert!(is_valid_object_id("custom-id.1"));
    }
}
