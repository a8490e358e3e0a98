//! Job runs that may begin now, by id, on three Redis streams, and the apalis backend that runs them.
//!
//! ```text
//! scheduler ──push──▶ {ns}:runs:high    ─┐            ┌───────▶ Claims::claim (Postgres) ─ready─▶ apalis worker ──▶ handler
//!                     {ns}:runs:normal   ├─ reader ─▶ claimer
//!                     {ns}:runs:low     ─┘            └───────▶ acknowledger (XDEL + XACK)
//! ```
//!
//! Who may run what is Postgres's to say; the streams only spread the news quickly. An entry is an id and nothing else,
//! and lives until [`Claims::claim`] has answered for it, whatever the answer. From then on it is the lease in Postgres
//! that repeats a run.
//!
//! Invariants:
//! - An entry goes only after a claim that named its id has answered. Until then it is pending with the consumer that read
//!   it, and after [`RESCUE_IDLE`] anyone with a free slot takes it over: from a dead consumer, and from one that is busy.
//! - An id may therefore be offered to several claims. A claim gives it to one.
//! - A run is claimed only when a slot is free for it: nothing claimed waits.
//! - Higher bands are read first and claimed first.
//! - A consumer holds at most `concurrency + prefetch` ids, and two more where news came in several bands at once.
//! - A lost Redis or a claim that fails pauses a consumer; it neither ends it nor makes it spin. A flushed stream is made
//!   again by whoever misses it.
//! - What may have lost ids changes the [`RunQueue::incarnation`].
//!
//! Not here: what is due and in which order (`scheduler`), what a run does and how it ends (`worker`).

mod acknowledger;
mod backend;
mod claimer;
mod consume;
mod members;
mod queue;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;

pub use crate::lease::BoxError;
pub use consume::consume_runs;
pub use queue::{RunQueue, Waiting};

/// The consumer group of every stream of runs.
const GROUP: &str = "workers";

/// The one field of an entry. Its value is the run's id in decimal.
pub(crate) const RUN_FIELD: &[u8] = b"r";

/// How long an entry may be pending before another consumer takes it over: longer than a claim takes, and short, because
/// the run waits for it.
pub const RESCUE_IDLE: Duration = Duration::from_secs(3);

/// Which of the three streams a run is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Band {
    High,
    Normal,
    Low,
}

impl Band {
    /// In the order of reading.
    pub const ALL: [Band; 3] = [Band::High, Band::Normal, Band::Low];

    /// The band of a run's priority: above, at or below 0.
    pub fn of_priority(priority: i32) -> Band {
        match priority {
            1.. => Band::High,
            0 => Band::Normal,
            _ => Band::Low,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Band::High => "high",
            Band::Normal => "normal",
            Band::Low => "low",
        }
    }
}

/// Decides, in Postgres, which runs are this consumer's.
pub trait Claims: Send + Sync + 'static {
    /// What a handler gets: a run that is this process's now.
    type Claimed: Send + 'static;

    /// Claims runs, and answers those that it got, at most one for each id. One that was claimed before, is cancelled or
    /// is not known is left out, and its entry goes as well.
    ///
    /// `ids`: 1 to `concurrency`, each once, higher bands first. Called with one batch at a time. The same id may be
    /// offered to several consumers, and again to this one: of all calls, one may get it.
    ///
    /// An error (Postgres is away) means that nothing is known: the same ids are offered again, after a pause that grows to
    /// a second. The call may be dropped during shutdown. A panic ends the consumer.
    fn claim<'a>(&'a self, ids: &'a [u64]) -> BoxFuture<'a, Result<Vec<Self::Claimed>, BoxError>>;
}

/// How much one consumer of runs takes on.
#[derive(Clone, Debug)]
pub struct RunConsumerConfig {
    /// Names the worker in logs, and begins its name in the consumer group.
    pub worker_name: String,
    /// Handlers that run at once, from 1.
    pub concurrency: usize,
    /// Ids read beyond the free slots, to be claimed when one is free. From 0. Behind long runs they wait until a consumer
    /// with a free slot takes them over.
    pub prefetch: usize,
    /// How long running handlers may go on after shutdown; then they are dropped.
    pub drain_timeout: Duration,
}

/// An id that was read and is not decided.
#[derive(Debug)]
struct Entry {
    band: Band,
    /// The entry's id in its stream.
    id: String,
    run: u64,
    /// Its place among what the consumer may hold. None for what news in several bands at once brought above that.
    room: Option<OwnedSemaphorePermit>,
}

/// An entry that is decided and can go.
#[derive(Debug, PartialEq, Eq)]
struct Decided {
    band: Band,
    id: String,
}

/// A run that is ours, with its slot and its place, which it gives up when its handler has ended.
#[derive(Debug)]
struct Ready<T> {
    run: T,
    permits: [Option<OwnedSemaphorePermit>; 2],
}

/// A consumer's name in the group. Unlike the worker's it is never used twice: what is pending under it was read by this
/// consumer.
fn consumer_name(worker_name: &str) -> Arc<str> {
    format!("{worker_name}.{:016x}", rand::random::<u64>()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_fall_into_bands_that_sort_as_they_are_read() {
        let bands = [100, 1, 0, -1, -100].map(Band::of_priority);
        assert_eq!(
            bands,
            [Band::High, Band::High, Band::Normal, Band::Low, Band::Low]
        );
        assert!(Band::ALL.is_sorted());
    }
}
