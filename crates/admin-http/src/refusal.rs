//! The one table from what went wrong to what the client is told: status, code, message.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegate_admin::Error;

use crate::MAX_BODY_BYTES;

#[derive(Debug)]
pub(crate) enum Refusal {
    NoMasterKey,
    NoRoute,
    NoMethod,
    /// The request is wrong; the message says what it should be.
    Wrong(String),
    BodyTooLarge,
    /// As many follow as may.
    Busy(String),
    Admin(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Admin(error)
    }
}

impl Refusal {
    fn row(&self) -> (StatusCode, &'static str, String) {
        let (status, code) = match self {
            Refusal::NoMasterKey => (StatusCode::FORBIDDEN, "forbidden"),
            Refusal::NoRoute => (StatusCode::NOT_FOUND, "not_found"),
            Refusal::NoMethod => (StatusCode::METHOD_NOT_ALLOWED, "invalid"),
            Refusal::Wrong(_) => (StatusCode::BAD_REQUEST, "invalid"),
            Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid"),
            Refusal::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Refusal::Admin(error) => match error {
                Error::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
                Error::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
                Error::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
                Error::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
                Error::Log { .. } | Error::Jobs { .. } | Error::Slot { .. } => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "internal")
                }
            },
        };
        (status, code, self.message())
    }

    fn message(&self) -> String {
        match self {
            Refusal::NoMasterKey => {
                "X-Parse-Application-Id and X-Parse-Master-Key are required".to_owned()
            }
            Refusal::NoRoute => {
                "there is nothing at this path; GET /tidegate/v1/openapi.json lists what there is"
                    .to_owned()
            }
            Refusal::NoMethod => "this path does not take this method".to_owned(),
            Refusal::Wrong(message) | Refusal::Busy(message) => message.clone(),
            Refusal::BodyTooLarge => format!("the body is over {MAX_BODY_BYTES} bytes"),
            Refusal::Admin(error) => error.to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    /// Logs what is this server's fault, once, with its cause; the client is told less.
    fn into_response(self) -> Response {
        let (status, code, message) = self.row();
        if let Refusal::Admin(error) = &self
            && status.is_server_error()
        {
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, source, "a request of an operator failed");
        }
        (status, Json(json!({ "code": code, "error": message }))).into_response()
    }
}
