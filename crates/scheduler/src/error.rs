//! What can go wrong while scheduling.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the job log failed")]
    Log(#[from] tidegate_job_log::Error),
    #[error("the queue failed")]
    Queue(#[from] tidegate_queue::Error),
}

impl Error {
    /// True when the same may work a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Log(error) => error.is_transient(),
            Error::Queue(error) => matches!(error, tidegate_queue::Error::Unavailable { .. }),
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    tidegate_event::report::chain(error)
}
