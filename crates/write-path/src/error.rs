//! What a request can fail with, and the Parse error that says so.

use tidegate_parse_protocol::{ErrorCode, ParseError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is at fault, or cloud code refused it: the client is told as it is.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// The master key is needed for this route.
    #[error("unauthorized: master key is required")]
    MasterKeyRequired,
    /// No such route.
    #[error("cannot {method} {path}")]
    UnknownRoute { method: String, path: String },
    /// Postgres failed: the client is told little, the log all.
    #[error("the database failed")]
    Storage { source: tidegate_storage::Error },
    /// The event log failed, or cannot be reached now.
    #[error("the event log failed")]
    Log {
        #[from]
        source: tidegate_event_log::Error,
    },
    /// The job log failed, or cannot be reached now.
    #[error("the job log failed")]
    Jobs { source: tidegate_job_log::Error },
    /// This server is at fault.
    #[error("{what}")]
    Internal { what: String },
}

impl Error {
    /// True for what belongs into this server's log, because the client is told little.
    pub fn is_servers_fault(&self) -> bool {
        use Error::{Internal, Jobs, Log, Storage};
        matches!(
            self,
            Storage { .. } | Log { .. } | Jobs { .. } | Internal { .. }
        )
    }

    /// What a client, or cloud code, is told. Never more than it may know.
    pub fn to_parse(&self) -> ParseError {
        match self {
            Error::Parse(error) => error.clone(),
            Error::MasterKeyRequired => {
                ParseError::new(ErrorCode::OPERATION_FORBIDDEN, self.to_string())
            }
            Error::UnknownRoute { .. } => {
                ParseError::new(ErrorCode::COMMAND_UNAVAILABLE, self.to_string())
            }
            Error::Storage { source } => source.to_parse(),
            Error::Log { source } if source.is_transient() => unavailable(),
            Error::Jobs { source } if source.is_transient() => unavailable(),
            Error::Log { .. } | Error::Jobs { .. } | Error::Internal { .. } => {
                ParseError::new(ErrorCode::INTERNAL, "Internal server error.")
            }
        }
    }
}

fn unavailable() -> ParseError {
    let message = "The database is not available, please try again.";
    ParseError::new(ErrorCode::CONNECTION_FAILED, message)
}

impl From<tidegate_job_log::Error> for Error {
    fn from(source: tidegate_job_log::Error) -> Self {
        use tidegate_job_log::Error as Jobs;
        match source {
            Jobs::Invalid { reason } => refuse(ErrorCode::INVALID_JSON, reason),
            Jobs::Unknown { .. } => refuse(ErrorCode::OBJECT_NOT_FOUND, source.to_string()),
            source => Error::Jobs { source },
        }
    }
}

impl From<tidegate_job::Invalid> for Error {
    fn from(invalid: tidegate_job::Invalid) -> Self {
        refuse(ErrorCode::INVALID_JSON, invalid.to_string())
    }
}

pub(crate) fn refuse(code: ErrorCode, message: impl Into<String>) -> Error {
    Error::Parse(ParseError::new(code, message))
}

pub(crate) fn not_found() -> Error {
    Error::Parse(ParseError::object_not_found())
}
