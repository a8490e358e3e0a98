//! What can go wrong between a class and its table, by what the caller does about it.

use tidegate_parse_protocol::{ErrorCode, FieldType, ParseError};
use tokio_postgres::error::{DbError, SqlState};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was written, trying again can succeed: no connection, a deadlock, a server that is full or read-only.
    #[error("Postgres cannot do this now")]
    Unavailable {
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The connection broke while a commit was under way: it may or may not have happened. Trying again may do it twice.
    #[error("the connection broke during a commit whose outcome is unknown")]
    Unknown {
        #[source]
        source: tokio_postgres::Error,
    },
    /// A statement ran longer than `statement_timeout_ms`; nothing was written.
    #[error("the statement took too long")]
    Timeout,
    /// A unique index refuses the write.
    #[error("a row with the same value exists already")]
    Duplicate {
        table: Option<String>,
        constraint: Option<String>,
    },
    /// A statement that goes with the writes met a row that is there already; nothing was written.
    #[error("what goes with the write is there already")]
    Conflict,
    /// A check, foreign key or trigger that the database's owner made refuses the write.
    #[error("{} refuses the write", refuser(constraint.as_deref()))]
    Constraint { constraint: Option<String> },
    /// The field exists with another type. The text is Parse's.
    #[error("schema mismatch for {class}.{field}; expected {expected} but got {got}")]
    FieldType {
        class: String,
        field: String,
        expected: FieldType,
        got: FieldType,
    },
    /// Of several writes, this one matched no row that its access may write; none of them was done.
    #[error("write {index} of a transaction matched no row")]
    NoRow { index: usize },
    /// A table or column is not as the schema said: it was changed meanwhile. The schema has been read again: take the
    /// class from [`crate::Storage::schema`] and try once more.
    #[error("the schema was changed meanwhile")]
    StaleSchema,
    /// The request cannot be carried out as it is; the text is for the client.
    #[error(transparent)]
    Refused(#[from] ParseError),
    /// The database is not one that can be used, for the reason given.
    #[error("{reason}")]
    Unusable { reason: String },
    /// Anything else that Postgres says: a fault of this server or of the database's set-up.
    #[error("Postgres refuses a statement ({})", source.code().map_or("no code", |code| code.code()))]
    Database {
        #[source]
        source: tokio_postgres::Error,
    },
}

/// How far a statement had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// What was sent cannot have committed anything.
    BeforeCommit,
    /// What was sent commits when it succeeds.
    Commit,
}

impl Error {
    /// What a Parse client is told. The caller logs the error itself where this says code 1.
    pub fn to_parse(&self) -> ParseError {
        let (code, message) = match self {
            Error::Refused(error) => return error.clone(),
            Error::FieldType { .. } => (ErrorCode::INCORRECT_TYPE, self.to_string()),
            Error::NoRow { .. } => (ErrorCode::OBJECT_NOT_FOUND, "Object not found.".to_owned()),
            Error::Duplicate { constraint, .. } => return duplicate(constraint.as_deref()),
            Error::Constraint { .. } => (ErrorCode::VALIDATION_ERROR, self.to_string()),
            Error::Timeout => (ErrorCode::TIMEOUT, "The database took too long.".to_owned()),
            Error::Unavailable { .. } | Error::StaleSchema => (
                ErrorCode::CONNECTION_FAILED,
                "The database is not available, please try again.".to_owned(),
            ),
            Error::Unknown { .. } => {
                let message = "The connection to the database was lost; the write may or may not have happened.";
                (ErrorCode::CONNECTION_FAILED, message.to_owned())
            }
            Error::Conflict | Error::Unusable { .. } | Error::Database { .. } => {
                (ErrorCode::INTERNAL, "Internal server error.".to_owned())
            }
        };
        ParseError::new(code, message)
    }

    /// True when the same call can succeed later and cannot be done twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Unavailable { .. } | Error::StaleSchema)
    }

    pub(crate) fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::Unavailable {
            source: Some(Box::new(source)),
        }
    }

    pub(crate) fn unusable(reason: impl Into<String>) -> Self {
        Error::Unusable {
            reason: reason.into(),
        }
    }

    /// Of a statement that was sent together with COMMIT.
    pub(crate) fn from_companion(source: tokio_postgres::Error) -> Self {
        match source.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => Error::Conflict,
            _ => Error::from_postgres(source, Phase::Commit),
        }
    }

    /// The only place that reads SQLSTATE codes.
    pub(crate) fn from_postgres(source: tokio_postgres::Error, phase: Phase) -> Self {
        let Some(database) = source.as_db_error() else {
            return match phase {
                Phase::BeforeCommit => Error::unavailable(source),
                Phase::Commit => Error::Unknown { source },
            };
        };
        let constraint = || database.constraint().map(str::to_owned);
        let refused = |code, message: &str| Error::Refused(ParseError::new(code, message));
        let code = database.code();
        match (code, &code.code()[..2]) {
            _ if is_lost_race(database) => Error::StaleSchema,
            (&SqlState::UNIQUE_VIOLATION, _) => Error::Duplicate {
                table: database.table().map(str::to_owned),
                constraint: constraint(),
            },
            // Integrity constraints; errors that a trigger of the database raises.
            (_, "23" | "P0") => Error::Constraint {
                constraint: constraint(),
            },
            (&SqlState::QUERY_CANCELED, _) => Error::Timeout,
            (&SqlState::UNDEFINED_COLUMN | &SqlState::UNDEFINED_TABLE, _) => Error::StaleSchema,
            // A prepared statement whose columns changed their type: "cached plan must not change result type".
            (&SqlState::FEATURE_NOT_SUPPORTED, _)
                if database.message().starts_with("cached plan") =>
            {
                Error::StaleSchema
            }
            // The server went away while it worked.
            (&SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN, _)
                if phase == Phase::Commit =>
            {
                Error::Unknown { source }
            }
            // Lost connections, rollbacks, a standby, exhausted resources, locks, shutting down.
            (_, "08" | "25" | "40" | "53" | "55" | "57") => Error::unavailable(source),
            (&SqlState::INVALID_REGULAR_EXPRESSION, _) => {
                refused(ErrorCode::INVALID_QUERY, "bad $regex value")
            }
            (&SqlState::UNTRANSLATABLE_CHARACTER | &SqlState::CHARACTER_NOT_IN_REPERTOIRE, _) => {
                refused(
                    ErrorCode::INVALID_JSON,
                    "A text contains a character that cannot be stored.",
                )
            }
            (_, "22") => refused(ErrorCode::INCORRECT_TYPE, "A value does not fit its field."),
            // Too many columns, an index row or statement that is too large.
            (_, "54") => refused(
                ErrorCode::OBJECT_TOO_LARGE,
                "The object or query is larger than Postgres allows.",
            ),
            _ => Error::Database { source },
        }
    }
}

/// Two changed the catalog at once: it is there already, or was when the other one committed.
fn is_lost_race(database: &DbError) -> bool {
    match *database.code() {
        SqlState::DUPLICATE_OBJECT | SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_COLUMN => true,
        SqlState::UNIQUE_VIOLATION => database.schema() == Some("pg_catalog"),
        SqlState::INTERNAL_ERROR => database.message().starts_with("tuple concurrently"),
        _ => false,
    }
}

fn refuser(constraint: Option<&str>) -> String {
    constraint.map_or("the database".to_owned(), |name| {
        format!("constraint {name}")
    })
}

/// `_User`'s unique indexes have codes of their own, with Parse's texts.
fn duplicate(constraint: Option<&str>) -> ParseError {
    let (code, message) = match constraint {
        Some("_User_unique_username") => (
            ErrorCode::USERNAME_TAKEN,
            "Account already exists for this username.",
        ),
        Some("_User_unique_email") => (
            ErrorCode::EMAIL_TAKEN,
            "Account already exists for this email address.",
        ),
        Some("_Idempotency_unique_reqId") => (ErrorCode::DUPLICATE_REQUEST, "Duplicate request"),
        _ => (
            ErrorCode::DUPLICATE_VALUE,
            "A duplicate value for a field with unique values was provided",
        ),
    };
    ParseError::new(code, message)
}
