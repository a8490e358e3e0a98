//! Works on replays and backfills, while this process leads dispatch: a step of each in turn.
//!
//! Invariant: an operation never has more than [`MAX_IN_FLIGHT`] deliveries on their way, and stops while dispatch is
//! behind, so that live events do not queue up after a long replay.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tidegate_event::TriggerSet;
use tidegate_event::report::chain;
use tidegate_event_log::operation::{Operation, Step};
use tidegate_event_log::{Error, EventLog};
use tokio::sync::watch;

/// Most events or rows in one step: what one transaction holds up.
const MAX_STEP_EVENTS: usize = 500;

/// Most deliveries of one operation without a first attempt.
const MAX_IN_FLIGHT: u64 = 2_000;

/// Events that dispatch has not put into the queue yet, above which operations wait.
const MAX_BACKLOG: u64 = 10_000;

/// How often a process looks for operations by itself; it is notified of them.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often an operation that may not go on looks again.
const FULL_INTERVAL: Duration = Duration::from_millis(20);
const WAITING_INTERVAL: Duration = Duration::from_millis(250);
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How much of a second's rate may be used at once.
const BURST_S: f64 = 0.1;

/// Works on operations for as long as it is polled; never ends. Whatever time may mend is tried again.
pub(crate) async fn work(log: &EventLog, triggers: &watch::Receiver<TriggerSet>) {
    loop {
        let Err(error) = follow(log, triggers).await;
        let error = chain(&error);
        tracing::warn!(error, "operations were interrupted; trying again");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn follow(
    log: &EventLog,
    triggers: &watch::Receiver<TriggerSet>,
) -> Result<std::convert::Infallible, Error> {
    let mut listener = log.listen_operations().await?;
    let mut running: HashMap<u64, Running> = HashMap::new();
    loop {
        let pause = round(log, triggers, &mut running).await?;
        if !pause.is_zero() {
            listener.changed(pause).await?;
        }
    }
}

/// One step of each operation that may take one; returns how long to wait before the next round.
async fn round(
    log: &EventLog,
    triggers: &watch::Receiver<TriggerSet>,
    running: &mut HashMap<u64, Running>,
) -> Result<Duration, Error> {
    let operations = log.operations(true, 100).await?;
    running.retain(|id, _| operations.iter().any(|operation| operation.id == *id));
    if operations.is_empty() {
        return Ok(LOOK_INTERVAL);
    }
    if log.dispatch_backlog().await? > MAX_BACKLOG {
        return Ok(FULL_INTERVAL);
    }
    let mut pause = LOOK_INTERVAL;
    // The oldest first.
    for operation in operations.iter().rev() {
        let state = running.entry(operation.id).or_default();
        let triggers = triggers.borrow().clone();
        pause = pause.min(state.step(log, operation, &triggers).await?);
    }
    Ok(pause)
}

/// What this process remembers of an operation.
#[derive(Default)]
struct Running {
    /// What it appended and that has not all had a first attempt.
    in_flight: VecDeque<Batch>,
    allowance: Allowance,
    /// Why it waits, when it does; said once.
    waits: Option<&'static str>,
}

struct Batch {
    first: u64,
    last: u64,
    deliveries: u64,
    attempted: u64,
}

impl Running {
    async fn step(
        &mut self,
        log: &EventLog,
        operation: &Operation,
        triggers: &TriggerSet,
    ) -> Result<Duration, Error> {
        let room = MAX_IN_FLIGHT.saturating_sub(self.look(log).await?) as usize;
        if room == 0 {
            return Ok(FULL_INTERVAL);
        }
        let allowed = match self.allowance.now(operation.rate, Instant::now()) {
            Ok(allowed) => allowed,
            Err(wait) => return Ok(wait),
        };
        let limit = room.min(allowed).min(MAX_STEP_EVENTS);
        match log.step(operation.id, triggers, limit).await {
            Ok(Step::Appended {
                first,
                last,
                deliveries,
                ..
            }) => {
                self.waits = None;
                self.allowance.take(last - first + 1);
                self.in_flight.push_back(Batch {
                    first,
                    last,
                    deliveries,
                    attempted: 0,
                });
                Ok(Duration::ZERO)
            }
            Ok(Step::Passed { .. } | Step::Ended) => Ok(Duration::ZERO),
            Ok(Step::Waiting(reason)) => {
                if self.waits.replace(reason) != Some(reason) {
                    tracing::info!(operation.id, reason, "an operation waits");
                }
                Ok(WAITING_INTERVAL)
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(operation.id, error, "an operation failed");
                log.fail_operation(operation.id, &error).await?;
                Ok(Duration::ZERO)
            }
        }
    }

    /// How many deliveries are on their way to their first attempt.
    async fn look(&mut self, log: &EventLog) -> Result<u64, Error> {
        for batch in &mut self.in_flight {
            batch.attempted = log
                .attempted(batch.first, batch.last, batch.deliveries)
                .await?;
        }
        self.in_flight
            .retain(|batch| batch.attempted < batch.deliveries);
        let left = |batch: &Batch| batch.deliveries - batch.attempted;
        Ok(self.in_flight.iter().map(left).sum())
    }
}

/// How many events the rate allows; fills up with time.
#[derive(Default)]
struct Allowance {
    rate: Option<u32>,
    events: f64,
    filled_at: Option<Instant>,
}

impl Allowance {
    /// How many events may be taken at `now`, at least one; or how long to wait for the first.
    fn now(&mut self, rate: Option<u32>, now: Instant) -> Result<usize, Duration> {
        let Some(per_second) = rate.map(f64::from) else {
            self.rate = None;
            return Ok(usize::MAX);
        };
        if self.rate != rate {
            *self = Allowance {
                rate,
                events: 1.0,
                filled_at: Some(now),
            };
        }
        let since = self
            .filled_at
            .map_or(Duration::ZERO, |filled_at| now - filled_at);
        let most = (per_second * BURST_S).max(1.0);
        self.events = (self.events + per_second * since.as_secs_f64()).min(most);
        self.filled_at = Some(now);
        if self.events >= 1.0 {
            return Ok(self.events as usize);
        }
        Err(Duration::from_secs_f64((1.0 - self.events) / per_second))
    }

    fn take(&mut self, events: u64) {
        self.events -= events as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_time_and_a_pause_is_not_made_up_for() {
        let mut allowance = Allowance::default();
        let begun = Instant::now();
        let mut taken = 0;
        let mut at = begun;
        while at < begun + Duration::from_secs(10) {
            match allowance.now(Some(50), at) {
                Ok(events) => {
                    allowance.take(events as u64);
                    taken += events;
                }
                Err(wait) => at += wait,
            }
        }
        assert!((499..=501).contains(&taken), "{taken} in ten seconds");
        let later = at + Duration::from_secs(60);
        assert_eq!(
            allowance.now(Some(50), later),
            Ok(5),
            "a tenth of a second's"
        );
    }

    #[test]
    fn a_rate_below_one_event_a_burst_still_goes_on() {
        let mut allowance = Allowance::default();
        let begun = Instant::now();
        assert_eq!(allowance.now(Some(1), begun), Ok(1));
        allowance.take(1);
        assert_eq!(
            allowance.now(Some(1), begun),
            Err(Duration::from_secs(1)),
            "the next one is due in a second"
        );
        assert_eq!(allowance.now(None, begun), Ok(usize::MAX));
    }
}
