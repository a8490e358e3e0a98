//! What stops dispatch.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the event log failed")]
    Log { source: tidegate_event_log::Error },
    #[error("the queue failed")]
    Queue { source: tidegate_queue::Error },
}

impl Error {
    /// True when time may mend it. A queue can always be filled again from the log.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Log { source } => source.is_transient(),
            Error::Queue { .. } => true,
        }
    }
}

impl From<tidegate_event_log::Error> for Error {
    fn from(source: tidegate_event_log::Error) -> Self {
        Error::Log { source }
    }
}

impl From<tidegate_queue::Error> for Error {
    fn from(source: tidegate_queue::Error) -> Self {
        Error::Queue { source }
    }
}
