//! What can go wrong with the log, by what the caller can do about it.

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Retry after a pause.
    #[error("the event log cannot be reached")]
    Unavailable { source: BoxError },
    /// Somebody else appends; stop, and let them.
    #[error("another capture has moved the checkpoint of slot {slot}: this one must stop")]
    Fenced { slot: String },
    /// Somebody else has filled it; stop.
    #[error("gap {gap} is not open any more: another resync has filled it")]
    GapClosed { gap: i64 },
    /// The configuration is wrong; retrying does not help.
    #[error("DATABASE_URL is not a Postgres connection string")]
    Config { source: BoxError },
    /// The statement is wrong for this server, or a privilege is missing; call a human.
    #[error("the event log refused a statement")]
    Refused { source: tokio_postgres::Error },
    /// Another program, or a version before the first release, made the schema; call a human.
    #[error(
        "migration {version} ({name}) of schema tidegate in this database is not the one of this program: if nothing \
         in it is worth keeping, end all Tidegate processes, `drop schema tidegate cascade`, drop the replication \
         slot, and start again"
    )]
    SchemaDiffers { version: i32, name: &'static str },
    /// A stored event cannot be read; call a human.
    #[error("the event at offset {log_offset} cannot be decoded")]
    Decode {
        log_offset: u64,
        source: serde_json::Error,
    },
    /// The wrong database, or no server has run on it yet.
    #[error("there is no event log in this database: has a Tidegate server run on it?")]
    NoLog,
    /// A replay or backfill cannot go on; tell who asked for it.
    #[error("{reason}")]
    Operation { reason: String },
}

impl Error {
    /// True when the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

impl From<tokio_postgres::Error> for Error {
    fn from(source: tokio_postgres::Error) -> Self {
        // Classes 08 connection, 53 resources, 57 operator intervention, 40 rollback: the server may recover.
        let transient = match source.code() {
            None => source.is_closed() || is_io(&source),
            Some(state) => ["08", "53", "57", "40"].contains(&&state.code()[..2]),
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
