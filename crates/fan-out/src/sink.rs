//! What a target must do.

use futures_util::future::BoxFuture;
use tidegate_event::Head;
use tidegate_event_log::LogLine;

use crate::error::Error;
use crate::jetstream::JetStream;
use crate::redis_streams::RedisStreams;
use crate::{SinkConfig, Target};

/// One event to be passed on.
pub(crate) struct Message<'a> {
    pub line: &'a LogLine,
    pub head: Head<'a>,
}

/// Some events, in the order of the log.
pub(crate) struct Batch<'a> {
    pub messages: Vec<Message<'a>>,
    /// The last offset handed out when they were read.
    pub log_end: u64,
}

pub(crate) trait Sink: Send {
    /// Gives the target every event of the batch, and returns when it has said that it has them.
    ///
    /// May be called again with what the target had already, in whole or in part: after a failure, and after a crash.
    fn publish<'a>(&'a mut self, batch: &'a Batch<'a>) -> BoxFuture<'a, Result<(), Error>>;
}

/// The sink for this configuration; it connects when it is first used.
pub(crate) fn open(config: &SinkConfig) -> Box<dyn Sink> {
    let name = config.name.clone();
    match &config.target {
        Target::RedisStreams {
            url,
            stream,
            max_len,
        } => Box::new(RedisStreams::new(name, &url.0, stream, *max_len)),
        Target::Nats { url, subject } => Box::new(JetStream::new(name, &url.0, subject.clone())),
    }
}
