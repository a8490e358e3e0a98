//! What can go wrong with runs, by what the caller can do about it.

use tidegate_job::{Invalid, RunId};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Retry after a pause.
    #[error("the job log cannot be reached")]
    Unavailable { source: BoxError },
    /// The run is somebody else's by now, or gone: end what runs for it.
    #[error("run {run} is not held by this claim any more")]
    Lost { run: RunId },
    /// The worker has been taken off the list: end all that it runs, and join again.
    #[error("worker {worker} is not on the list: it was lost, or has not joined")]
    NotAWorker { worker: String },
    /// What was asked for cannot be; tell who asked.
    #[error("{reason}")]
    Invalid { reason: String },
    /// There is nothing of this name; tell who asked.
    #[error("there is no {kind} {name:?}{hint}")]
    Unknown {
        kind: &'static str,
        name: String,
        /// Empty, or `; did you mean …?`
        hint: String,
    },
    /// The configuration is wrong; retrying does not help.
    #[error("DATABASE_URL is not a Postgres connection string")]
    Config { source: BoxError },
    /// The statement is wrong for this server, or a privilege is missing; call a human.
    #[error("the job log refused a statement")]
    Refused { source: tokio_postgres::Error },
    /// A stored text cannot be read; call a human.
    #[error("what is stored of {what} cannot be read")]
    Decode {
        what: String,
        source: serde_json::Error,
    },
    /// The wrong database, or no server has run on it yet.
    #[error("there is no job log in this database: has a Tidegate server run on it?")]
    NoLog,
}

impl Error {
    /// True when the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }

    pub(crate) fn unknown_run(run: RunId) -> Error {
        Error::Unknown {
            kind: "run",
            name: run.to_string(),
            hint: String::new(),
        }
    }
}

impl From<Invalid> for Error {
    fn from(Invalid(reason): Invalid) -> Self {
        Error::Invalid { reason }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

impl From<tokio_postgres::Error> for Error {
    fn from(source: tokio_postgres::Error) -> Self {
        // Classes 08 connection, 53 resources, 57 operator intervention, 40 rollback, 25 a server that is read-only while
        // another takes its place: the server may recover.
        let transient = match source.code() {
            None => source.is_closed() || is_io(&source),
            Some(state) => ["08", "53", "57", "40", "25"].contains(&&state.code()[..2]),
        };
        if transient {
            Error::Unavailable {
                source: source.into(),
            }
        } else {
            Error::Refused { source }
        }
    }
}
