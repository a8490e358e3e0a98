#![doc = include_str!("../README.md")]
//!
//! Layout: `feed` is the path, on one screen; `sink` is what a target must do; `redis_streams` and `jetstream` are
//! targets, `subject` names what goes to the second.

mod error;
mod feed;
mod jetstream;
pub mod metric_names;
mod redis_streams;
mod sink;
mod subject;

use std::fmt;
use std::time::Duration;

use tidegate_event::Filter;
use tidegate_event_log::EventLog;
use tidegate_event_log::sink::Begin;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use subject::Subject;

/// What fan-out needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub sinks: Vec<SinkConfig>,
    /// How often a process that does not feed a sink tries to.
    pub standby_interval: Duration,
}

/// One target, and what it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// Names its cursor: a sink under another name begins anew.
    pub name: String,
    pub target: Target,
    pub filter: Filter,
    /// Where it begins when it has no cursor yet.
    pub from: Begin,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    RedisStreams {
        url: Url,
        stream: String,
        /// About how many entries the stream keeps; None: all.
        max_len: Option<u64>,
    },
    Nats {
        url: Url,
        subject: Subject,
    },
}

/// Where a target is. May hold a password, and does not show it.
#[derive(Clone, PartialEq)]
pub struct Url(String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(…)")
    }
}

impl Target {
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn redis_streams(url: &str, stream: &str, max_len: Option<u64>) -> Result<Target, Error> {
        redis_streams::check(url)?;
        if stream.is_empty() {
            return Err(Error::config("stream", "must name a stream"));
        }
        Ok(Target::RedisStreams {
            url: Url(url.to_owned()),
            stream: stream.to_owned(),
            max_len,
        })
    }

    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn nats(url: &str, subject: &str) -> Result<Target, Error> {
        jetstream::check(url)?;
        Ok(Target::Nats {
            url: Url(url.to_owned()),
            subject: subject.parse()?,
        })
    }

    /// True when both would write to the same place: each would refuse what the other brings.
    pub fn collides_with(&self, other: &Target) -> bool {
        match (self, other) {
            (
                Target::RedisStreams { url, stream, .. },
                Target::RedisStreams {
                    url: other_url,
                    stream: other_stream,
                    ..
                },
            ) => url == other_url && stream == other_stream,
            _ => false,
        }
    }
}

/// Feeds every sink, whenever this process is the one that does, until `shutdown`. Ends at once without sinks.
///
/// # Errors
/// Only what a human must decide: a stored event that cannot be read, a missing privilege. A target that fails is
/// tried again for ever, and holds up no other.
pub async fn run(config: Config, log: EventLog, shutdown: CancellationToken) -> Result<(), Error> {
    if config.sinks.is_empty() {
        return Ok(());
    }
    let wake_ups = log.wake_ups();
    let mut feeds = JoinSet::new();
    for sink in config.sinks {
        let feeding = feed::keep_feeding(
            sink,
            config.standby_interval,
            log.clone(),
            wake_ups.clone(),
            shutdown.clone(),
        );
        feeds.spawn(feeding);
    }
    drop(wake_ups);
    while let Some(ended) = feeds.join_next().await {
        ended.expect("a feed does not panic, and nobody aborts it")?;
    }
    Ok(())
}
