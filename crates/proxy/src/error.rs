//! The one table from what went wrong to what the client is told: HTTP status, Parse code, message.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegate_parse_protocol::{ErrorCode, ParseError};
use tidegate_write_path::Error;

/// A refusal of the proxy's own, before the request reaches the write path.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Unknown application, wrong or missing key. Says nothing more to whoever guesses.
    Unauthorized,
    BodyTooLarge {
        max_bytes: usize,
    },
    BodyUnreadable,
    Request(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Request(error)
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Refusal::Request(Error::Parse(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let plain = |status: StatusCode, body: serde_json::Value| {
            (status, axum::Json(body)).into_response()
        };
        match self {
            Refusal::Unauthorized => plain(StatusCode::FORBIDDEN, json!({"error": "unauthorized"})),
            Refusal::BodyTooLarge { max_bytes } => {
                let message = format!("the body is over {max_bytes} bytes");
                let error = ParseError::new(ErrorCode::OBJECT_TOO_LARGE, message);
                plain(StatusCode::PAYLOAD_TOO_LARGE, json!(error))
            }
            Refusal::BodyUnreadable => {
                let error = ParseError::new(
                    ErrorCode::INVALID_JSON,
                    "the body could not be read to its end",
                );
                plain(StatusCode::BAD_REQUEST, json!(error))
            }
            Refusal::Request(error) => plain(status_of(&error), body_of(&error)),
        }
    }
}

/// Parse Server's mapping: 1 is 500, 101 is 404, every other Parse error is 400.
fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::Parse(error) => match error.code {
            ErrorCode::INTERNAL => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::OBJECT_NOT_FOUND => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        },
        Error::MasterKeyRequired => StatusCode::FORBIDDEN,
        Error::UnknownRoute { .. } => StatusCode::NOT_FOUND,
        Error::Storage { source } if source.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        Error::Log { source } if source.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
        Error::Jobs { source } if source.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
        Error::Storage { .. } | Error::Log { .. } | Error::Jobs { .. } | Error::Internal { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

fn body_of(error: &Error) -> serde_json::Value {
    match error {
        Error::MasterKeyRequired => json!({"error": error.to_string()}),
        error => json!(error.to_parse()),
    }
}
