//! Reads entries again whose turn has come and whose contents were not kept.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisResult, Value};

use crate::gate::Fetch;
use crate::intake::Intake;
use crate::queue::Queue;
use crate::reply;

/// Keys whose entries are asked for in one pipeline: at most 16 entries each.
const MAX_FETCHES: usize = 64;

/// How long to sleep when nothing is due: anything, because we are woken.
const IDLE: Duration = Duration::from_secs(3600);

/// Fetches until dropped. Redis may come and go.
pub(crate) async fn run(queue: Queue, intake: Arc<Intake>) {
    loop {
        let (fetches, next_due) = intake.take_fetches();
        for some in fetches.chunks(MAX_FETCHES) {
            fetch(&queue, &intake, some).await;
        }
        if fetches.is_empty() {
            let idle = tokio::time::Instant::now() + IDLE;
            let until = next_due.map_or(idle, tokio::time::Instant::from_std);
            tokio::select! {
                () = intake.refetch_wanted() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// Fetches some keys' entries, however long it takes: until then their keys do not move.
async fn fetch(queue: &Queue, intake: &Intake, fetches: &[Fetch]) {
    let entries = loop {
        let live = queue.link().wait().await;
        match ask(queue, &live, fetches).await {
            Ok(entries) => break entries,
            Err(error) => {
                tracing::debug!(%error, "reading deliveries again failed");
                queue.link().back_off(&live, &error);
            }
        }
    };
    let mut answers = entries.into_iter().map(|answer| {
        let entry = reply::entries(answer).into_iter().next();
        entry.and_then(reply::delivery)
    });
    for fetch in fetches {
        intake.fetched(fetch, answers.by_ref().take(fetch.ids.len()).collect());
    }
}

async fn ask(
    queue: &Queue,
    live: &crate::link::Live,
    fetches: &[Fetch],
) -> RedisResult<Vec<Value>> {
    let mut pipeline = redis::pipe();
    for fetch in fetches {
        let key = queue.keys().lane(fetch.generation, fetch.slot.lane);
        for id in &fetch.ids {
            let id = id.to_string();
            pipeline.cmd("XRANGE").arg(&key).arg(&id).arg(&id);
        }
    }
    queue.link().query(live, &pipeline).await
}
