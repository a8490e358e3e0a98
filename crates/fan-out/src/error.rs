//! What can go wrong with a sink.

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A human must change the configuration.
    #[error("{field} {problem}")]
    Config {
        field: &'static str,
        problem: String,
    },
    /// Try again; the log has the events.
    #[error("the target of sink {sink} failed")]
    Target { sink: String, source: BoxError },
    /// Stop, and stand by: another process may feed the sink by now.
    #[error("the connection that holds the right to feed sink {sink} was lost")]
    ClaimLost { sink: String },
    #[error("the event log failed")]
    Log { source: tidegate_event_log::Error },
    /// A stored event cannot be read; call a human.
    #[error("the event at offset {log_offset} cannot be read")]
    Decode {
        log_offset: u64,
        source: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn config(field: &'static str, problem: impl Into<String>) -> Error {
        let problem = problem.into();
        Error::Config { field, problem }
    }

    /// True when time may mend it.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Log { source } => source.is_transient(),
            Error::Target { .. } | Error::ClaimLost { .. } => true,
            Error::Config { .. } | Error::Decode { .. } => false,
        }
    }
}

impl From<tidegate_event_log::Error> for Error {
    fn from(source: tidegate_event_log::Error) -> Self {
        Error::Log { source }
    }
}
