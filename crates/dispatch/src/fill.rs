//! Puts the next deliveries into the queue, or holds them.

use std::time::{Duration, Instant};

use metrics::counter;
use tidegate_event::failpoint;
use tidegate_event_log::Holding;

use crate::backlog::Decision;
use crate::lead::Dispatch;
use crate::plan::{Batch, Candidate};
use crate::settle::PendingDelivery;
use crate::{Error, metric_names};

/// How often the log is searched again for what could go on, when others that are over their share stand in it.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// How far it is searched, in events.
const MAX_SEARCHED: u64 = 200_000;

/// What is done with the candidates of a batch up to `next`.
#[derive(Default)]
struct Decided {
    next: usize,
    /// Indexes of candidates, and their form for the queue.
    queued: Vec<(usize, tidegate_queue::Delivery)>,
    held: Vec<Holding>,
    is_blocked: bool,
}

impl Dispatch<'_> {
    /// Queues or holds the deliveries of the next events; returns whether it got on.
    pub async fn queue_next(&mut self) -> Result<bool, Error> {
        if self.batch.rest().is_empty() {
            let batch = self.read(self.cursor).await?;
            if batch.last == 0 {
                self.ahead.is_blocked = false;
                return Ok(false);
            }
            self.batch = batch;
            failpoint::pass(failpoint::DISPATCH_READ);
        }
        let before = (self.cursor, self.batch.next);
        let decided = self.decide();
        if !self.carry_out(decided).await? {
            return Ok(self.looker.is_generation_over());
        }
        if self.ahead.is_blocked && (self.cursor, self.batch.next) == before {
            return self.search_ahead().await;
        }
        Ok(true)
    }

    fn decide(&mut self) -> Decided {
        let mut decided = Decided {
            next: self.batch.next,
            ..Decided::default()
        };
        let batch = std::mem::take(&mut self.batch);
        while let Some(candidate) = batch.rest().get(decided.next - batch.next) {
            let rest = &batch.rest()[decided.next - batch.next + 1..];
            match self.decide_one(candidate, rest) {
                Decision::Queue => {
                    let delivery = batch.delivery(candidate, &self.triggers);
                    self.backlog.add(candidate, delivery.payload.len() as u32);
                    decided.queued.push((decided.next, delivery));
                }
                Decision::Hold => decided.held.push(Holding {
                    log_offset: candidate.log_offset,
                    trigger: self.triggers.name(candidate.trigger).to_owned(),
                    place: candidate.held.unwrap_or(candidate.log_offset),
                    key: candidate.key,
                }),
                Decision::TriggerOver | Decision::KeyOver | Decision::Full => {
                    decided.is_blocked = true;
                    break;
                }
            }
            decided.next += 1;
        }
        self.batch = batch;
        decided
    }

    /// What is over its share is held when something behind it could go on.
    fn decide_one(&mut self, candidate: &Candidate, rest: &[Candidate]) -> Decision {
        let decision = self.backlog.decide(candidate);
        if !matches!(decision, Decision::TriggerOver | Decision::KeyOver) {
            return decision;
        }
        let may_go_on = |other: &Candidate| self.backlog.decide(other) == Decision::Queue;
        let makes_way = candidate.log_offset < self.ahead.make_way_until;
        if !makes_way && !rest.iter().any(may_go_on) {
            return decision;
        }
        self.backlog.hold(candidate, decision);
        Decision::Hold
    }

    /// Holds and queues what was decided, in this order; returns false when the queue takes no more.
    async fn carry_out(&mut self, decided: Decided) -> Result<bool, Error> {
        if !decided.held.is_empty() {
            self.log.hold(&decided.held).await?;
            counter!(metric_names::DELIVERIES_HELD).increment(decided.held.len() as u64);
            failpoint::pass(failpoint::DISPATCH_HELD);
        }
        let (indexes, deliveries): (Vec<usize>, Vec<tidegate_queue::Delivery>) =
            decided.queued.into_iter().unzip();
        match self.queue.push(self.state.generation, &deliveries).await {
            Ok(()) => {}
            Err(tidegate_queue::Error::GenerationLost { .. }) => {
                self.looker.end_generation();
                return Ok(false);
            }
            // Workers are behind; the backlog waits where it is.
            Err(tidegate_queue::Error::Full { .. }) => {
                for (index, delivery) in indexes.iter().zip(&deliveries) {
                    let candidate = &self.batch.rest()[index - self.batch.next];
                    let bytes = delivery.payload.len() as u32;
                    self.backlog.remove(candidate.trigger, candidate.key, bytes);
                }
                self.ahead.is_blocked = true;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        counter!(metric_names::DELIVERIES_QUEUED).increment(deliveries.len() as u64);
        failpoint::pass(failpoint::DISPATCH_QUEUED);
        for (index, delivery) in indexes.iter().zip(&deliveries) {
            let candidate = &self.batch.rest()[index - self.batch.next];
            let pending = PendingDelivery {
                trigger: candidate.trigger,
                key: candidate.key,
                bytes: delivery.payload.len() as u32,
            };
            self.pending
                .add(candidate.log_offset, candidate.position, pending);
        }
        self.batch.next = decided.next;
        self.cursor = self.batch.cursor();
        self.ahead.is_blocked = decided.is_blocked;
        Ok(true)
    }

    /// Searches the log beyond what is over its share; returns true when something there could go on.
    async fn search_ahead(&mut self) -> Result<bool, Error> {
        let is_stale = self
            .ahead
            .searched_at
            .is_none_or(|at| at.elapsed() >= SEARCH_INTERVAL);
        if self.ahead.has_met_others && is_stale {
            self.ahead.searched_until = 0;
            self.ahead.has_met_others = false;
        }
        let after = self.ahead.searched_until.max(self.batch.last);
        if after > self.cursor + MAX_SEARCHED || self.backlog.is_full() {
            return Ok(false);
        }
        let batch = self.read(after).await?;
        if batch.last == 0 {
            return Ok(false);
        }
        self.ahead.searched_at = Some(Instant::now());
        self.ahead.searched_until = batch.last;
        self.ahead.has_met_others |= self.meets_others(&batch);
        let may_go_on = |other: &&Candidate| self.backlog.decide(other) == Decision::Queue;
        if let Some(found) = batch.rest().iter().find(may_go_on) {
            self.ahead.make_way_until = found.log_offset;
        }
        // Further on, or anew with what was found.
        Ok(true)
    }

    /// True when the batch has a delivery that waits for something else than the next one does.
    fn meets_others(&self, batch: &Batch) -> bool {
        let Some(first) = self.batch.rest().first() else {
            return false;
        };
        let is_by_key = self.backlog.decide(first) == Decision::KeyOver;
        let differs = |other: &Candidate| {
            other.trigger != first.trigger || (is_by_key && other.key != first.key)
        };
        batch.rest().iter().any(differs)
    }
}
