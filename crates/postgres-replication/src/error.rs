//! What can go wrong on a replication connection, by what the caller can do about it.

use std::io;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;

/// After any error a [`Connection`](crate::Connection) or [`Stream`](crate::Stream) is spent:
/// drop it and connect again, at once or never as [`Error::is_transient`] says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("database URL: {reason}")]
    Url { reason: String },
    #[error(
        "sslmode={mode} asks for TLS, which the replication connection does not speak yet; \
         use sslmode=disable over a socket or a private network"
    )]
    TlsUnsupported { mode: String },
    #[error("cannot reach Postgres at {host}")]
    Unreachable {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("Postgres refused to log {user} in: {message}")]
    Authentication { user: String, message: String },
    #[error("replication slot {slot} is held by backend {pid}")]
    SlotBusy { slot: String, pid: i32 },
    #[error("replication slot {slot} does not exist")]
    SlotMissing { slot: String },
    #[error("replication slot {slot} exists already")]
    SlotExists { slot: String },
    /// The gap cannot be filled from the WAL: a new slot and a resynchronisation are needed.
    #[error("replication slot {slot} is lost: Postgres removed WAL that it still needed")]
    SlotLost { slot: String },
    /// The caller remembers a later position than the server has: a restored or other server.
    #[error(
        "cannot start at {}, the server's WAL ends at {}: it was restored or is another server",
        crate::lsn::format(*from), crate::lsn::format(*server)
    )]
    PositionAhead { from: u64, server: u64 },
    /// `code`: the SQLSTATE.
    #[error("Postgres answered {code}: {message}")]
    Server { code: String, message: String },
    /// `lsn`: where the undecodable message stands in the WAL.
    #[error("cannot decode {message} message at {}", crate::lsn::format(*lsn))]
    Decode {
        message: &'static str,
        lsn: u64,
        #[source]
        source: DecodeError,
    },
    #[error("Postgres broke the protocol: {reason}")]
    Protocol { reason: String },
    #[error("Postgres ended the connection")]
    Closed,
    #[error("connection to Postgres failed")]
    Io(#[from] io::Error),
}

/// Why bytes are not the pgoutput message (protocol version 1) that they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{needed} more bytes are needed, {left} are left")]
    Truncated { needed: usize, left: usize },
    #[error("{left} bytes are left over")]
    Trailing { left: usize },
    #[error("a name has no end or is not UTF-8")]
    BadName,
    #[error("{what} cannot be {byte:#04x}")]
    UnknownByte { what: &'static str, byte: u8 },
    #[error("relation {id} was never described")]
    UnknownRelation { id: u32 },
    #[error("{got} values for the {expected} columns of relation {id}")]
    ColumnCount {
        id: u32,
        expected: usize,
        got: usize,
    },
}

impl Error {
    /// True when the same attempt may succeed later without anyone doing anything: reconnect with
    /// backoff. False when a person or the caller's logic must act first.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Io(_) | Error::Unreachable { .. } | Error::Closed | Error::SlotBusy { .. } => {
                true
            }
            Error::Server { code, .. } => is_transient_code(code),
            Error::Url { .. }
            | Error::TlsUnsupported { .. }
            | Error::Authentication { .. }
            | Error::SlotMissing { .. }
            | Error::SlotExists { .. }
            | Error::SlotLost { .. }
            | Error::PositionAhead { .. }
            | Error::Decode { .. }
            | Error::Protocol { .. } => false,
        }
    }

    /// The SQLSTATE, if the server gave this error in its own words.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Error::Server { code, .. } => Some(code),
            _ => None,
        }
    }

    pub(crate) fn protocol(reason: impl Into<String>) -> Error {
        Error::Protocol {
            reason: reason.into(),
        }
    }
}

/// Classes 08 connection, 40 rollback, 53 resources, 57P operator intervention (restart, starting up).
fn is_transient_code(code: &str) -> bool {
    ["08", "40", "53", "57P"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == codes::OBJECT_IN_USE
}

/// Takes code and message from an ErrorResponse; its detail may quote values and is left out.
impl From<ErrorResponseBody> for Error {
    fn from(body: ErrorResponseBody) -> Error {
        let (mut code, mut message) = (String::new(), String::new());
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let text = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => code = text(),
                b'M' => message = text(),
                _ => {}
            }
        }
        Error::Server { code, message }
    }
}

/// The SQLSTATEs that decide something here.
pub(crate) mod codes {
    pub(crate) const INVALID_AUTHORIZATION_CLASS: &str = "28";
    pub(crate) const UNDEFINED_OBJECT: &str = "42704";
    pub(crate) const DUPLICATE_OBJECT: &str = "42710";
    pub(crate) const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
    pub(crate) const OBJECT_IN_USE: &str = "55006";
}
