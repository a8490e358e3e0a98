//! What stops capture, and what it does about it.

use std::time::Duration;

use crate::guardian::Stopped;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the replication stream failed")]
    Replication { source: postgres_replication::Error },
    #[error("the event log failed")]
    Log { source: tidegate_event_log::Error },
    #[error("Postgres refused a statement of capture")]
    Postgres { source: tokio_postgres::Error },
    /// Changes would be missed; the causes are told apart in [`Stopped::cause`].
    #[error("{stopped}")]
    Stopped { stopped: Box<Stopped> },
    #[error(
        "slot {slot} belongs to another database of this server: set `slot` to a name that nobody else there uses"
    )]
    OtherDatabase { slot: String },
    #[error(
        "a slot {slot} that this log never followed is in the way, and is of another kind or lost its WAL: drop it \
         (`select pg_drop_replication_slot('{slot}')`), or set `slot` to another name"
    )]
    Unusable { slot: String },
    #[error("slot {slot} can be followed and no gap is open: there is nothing to resync")]
    NothingToResync { slot: String },
    #[error("this log never followed slot {slot}: start capture first (`tidegate serve`)")]
    NeverFollowed { slot: String },
    #[error("another resync of slot {slot} is at work: wait for it to end")]
    ResyncAtWork { slot: String },
}

/// What the running step does about an error.
#[derive(Debug, PartialEq, Eq)]
pub enum Directive {
    /// Time may mend it.
    Retry { after: Duration },
    /// Another capture is active.
    StandBy,
    /// Only a person can mend it: say so, and look again until one has.
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
            Error::Stopped { .. }
            | Error::OtherDatabase { .. }
            | Error::Unusable { .. }
            | Error::NothingToResync { .. }
            | Error::NeverFollowed { .. }
            | Error::ResyncAtWork { .. } => Directive::Stop,
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
