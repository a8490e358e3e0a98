//! Parse error codes by name, and the error every Parse client understands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A Parse error code; apps use 9000–9999 for their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub u16);

macro_rules! codes {
    ($($name:ident = $code:literal),+ $(,)?) => {
        /// The codes of the Parse SDKs (`Parse.Error.X`).
        impl ErrorCode {
            $(pub const $name: ErrorCode = ErrorCode($code);)+

            /// The name of this code, for logs and metrics.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    INTERNAL = 1,
    CONNECTION_FAILED = 100,
    OBJECT_NOT_FOUND = 101,
    INVALID_QUERY = 102,
    INVALID_CLASS_NAME = 103,
    MISSING_OBJECT_ID = 104,
    INVALID_KEY_NAME = 105,
    INVALID_POINTER = 106,
    INVALID_JSON = 107,
    COMMAND_UNAVAILABLE = 108,
    NOT_INITIALIZED = 109,
    INCORRECT_TYPE = 111,
    INVALID_CHANNEL_NAME = 112,
    PUSH_MISCONFIGURED = 115,
    OBJECT_TOO_LARGE = 116,
    OPERATION_FORBIDDEN = 119,
    CACHE_MISS = 120,
    INVALID_NESTED_KEY = 121,
    INVALID_FILE_NAME = 122,
    INVALID_ACL = 123,
    TIMEOUT = 124,
    INVALID_EMAIL = 125,
    MISSING_CONTENT_TYPE = 126,
    MISSING_CONTENT_LENGTH = 127,
    INVALID_CONTENT_LENGTH = 128,
    FILE_TOO_LARGE = 129,
    FILE_SAVE_ERROR = 130,
    // Not in the SDKs: "at least one ID field must be specified" of an installation.
    MISSING_INSTALLATION_ID = 135,
    // Not in the SDKs: a field that must stay as it is.
    FIELD_CANNOT_BE_CHANGED = 136,
    DUPLICATE_VALUE = 137,
    INVALID_ROLE_NAME = 139,
    EXCEEDED_QUOTA = 140,
    SCRIPT_FAILED = 141,
    VALIDATION_ERROR = 142,
    WEBHOOK = 143,
    FILE_DELETE_ERROR = 153,
    REQUEST_LIMIT_EXCEEDED = 155,
    DUPLICATE_REQUEST = 159,
    INVALID_EVENT_NAME = 160,
    FILE_DELETE_UNNAMED_ERROR = 161,
    INVALID_VALUE = 162,
    USERNAME_MISSING = 200,
    PASSWORD_MISSING = 201,
    USERNAME_TAKEN = 202,
    EMAIL_TAKEN = 203,
    EMAIL_MISSING = 204,
    EMAIL_NOT_FOUND = 205,
    SESSION_MISSING = 206,
    MUST_CREATE_USER_THROUGH_SIGNUP = 207,
    ACCOUNT_ALREADY_LINKED = 208,
    INVALID_SESSION_TOKEN = 209,
    MFA_ERROR = 210,
    MFA_TOKEN_REQUIRED = 211,
    LINKED_ID_MISSING = 250,
    INVALID_LINKED_SESSION = 251,
    UNSUPPORTED_SERVICE = 252,
    INVALID_SCHEMA_OPERATION = 255,
    AGGREGATE_ERROR = 600,
    FILE_READ_ERROR = 601,
    X_DOMAIN_REQUEST = 602,
}

/// A refusal in Parse's form: `{"code":101,"error":"Object not found."}`.
///
/// `message` is written for the client: it may name classes, fields and types, never a value or a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    pub code: ErrorCode,
    #[serde(rename = "error", alias = "message")]
    pub message: String,
}

impl ParseError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ParseError {
            code,
            message: message.into(),
        }
    }

    /// What a client is told of an object that is not there, or that it may not see.
    pub fn object_not_found() -> Self {
        ParseError::new(ErrorCode::OBJECT_NOT_FOUND, "Object not found.")
    }

    /// A refusal that does not say why, as Parse Server 9 words all of them: what a class looks like and who may use it
    /// is not for a caller without rights to find out. Log the reason where it is known.
    pub fn permission_denied(code: ErrorCode) -> Self {
        ParseError::new(code, "Permission denied")
    }

    pub(crate) fn invalid_json(message: impl Into<String>) -> Self {
        ParseError::new(ErrorCode::INVALID_JSON, message)
    }

    pub(crate) fn invalid_query(message: impl Into<String>) -> Self {
        ParseError::new(ErrorCode::INVALID_QUERY, message)
    }

    pub(crate) fn invalid_key(message: impl Into<String>) -> Self {
        ParseError::new(ErrorCode::INVALID_KEY_NAME, message)
    }

    pub(crate) fn incorrect_type(message: impl Into<String>) -> Self {
        ParseError::new(ErrorCode::INCORRECT_TYPE, message)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wire_form_goes_both_ways() {
        let error = ParseError::object_not_found();
        let wire = serde_json::to_value(&error).unwrap();
        assert_eq!(wire, json!({"code": 101, "error": "Object not found."}));
        assert_eq!(serde_json::from_value::<ParseError>(wire).unwrap(), error);
        let from_sdk: ParseError =
            serde_json::from_value(json!({"code": 141, "message": "no"})).unwrap();
        assert_eq!(from_sdk, ParseError::new(ErrorCode::SCRIPT_FAILED, "no"));
    }

    #[test]
    fn codes_know_their_names() {
        assert_eq!(ErrorCode(209).name(), Some("INVALID_SESSION_TOKEN"));
        assert_eq!(ErrorCode(9001).name(), None);
        assert_eq!(ErrorCode::DUPLICATE_VALUE.to_string(), "137");
    }
}
