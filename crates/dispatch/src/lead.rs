//! The path: read → match → queue → settle.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tidegate_event::{TriggerSet, failpoint};
use tidegate_event_log::{DispatchState, EventLog, Leadership};
use tidegate_queue::Queue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::maintain::maintain;
use crate::plan::plan;
use crate::settle::Unsettled;
use crate::{Config, Error, metric_names};

/// How often outcomes are looked for while some are awaited. Each look reads the outcomes after the settled offset.
const BUSY_SETTLE_INTERVAL: Duration = Duration::from_millis(250);

/// Most events remembered behind the oldest that is not settled: some 16 bytes each.
const MAX_REMEMBERED_EVENTS: usize = 200_000;

/// How often the gauges are set; counting what is unfinished is a query.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Takes the lead if it is free, and keeps it until `shutdown` or an error.
pub(crate) async fn lead(
    config: &Config,
    log: &EventLog,
    queue: &Queue,
    triggers: &watch::Receiver<TriggerSet>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let Some(leadership) = log.lead_dispatch().await? else {
        return Ok(());
    };
    tokio::select! {
        led = dispatch(config, log, queue, triggers, shutdown, leadership) => led,
        () = maintain(config, log, shutdown) => Ok(()),
    }
}

async fn dispatch(
    config: &Config,
    log: &EventLog,
    queue: &Queue,
    triggers: &watch::Receiver<TriggerSet>,
    shutdown: &CancellationToken,
    leadership: Leadership,
) -> Result<(), Error> {
    let mut listener = log.listen().await?;
    let mut dispatch = Dispatch::resume(log, queue, leadership).await?;
    tracing::info!(log.offset = dispatch.cursor, "leading dispatch");
    while !shutdown.is_cancelled() {
        let triggers = triggers.borrow().clone();
        dispatch.follow_triggers(&triggers).await?;
        let queued = dispatch.queue_next_batch(config, &triggers).await?;
        dispatch.settle_when_due().await?;
        if queued == 0 {
            let at_most = dispatch.idle_time(config);
            tokio::select! {
                changed = listener.changed(at_most) => changed?,
                () = shutdown.cancelled() => {}
            }
        }
    }
    dispatch.record().await
}

/// One leader's position.
struct Dispatch<'a> {
    log: &'a EventLog,
    queue: &'a Queue,
    leadership: Leadership,
    state: DispatchState,
    /// Everything up to here has been queued in this generation.
    cursor: u64,
    /// Events up to here may have been queued before: those with an outcome are not queued again.
    repeated_until: u64,
    /// Names of the triggers that the queue is filled by.
    triggers: Vec<String>,
    unsettled: Unsettled,
    settled_at: Instant,
    reported_at: Instant,
}

impl<'a> Dispatch<'a> {
    /// Begins after the last settled event: queueing again what is still queued does nothing.
    async fn resume(
        log: &'a EventLog,
        queue: &'a Queue,
        leadership: Leadership,
    ) -> Result<Self, Error> {
        let state = log.dispatch_state().await?;
        let mut dispatch = Dispatch {
            log,
            queue,
            leadership,
            cursor: state.settled_offset,
            repeated_until: log.last_offset().await?,
            triggers: state.triggers.clone(),
            state,
            unsettled: Unsettled::default(),
            settled_at: Instant::now(),
            reported_at: Instant::now(),
        };
        if queue.generation().await? != Some(dispatch.state.generation) {
            dispatch.begin_generation().await?;
        }
        Ok(dispatch)
    }

    /// Begins a generation when the triggers are others than those that the queue was filled by: a delivery's place
    /// in the queue counts an event's triggers, and must mean the same one whenever it is queued again.
    async fn follow_triggers(&mut self, triggers: &TriggerSet) -> Result<(), Error> {
        let names: Vec<String> = triggers.iter().map(ToString::to_string).collect();
        if names == self.triggers {
            return Ok(());
        }
        self.triggers = names;
        self.begin_generation().await
    }

    /// Queues the deliveries of the next events; returns how many events there were.
    async fn queue_next_batch(
        &mut self,
        config: &Config,
        triggers: &TriggerSet,
    ) -> Result<usize, Error> {
        // An object that is parked for long holds up the settled offset, but not the others.
        let room = config.max_queued.saturating_sub(self.unsettled.pending()) as usize;
        let memory = MAX_REMEMBERED_EVENTS.saturating_sub(self.unsettled.len());
        let limit = config.batch_max_events.min(room).min(memory);
        let entries = if limit == 0 {
            Vec::new()
        } else {
            self.log.read(self.cursor, limit).await?
        };
        let Some(last) = entries.last().map(|entry| entry.log_offset) else {
            return Ok(0);
        };
        let count = entries.len();
        let settled = match self.cursor < self.repeated_until {
            true => self.log.settled_deliveries(self.cursor, last).await?,
            false => HashSet::new(),
        };
        let plan = plan(entries, triggers, &settled);
        failpoint::pass(failpoint::DISPATCH_READ);
        match self
            .queue
            .push(self.state.generation, &plan.deliveries)
            .await
        {
            Ok(()) => {}
            Err(tidegate_queue::Error::GenerationLost { .. }) => {
                self.begin_generation().await?;
                return Ok(count);
            }
            // Workers are behind; the backlog waits where it is.
            Err(tidegate_queue::Error::Full { .. }) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
        counter!(metric_names::DELIVERIES_QUEUED).increment(plan.deliveries.len() as u64);
        failpoint::pass(failpoint::DISPATCH_QUEUED);
        self.unsettled.add(&plan.owed);
        self.cursor = last;
        Ok(count)
    }

    /// Begins a new generation of the queue and goes back to the first event that is not settled.
    async fn begin_generation(&mut self) -> Result<(), Error> {
        self.repeated_until = self.log.last_offset().await?;
        let mut generation = self.state.generation + 1;
        loop {
            // Postgres first: a crash in between leaves a generation that Redis does not know, and the next leader begins another.
            self.record_in(generation).await?;
            failpoint::pass(failpoint::DISPATCH_GENERATION_RECORDED);
            match self
                .queue
                .open_generation(generation, self.repeated_until)
                .await
            {
                Ok(()) => break,
                // Redis is older than this log: it knows generations that the log does not.
                Err(tidegate_queue::Error::GenerationLost {
                    found: Some(found), ..
                }) if found >= generation => {
                    generation = found + 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.unsettled.clear();
        self.cursor = self.state.settled_offset;
        counter!(metric_names::QUEUE_GENERATIONS).increment(1);
        tracing::info!(
            generation = self.state.generation,
            log.offset = self.cursor,
            "began a new generation of the queue; what is not settled is queued again"
        );
        Ok(())
    }

    async fn settle_when_due(&mut self) -> Result<(), Error> {
        if self.settled_at.elapsed() < BUSY_SETTLE_INTERVAL {
            return Ok(());
        }
        self.settled_at = Instant::now();
        if self.queue.generation().await? != Some(self.state.generation) {
            return self.begin_generation().await;
        }
        let counts = self
            .log
            .settled_counts(self.state.settled_offset, self.cursor, &self.triggers)
            .await?;
        self.unsettled.take_in(&counts);
        self.record().await?;
        if self.reported_at.elapsed() >= REPORT_INTERVAL {
            self.reported_at = Instant::now();
            self.report().await?;
        }
        Ok(())
    }

    async fn record(&mut self) -> Result<(), Error> {
        self.record_in(self.state.generation).await
    }

    async fn record_in(&mut self, generation: u64) -> Result<(), Error> {
        let next = DispatchState {
            log_offset: self.cursor,
            settled_offset: self.unsettled.settled_offset(self.cursor),
            generation,
            triggers: self.triggers.clone(),
        };
        if next != self.state {
            self.leadership.record(&next).await?;
            failpoint::pass(failpoint::DISPATCH_RECORDED);
            self.state = next;
        }
        Ok(())
    }

    async fn report(&self) -> Result<(), Error> {
        let (failed, dead) = self.log.unfinished().await?;
        let lag = self.log.last_offset().await?.saturating_sub(self.cursor);
        gauge!(metric_names::DELIVERIES_PENDING).set(self.unsettled.pending() as f64);
        gauge!(metric_names::DELIVERIES_FAILED).set(failed as f64);
        gauge!(metric_names::DELIVERIES_DEAD).set(dead as f64);
        gauge!(metric_names::DISPATCH_LAG_EVENTS).set(lag as f64);
        Ok(())
    }

    fn idle_time(&self, config: &Config) -> Duration {
        if self.unsettled.len() == 0 {
            config.settle_interval
        } else {
            BUSY_SETTLE_INTERVAL
        }
    }
}
