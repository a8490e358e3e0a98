//! Follows what is finished: the settled offset, and what is still in the queue.

use std::collections::BTreeMap;

use tidegate_event::report::chain;
use tidegate_event_log::EventLog;
use tidegate_queue::Queue;
use tokio::sync::mpsc;

use crate::Error;

/// Most events asked about in one look.
pub(crate) const MAX_LOOK: usize = 4_096;

/// Deliveries in the queue without a final outcome. No more than the queue takes.
#[derive(Default)]
pub(crate) struct Pending {
    /// By log offset and position.
    deliveries: BTreeMap<(u64, u16), PendingDelivery>,
    /// Events up to here were asked about in the last looks.
    looked_until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingDelivery {
    /// Its number.
    pub trigger: u16,
    pub key: Option<i64>,
    /// Of its payload.
    pub bytes: u32,
}

impl Pending {
    pub fn add(&mut self, log_offset: u64, position: u16, delivery: PendingDelivery) {
        self.deliveries.insert((log_offset, position), delivery);
    }

    pub fn clear(&mut self) {
        *self = Pending::default();
    }

    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Takes out a delivery that is finished; None when it was known.
    pub fn finish(&mut self, log_offset: u64, trigger: u16) -> Option<PendingDelivery> {
        let mut of_event = self
            .deliveries
            .range((log_offset, 0)..=(log_offset, u16::MAX));
        let found = of_event.find(|(_, delivery)| delivery.trigger == trigger);
        let id = *found?.0;
        self.deliveries.remove(&id)
    }

    /// Everything up to here is settled, when everything up to `dispatched` has been queued or held.
    pub fn settled_offset(&self, dispatched: u64) -> u64 {
        self.deliveries
            .first_key_value()
            .map_or(dispatched, |((log_offset, _), _)| {
                dispatched.min(log_offset - 1)
            })
    }

    /// The events to ask about next: each in its turn, the oldest first.
    pub fn next_look(&mut self) -> Vec<u64> {
        let mut offsets: Vec<u64> = self
            .deliveries
            .range((self.looked_until + 1, 0)..)
            .map(|((log_offset, _), _)| *log_offset)
            .take(MAX_LOOK)
            .collect();
        self.looked_until = match offsets.len() == MAX_LOOK {
            true => offsets.last().copied().unwrap_or(0),
            false => 0,
        };
        offsets.dedup();
        offsets
    }

    /// Asks about the oldest next: most of what was asked about is finished.
    pub fn look_at_oldest(&mut self) {
        self.looked_until = 0;
    }

    /// The events that owe a delivery of this trigger.
    pub fn of_trigger(&self, trigger: u16) -> Vec<u64> {
        let own = self
            .deliveries
            .iter()
            .filter(|(_, delivery)| delivery.trigger == trigger);
        own.map(|((log_offset, _), _)| *log_offset).collect()
    }

    /// The oldest deliveries of events up to `log_offset`, at most `limit`.
    pub fn oldest(&self, log_offset: u64, limit: usize) -> Vec<Missing> {
        self.deliveries
            .range(..=(log_offset, u16::MAX))
            .map(|((log_offset, position), delivery)| Missing {
                log_offset: *log_offset,
                position: *position,
                trigger: delivery.trigger,
            })
            .take(limit)
            .collect()
    }
}

/// A delivery that was queued long ago and is not known to be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub log_offset: u64,
    pub position: u16,
    pub trigger: u16,
}

/// What dispatch wants to know.
pub(crate) struct Look {
    pub generation: u64,
    pub offsets: Vec<u64>,
    /// Are they still in the queue, or finished? Each with the name of its trigger.
    pub missing: Vec<(Missing, String)>,
}

pub(crate) struct Looked {
    /// Of the queue.
    pub generation: Option<u64>,
    /// How many events were asked about.
    pub asked: usize,
    /// Log offset, trigger, whether it is held.
    pub finished: Vec<(u64, String, bool)>,
    /// A delivery that is neither finished nor in the queue.
    pub lost: Option<u64>,
}

/// Answers looks, one at a time, until nobody asks any more. A task of its own: its queries do not hold up dispatch.
pub(crate) async fn settle(
    log: EventLog,
    queue: Queue,
    mut looks: mpsc::Receiver<Look>,
    answers: mpsc::Sender<Result<Looked, Error>>,
) {
    while let Some(look) = looks.recv().await {
        if answers
            .send(answer(&log, &queue, look).await)
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn answer(log: &EventLog, queue: &Queue, look: Look) -> Result<Looked, Error> {
    let lost = match look.missing.is_empty() {
        true => None,
        false => lost(log, queue, &look).await,
    };
    Ok(Looked {
        generation: queue.generation().await?,
        asked: look.offsets.len(),
        finished: match look.offsets.is_empty() {
            true => Vec::new(),
            false => log.finished_among(&look.offsets).await?,
        },
        lost,
    })
}

/// The first of the missing that is neither in the queue nor finished. In this order: a delivery leaves the queue only
/// after its outcome was recorded.
async fn lost(log: &EventLog, queue: &Queue, look: &Look) -> Option<u64> {
    let looked = async {
        let ids: Vec<(u64, u16)> = look
            .missing
            .iter()
            .map(|(missing, _)| (missing.log_offset, missing.position))
            .collect();
        let there = queue.contains(look.generation, &ids).await?;
        let gone = look.missing.iter().zip(there).filter(|(_, there)| !there);
        let gone: Vec<(u64, &String)> = gone
            .map(|((missing, name), _)| (missing.log_offset, name))
            .collect();
        if gone.is_empty() {
            return Ok(None);
        }
        let offsets: Vec<u64> = gone.iter().map(|(log_offset, _)| *log_offset).collect();
        let finished = log.finished_among(&offsets).await?;
        let is_finished = |(log_offset, name): &(u64, &String)| {
            finished
                .iter()
                .any(|(done, trigger, _)| done == log_offset && trigger == *name)
        };
        let mut lost = gone.into_iter().filter(|gone| !is_finished(gone));
        Ok(lost.next().map(|(log_offset, _)| log_offset))
    };
    looked.await.unwrap_or_else(|error: Error| {
        tracing::debug!(
            error = chain(&error),
            "cannot look for lost deliveries; trying again later"
        );
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWED: PendingDelivery = PendingDelivery {
        trigger: 0,
        key: None,
        bytes: 1,
    };

    fn pending(ids: &[(u64, u16)]) -> Pending {
        let mut pending = Pending::default();
        for &(log_offset, trigger) in ids {
            let delivery = PendingDelivery { trigger, ..OWED };
            pending.add(log_offset, trigger, delivery);
        }
        pending
    }

    #[test]
    fn an_event_settles_when_each_of_its_deliveries_has_and_all_before_it_have() {
        let mut pending = pending(&[(3, 0), (5, 0), (5, 1), (6, 0)]);
        assert_eq!(pending.settled_offset(9), 2);
        pending.finish(5, 1).unwrap();
        pending.finish(6, 0).unwrap();
        assert_eq!(pending.settled_offset(9), 2, "3 is not settled");
        pending.finish(3, 0).unwrap();
        assert_eq!(pending.settled_offset(9), 4, "5 has one of two");
        assert_eq!(pending.finish(5, 1), None, "it was known");
        pending.finish(5, 0).unwrap();
        assert_eq!(pending.settled_offset(9), 9);
    }

    #[test]
    fn each_event_is_asked_about_in_its_turn() {
        let ids: Vec<(u64, u16)> = (1..=MAX_LOOK as u64 + 10).map(|n| (n, 0)).collect();
        let mut pending = pending(&ids);
        let first = pending.next_look();
        assert_eq!((first.len(), first[0]), (MAX_LOOK, 1));
        assert_eq!(pending.next_look()[0], MAX_LOOK as u64 + 1);
        assert_eq!(pending.next_look()[0], 1);
        pending.look_at_oldest();
        assert_eq!(pending.next_look()[0], 1);
        assert_eq!(pending.oldest(2, 16).len(), 2);
    }
}
