//! Takes the lead if it is free, and keeps it until `shutdown`, an error, or the loss of the lock.

use std::time::Duration;

use tidegate_job_log::{JobLog, Leadership};
use tidegate_queue::runs::RunQueue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Config, Error, fire, maintain, mirror, promote, watch as workers};

/// How often the lock's connection is asked whether it still holds.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(500);

/// The longest that a loop goes without looking, whatever word was lost.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How many words came so far: each loop waits for one that it has not seen.
pub(crate) type Words = watch::Receiver<u64>;

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
    let (heard, words) = watch::channel(0);
    tokio::select! {
        led = hold(leadership) => led,
        led = listen(log, &heard) => led,
        led = mirror::mirror(log, words.clone()) => led,
        led = fire::fire(log, words.clone()) => led,
        led = promote::promote(config, log, queue, words) => led,
        led = workers::watch(config, log) => led,
        () = maintain::maintain(config, log, shutdown) => Ok(()),
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn hold(leadership: Leadership) -> Result<(), Error> {
    loop {
        tokio::time::sleep(CONFIRM_INTERVAL).await;
        leadership.confirm().await?;
    }
}

/// One connection hears for all.
async fn listen(log: &JobLog, heard: &watch::Sender<u64>) -> Result<(), Error> {
    let mut listener = log.listen().await?;
    loop {
        if listener.next(LOOK_INTERVAL).await?.is_some() {
            heard.send_modify(|count| *count += 1);
        }
    }
}

/// Returns at the next word, or after `at_most`.
pub(crate) async fn word(words: &mut Words, at_most: Duration) {
    let at_most = at_most.min(LOOK_INTERVAL);
    // The sender lives as long as the lead.
    let _ = tokio::time::timeout(at_most, words.changed()).await;
}
