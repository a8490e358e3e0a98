//! A reference to one object of another class.

use serde_json::{Value, json};

use crate::{ErrorCode, ParseError};

/// `{"__type":"Pointer","className":…,"objectId":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pointer {
    pub class: String,
    pub id: String,
}

impl Pointer {
    pub fn new(class: impl Into<String>, id: impl Into<String>) -> Self {
        Pointer {
            class: class.into(),
            id: id.into(),
        }
    }

    /// Reads a pointer, or an embedded object (`__type: "Object"`) as a pointer to itself.
    ///
    /// # Errors
    /// 106 when it is neither, or lacks its class or id.
    pub fn from_value(value: &Value) -> Result<Pointer, ParseError> {
        Pointer::of(value).ok_or_else(|| {
            ParseError::new(ErrorCode::INVALID_POINTER, "This is not a valid Pointer")
        })
    }

    /// As [`Pointer::from_value`], when not being a pointer is no error.
    pub fn of(value: &Value) -> Option<Pointer> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        if !matches!(text("__type")?, "Pointer" | "Object") {
            return None;
        }
        let (class, id) = (text("className")?, text("objectId")?);
        (!class.is_empty() && !id.is_empty()).then(|| Pointer::new(class, id))
    }

    pub fn to_value(&self) -> Value {
        json!({"__type": "Pointer", "className": self.class, "objectId": self.id})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_recognised() {
        let pointer = Pointer::new("A", "x");
        assert_eq!(
            Pointer::from_value(&pointer.to_value()),
            Ok(pointer.clone())
        );
        let whole = json!({"__type": "Object", "className": "A", "objectId": "x", "n": 1});
        assert_eq!(Pointer::of(&whole), Some(pointer));
        for value in [
            json!(null),
            json!("x"),
            json!({"className": "A", "objectId": "x"}),
            json!({"__type": "Pointer", "className": "A"}),
            json!({"__type": "Pointer", "className": "", "objectId": "x"}),
            json!({"__type": "File", "className": "A", "objectId": "x"}),
        ] {
            let error = Pointer::from_value(&value).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_POINTER, "{value}");
        }
    }
}
