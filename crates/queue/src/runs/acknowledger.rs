//! Removes entries, and what is known of them in the group, once they are decided, and at the end gives back those that are not.
//!
//! Natural batching, as in [`crate::acknowledger`]: what was decided while the last removal was under way goes into the
//! next one.

use std::sync::Arc;

use redis::RedisResult;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::link::Live;
use crate::runs::{Band, Decided, GROUP, RunQueue, members};

/// Batches of decisions in one pipeline.
const MAX_BATCH: usize = 256;

/// Acknowledges until nothing decides any more, then hands back what is still pending with this consumer. Redis may come
/// and go; whoever has waited enough drops this, and then others take over what is left.
pub(super) async fn run(
    queue: RunQueue,
    consumer: Arc<str>,
    mut decided: UnboundedReceiver<Vec<Decided>>,
) {
    let mut batches = Vec::with_capacity(MAX_BATCH);
    while decided.recv_many(&mut batches, MAX_BATCH).await > 0 {
        let decided: Vec<Decided> = batches.drain(..).flatten().collect();
        until_done(&queue, Step::Remove(&decided)).await;
    }
    until_done(&queue, Step::Leave(&consumer)).await;
}

/// What has to be done in Redis, whenever there is one.
enum Step<'a> {
    Remove(&'a [Decided]),
    Leave(&'a str),
}

async fn until_done(queue: &RunQueue, step: Step<'_>) {
    loop {
        let live = queue.link().wait().await;
        let outcome = match &step {
            Step::Remove(decided) => remove(queue, &live, decided).await,
            Step::Leave(consumer) => members::leave(queue, &live, consumer).await,
        };
        match outcome {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(%error, "removing entries of runs failed");
                queue.link().back_off(&live, &error);
            }
        }
    }
}

/// Redis takes no offence at what is not there any more. Removal goes first: what is removed and still pending is dropped
/// when somebody would take it over, but what is neither removed nor pending would stay for ever.
async fn remove(queue: &RunQueue, live: &Live, batch: &[Decided]) -> RedisResult<()> {
    let mut pipeline = redis::pipe();
    for band in Band::ALL {
        let of_band = batch.iter().filter(|decided| decided.band == band);
        let ids: Vec<&str> = of_band.map(|decided| &*decided.id).collect();
        if !ids.is_empty() {
            let key = queue.key(band);
            pipeline.cmd("XDEL").arg(&key).arg(&ids).ignore();
            pipeline.cmd("XACK").arg(&key).arg(GROUP).arg(&ids).ignore();
        }
    }
    queue.link().query(live, &pipeline).await
}
