//! What stops capture, and what it does about it.

use std::time::Duration;

use tidegate_event::Lsn;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the replication stream failed")]
    Replication { source: postgres_replication::Error },
    #[error("the event log failed")]
    Log { source: tidegate_event_log::Error },
    #[error("Postgres refused a statement of capture")]
    Postgres { source: tokio_postgres::Error },
    #[error(
        "slot {slot} is gone, and the log had followed it up to {confirmed}: changes committed since then were \
         not captured. Tidegate does not re-create a slot silently. Compare your tables, then `delete from \
         tidegate.capture` to start anew, under a new epoch, from now"
    )]
    SlotMissing { slot: String, confirmed: Lsn },
    #[error(
        "slot {slot} is on another server than the log knows (system identifier {found}, expected {expected}): \
         was the database restored or replaced?"
    )]
    OtherServer {
        slot: String,
        expected: String,
        found: String,
    },
    #[error(
        "slot {slot} belongs to another database of this server: set `slot` to a name that nobody else there uses"
    )]
    OtherDatabase { slot: String },
}

/// What the running step does about an error.
#[derive(Debug, PartialEq, Eq)]
pub enum Directive {
    /// Time may mend it.
    Retry { after: Duration },
    /// Another capture is active.
    StandBy,
    /// A human must decide.
    Stop,
}

impl Error {
    /// What the running step does about this error: the only place that decides.
    pub fn directive(&self) -> Directive {
        let retry = Directive::Retry {
            after: Duration::from_millis(500),
        };
        match self {
            Error::Replication {
                source: postgres_replication::Error::SlotBusy { .. },
            } => Directive::StandBy,
            Error::Replication { source } if source.is_transient() => retry,
            Error::Log {
                source: tidegate_event_log::Error::Fenced { .. },
            } => Directive::StandBy,
            Error::Log { source } if source.is_transient() => retry,
            Error::Postgres { source }
                if source
                    .code()
                    .is_none_or(|state| !state.code().starts_with("42")) =>
            {
                retry
            }
            Error::Replication { .. } | Error::Log { .. } | Error::Postgres { .. } => {
                Directive::Stop
            }
            Error::SlotMissing { .. } | Error::OtherServer { .. } | Error::OtherDatabase { .. } => {
                Directive::Stop
            }
        }
    }
}

impl From<postgres_replication::Error> for Error {
    fn from(source: postgres_replication::Error) -> Self {
        Error::Replication { source }
    }
}

impl From<tidegate_event_log::Error> for Error {
    fn from(source: tidegate_event_log::Error) -> Self {
        Error::Log { source }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(source: tokio_postgres::Error) -> Self {
        Error::Postgres { source }
    }
}
