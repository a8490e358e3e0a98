//! The types a field can have.

use std::fmt;

use serde_json::Value;

use crate::ParseError;

/// Parse's field types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    String,
    Number,
    Boolean,
    Date,
    Object,
    Array,
    Bytes,
    GeoPoint,
    Polygon,
    File,
    Pointer { target: String },
    Relation { target: String },
    Acl,
}

impl FieldType {
    /// The type that a field must have to hold `value`; `None` for `null`, which fits every type.
    ///
    /// # Errors
    /// 111 "This is not a valid X" for a `__type` that is unknown or lacks what it needs.
    pub fn infer(value: &Value) -> Result<Option<FieldType>, ParseError> {
        Ok(Some(match value {
            Value::Null => return Ok(None),
            Value::Bool(_) => FieldType::Boolean,
            Value::Number(_) => FieldType::Number,
            Value::String(_) => FieldType::String,
            Value::Array(_) => FieldType::Array,
            Value::Object(fields) => match fields.get("__type") {
                Some(tag) if is_truthy(tag) => infer_tagged(tag, value)?,
                _ => FieldType::Object,
            },
        }))
    }

    /// From `{"type":"Pointer","targetClass":"_User"}`; `None` for a type that does not exist or lacks its class.
    pub fn from_stored(name: &str, target_class: Option<&str>) -> Option<FieldType> {
        let target = || target_class.map(str::to_owned);
        Some(match name {
            "String" => FieldType::String,
            "Number" => FieldType::Number,
            "Boolean" => FieldType::Boolean,
            "Date" => FieldType::Date,
            // `map` is what very old schemas call an Object.
            "Object" | "map" => FieldType::Object,
            "Array" => FieldType::Array,
            "Bytes" => FieldType::Bytes,
            "GeoPoint" => FieldType::GeoPoint,
            "Polygon" => FieldType::Polygon,
            "File" => FieldType::File,
            "Pointer" => FieldType::Pointer { target: target()? },
            "Relation" => FieldType::Relation { target: target()? },
            "ACL" => FieldType::Acl,
            _ => return None,
        })
    }

    /// The `type` of the stored form.
    pub fn name(&self) -> &'static str {
        match self {
            FieldType::String => "String",
            FieldType::Number => "Number",
            FieldType::Boolean => "Boolean",
            FieldType::Date => "Date",
            FieldType::Object => "Object",
            FieldType::Array => "Array",
            FieldType::Bytes => "Bytes",
            FieldType::GeoPoint => "GeoPoint",
            FieldType::Polygon => "Polygon",
            FieldType::File => "File",
            FieldType::Pointer { .. } => "Pointer",
            FieldType::Relation { .. } => "Relation",
            FieldType::Acl => "ACL",
        }
    }

    /// The `targetClass` of the stored form.
    pub fn target(&self) -> Option<&str> {
        match self {
            FieldType::Pointer { target } | FieldType::Relation { target } => Some(target),
            _ => None,
        }
    }
}

/// `Number`, `Pointer<_User>`: as Parse's messages name a type.
impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target() {
            None => f.write_str(self.name()),
            Some(target) => write!(f, "{}<{target}>", self.name()),
        }
    }
}

/// Parse 111 for a value whose type is not the field's: the text of `SchemaController.enforceFieldExists`.
pub(crate) fn mismatch(
    class: &str,
    field: &str,
    expected: &FieldType,
    got: &FieldType,
) -> ParseError {
    ParseError::incorrect_type(format!(
        "schema mismatch for {class}.{field}; expected {expected} but got {got}"
    ))
}

fn infer_tagged(tag: &Value, value: &Value) -> Result<FieldType, ParseError> {
    let has_text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    let has_number = |key: &str| value.get(key).is_some_and(Value::is_number);
    let class = || {
        value
            .get("className")
            .and_then(Value::as_str)
            .filter(|class| !class.is_empty())
            .map(str::to_owned)
    };
    let name = tag.as_str().unwrap_or_default();
    let known = match name {
        "Pointer" if has_text("objectId") => class().map(|target| FieldType::Pointer { target }),
        "Relation" => class().map(|target| FieldType::Relation { target }),
        "File" => has_text("name").then_some(FieldType::File),
        "Date" => value
            .get("iso")
            .and_then(Value::as_str)
            .and_then(crate::date::parse_iso)
            .map(|_| FieldType::Date),
        "GeoPoint" => {
            (has_number("latitude") && has_number("longitude")).then_some(FieldType::GeoPoint)
        }
        "Bytes" => has_text("base64").then_some(FieldType::Bytes),
        "Polygon" => value
            .get("coordinates")
            .is_some_and(Value::is_array)
            .then_some(FieldType::Polygon),
        _ => None,
    };
    known.ok_or_else(|| ParseError::incorrect_type(format!("This is not a valid {name}")))
}

fn is_truthy(tag: &Value) -> bool {
    !matches!(tag, Value::Null | Value::Bool(false)) && tag != ""
}
