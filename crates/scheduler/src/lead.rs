//! Takes the lead if it is free, and keeps it until `shutdown`, an error, or the loss of the lock.

use std::time::Duration;

use tidegate_job_log::{JobLog, Leadership, Notice};
use tidegate_queue::runs::RunQueue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Config, Error, chain, fire, maintain, mirror, promote, watch as workers};

/// How often the lock's connection is asked whether it still holds.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(500);

/// The longest that a loop goes without looking, whatever word was lost.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a task of the leader rests after an error.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// How many words came so far: each loop waits for one that it has not seen.
pub(crate) type Words = watch::Receiver<u64>;

/// What wakes the loops: one connection hears for all.
struct Ears {
    runs: watch::Sender<u64>,
    schedules: watch::Sender<u64>,
}

pub(crate) async fn lead(
    config: &Config,
    log: &JobLog,
    queue: &RunQueue,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let Some(leadership) = log.lead().await? else {
        return Ok(());
    };
    tracing::info!("leading the scheduler");
    let ears = Ears {
        runs: watch::channel(0).0,
        schedules: watch::channel(0).0,
    };
    let (runs, schedules) = (&ears.runs, &ears.schedules);
    // A task that fails begins again by itself: while Redis is away schedules still fire, and lost workers are noticed.
    tokio::select! {
        led = hold(leadership) => led,
        led = listen(log, &ears) => led,
        () = again("mirroring _JobSchedule", || mirror::mirror(log, schedules.subscribe())) => Ok(()),
        () = again("firing schedules", || fire::fire(log, schedules.subscribe())) => Ok(()),
        () = again("queueing runs", || promote::promote(config, log, queue, runs.subscribe())) => Ok(()),
        () = again("watching workers", || workers::watch(config, log)) => Ok(()),
        () = maintain::maintain(config, log, shutdown) => Ok(()),
        () = shutdown.cancelled() => Ok(()),
    }
}

/// Runs a task that only ends by an error, for ever.
async fn again<F>(what: &str, task: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    loop {
        if let Err(error) = task().await {
            report(what, &error);
        }
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    }
}

/// Loud where a human must look: what is wrong with one row must not end the others.
pub(crate) fn report(what: &str, error: &Error) {
    match error.is_transient() {
        true => tracing::warn!(error = chain(error), "{what} was interrupted; trying again"),
        false => tracing::error!(error = chain(error), "{what} failed; trying again"),
    }
}

async fn hold(leadership: Leadership) -> Result<(), Error> {
    loop {
        tokio::time::sleep(CONFIRM_INTERVAL).await;
        leadership.confirm().await?;
    }
}

async fn listen(log: &JobLog, ears: &Ears) -> Result<(), Error> {
    let mut listener = log.listen().await?;
    loop {
        match listener.next(LOOK_INTERVAL).await? {
            Some(Notice::Changed) => ears.runs.send_modify(|count| *count += 1),
            Some(Notice::Schedules) => ears.schedules.send_modify(|count| *count += 1),
            Some(Notice::Cancel(_)) | None => {}
        }
    }
}

/// Returns at the next word, or after `at_most`.
pub(crate) async fn word(words: &mut Words, at_most: Duration) {
    let at_most = at_most.min(LOOK_INTERVAL);
    // The sender lives as long as the lead.
    let _ = tokio::time::timeout(at_most, words.changed()).await;
}
