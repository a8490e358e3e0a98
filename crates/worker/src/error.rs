//! What stops a worker.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the event log failed")]
    Log {
        #[from]
        source: tidegate_event_log::Error,
    },
    #[error("the job log failed")]
    Jobs {
        #[from]
        source: tidegate_job_log::Error,
    },
    #[error("the queue failed")]
    Queue {
        #[from]
        source: tidegate_queue::Error,
    },
}
