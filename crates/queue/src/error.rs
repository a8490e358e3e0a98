//! What can go wrong with the queue, by what the caller does about it.

/// No variant loses a delivery: Postgres is the record, and whatever fails here is queued again
/// from there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis cannot be reached, is loading, is a replica, or is out of memory. Retry; whether a
    /// push took effect is not known, and pushing the same deliveries again is safe.
    #[error("redis is not available")]
    Unavailable {
        #[source]
        source: redis::RedisError,
    },
    /// Redis does not hold the generation: it was flushed, restarted or replaced, or another
    /// process opened a newer one. Open a generation above both numbers and queue again from
    /// Postgres.
    #[error("redis does not hold queue generation {expected}")]
    GenerationLost { expected: u64, found: Option<u64> },
    /// Nothing was pushed. Wait until handlers catch up, then push the same deliveries again.
    #[error("the queue holds {queued} of at most {max_queued} deliveries")]
    Full { queued: u64, max_queued: u64 },
    /// The config cannot work. Fix it.
    #[error("queue config: {reason}")]
    Config { reason: String },
    /// The consumer's worker ended though nobody asked it to. End the process.
    #[error("the queue worker {worker_name} ended")]
    WorkerEnded { worker_name: String },
}

impl Error {
    /// Whether the same call may succeed later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. } | Error::Full { .. })
    }
}

impl From<redis::RedisError> for Error {
    fn from(source: redis::RedisError) -> Error {
        Error::Unavailable { source }
    }
}
