//! Removes deliveries from their lanes once their outcome is recorded.
//!
//! Natural batching: whatever ended while the last removal was under way goes into the next one, so
//! that a busy consumer sends few commands and an idle one waits for nothing.
//!
//! Invariant: only what a handler called [`crate::Verdict::Done`] is removed. A lost
//! acknowledgement repeats a delivery, and the handler then finds its recorded outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::RedisResult;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::gate::Acknowledgement;
use crate::intake::Intake;
use crate::link::Live;
use crate::queue::Queue;

/// Removals in one pipeline.
const MAX_BATCH: usize = 1024;

/// Acknowledges until dropped. Redis may come and go.
pub(crate) async fn run(
    queue: Queue,
    intake: Arc<Intake>,
    mut ended: UnboundedReceiver<Acknowledgement>,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while ended.recv_many(&mut batch, MAX_BATCH).await > 0 {
        remove(&queue, &intake, &batch).await;
        intake.flushed(&batch);
        batch.clear();
    }
}

/// Removes a batch, however long it takes, unless its generation ends meanwhile.
async fn remove(queue: &Queue, intake: &Intake, batch: &[Acknowledgement]) {
    loop {
        let lanes = by_lane(batch, intake.generation());
        if lanes.is_empty() {
            return;
        }
        let live = queue.link().wait().await;
        match remove_once(queue, &live, &lanes).await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(%error, "acknowledging failed");
                queue.link().back_off(&live, &error);
            }
        }
    }
}

async fn remove_once(
    queue: &Queue,
    live: &Live,
    lanes: &BTreeMap<LaneKey, Vec<String>>,
) -> RedisResult<()> {
    let mut pipeline = redis::pipe();
    for ((generation, lane), ids) in lanes {
        pipeline
            .cmd("XDEL")
            .arg(queue.keys().lane(*generation, *lane))
            .arg(ids)
            .ignore();
    }
    queue.link().query(live, &pipeline).await
}

/// Generation and lane index.
type LaneKey = (u64, u16);

/// The ids to remove from each lane, as far as they belong to the generation that holds.
fn by_lane(batch: &[Acknowledgement], generation: Option<u64>) -> BTreeMap<LaneKey, Vec<String>> {
    let mut lanes: BTreeMap<LaneKey, Vec<String>> = BTreeMap::new();
    for acknowledgement in batch {
        if let Some(generation) = generation.filter(|_| acknowledgement.generation == generation) {
            let ids = lanes.entry((generation, acknowledgement.lane)).or_default();
            ids.push(acknowledgement.id.to_string());
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::EntryId;

    #[test]
    fn acknowledgements_go_to_their_lane_in_the_generation_that_holds() {
        let ended = |generation, lane, log_offset| Acknowledgement {
            generation,
            lane,
            id: EntryId {
                log_offset,
                position: 0,
            },
        };
        let batch = [
            ended(Some(2), 1, 10),
            ended(Some(1), 1, 11),
            ended(Some(2), 0, 12),
            ended(None, 0, 13),
            ended(Some(2), 1, 14),
        ];
        let lanes = by_lane(&batch, Some(2));
        let expected = [
            ((2, 0), vec!["12-0".into()]),
            ((2, 1), vec!["10-0".into(), "14-0".into()]),
        ];
        assert_eq!(lanes, BTreeMap::from(expected));
        assert!(by_lane(&batch, None).is_empty());
    }
}
