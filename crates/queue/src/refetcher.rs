//! Reads entries again whose turn has come and whose contents were not kept.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisResult, Value};

use crate::gate::Fetch;
use crate::generation::Marker;
use crate::intake::Intake;
use crate::link::Live;
use crate::queue::Queue;
use crate::reply;

/// Keys whose entries are asked for in one pipeline: at most 16 entries each.
const MAX_FETCHES: usize = 64;

/// How long to sleep when nothing is due: anything, because we are woken.
const IDLE: Duration = Duration::from_secs(3600);

/// Pause while the generation of what we want is over and the reader has not noticed.
const PAUSE: Duration = Duration::from_millis(50);

/// Fetches until dropped. Redis may come and go.
pub(crate) async fn run(queue: Queue, intake: Arc<Intake>) {
    loop {
        let (fetches, next_due) = intake.take_fetches();
        for some in portions(&fetches) {
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

/// Cuts fetches into what one pipeline takes, each of one generation.
fn portions(fetches: &[Fetch]) -> impl Iterator<Item = &[Fetch]> {
    let generations = fetches.chunk_by(|one, next| one.generation == next.generation);
    generations.flat_map(|of_one| of_one.chunks(MAX_FETCHES))
}

/// Fetches some keys' entries, however long it takes: until then their keys do not move. Gives up
/// when the reader has noticed that their generation is over.
async fn fetch(queue: &Queue, intake: &Intake, fetches: &[Fetch]) {
    while fetches.iter().any(|fetch| intake.awaits(fetch)) {
        let live = queue.link().wait().await;
        match ask(queue, &live, fetches).await {
            Ok((Some(marker), entries)) if marker.generation == fetches[0].generation => {
                return answer(intake, fetches, entries);
            }
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                tracing::debug!(%error, "reading deliveries again failed");
                queue.link().back_off(&live, &error);
            }
        }
    }
}

/// Asks for the entries, and after them for the marker: if it holds then, nothing was flushed
/// before.
async fn ask(
    queue: &Queue,
    live: &Live,
    fetches: &[Fetch],
) -> RedisResult<(Option<Marker>, Vec<Value>)> {
    let mut pipeline = redis::pipe();
    for fetch in fetches {
        let key = queue.keys().lane(fetch.generation, fetch.slot.lane);
        for id in &fetch.ids {
            let id = id.to_string();
            pipeline.cmd("XRANGE").arg(&key).arg(&id).arg(&id);
        }
    }
    Marker::ask(&mut pipeline, &queue.keys().marker());
    let mut answers: Vec<Value> = queue.link().query(live, &pipeline).await?;
    let marker = answers.pop().unwrap_or_default();
    Ok((Marker::parse(&marker, queue.lanes(), &live.run_id), answers))
}

fn answer(intake: &Intake, fetches: &[Fetch], entries: Vec<Value>) {
    let mut answers = entries.into_iter().map(|answer| {
        let entry = reply::entries(answer).into_iter().next();
        entry.and_then(reply::delivery)
    });
    for fetch in fetches {
        intake.fetched(fetch, answers.by_ref().take(fetch.ids.len()).collect());
    }
}
