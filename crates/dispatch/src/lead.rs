//! The path: read → match → queue or hold → settle.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tidegate_event::{TriggerSet, failpoint};
use tidegate_event_log::{DispatchState, EventLog, Leadership};
use tidegate_queue::Queue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlog;
use crate::look::Looker;
use crate::maintain::maintain;
use crate::plan::{Batch, Triggers};
use crate::settle::Pending;
use crate::{Config, Error, metric_names, operation};

/// How often the offsets are recorded while they move.
const RECORD_INTERVAL: Duration = Duration::from_millis(250);

/// How often the gauges are set; counting what is unfinished is a query.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Most keys of held deliveries that a new leader learns by name.
const MAX_KNOWN_HELD_KEYS: u64 = 1_000;

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
        () = operation::work(log, triggers) => Ok(()),
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
    let mut paused = log.watch_holding().await?;
    let mut dispatch = Dispatch::resume(config, log, queue, leadership, triggers, &paused).await?;
    tracing::info!(log.offset = dispatch.cursor, "leading dispatch");
    while !shutdown.is_cancelled() {
        let known = triggers.borrow().clone();
        dispatch.follow_triggers(&known, &paused).await?;
        dispatch.follow_pauses(&paused).await?;
        dispatch.take_in_looks().await?;
        let moved = dispatch.queue_next().await? | dispatch.drain().await?;
        dispatch.look_when_due().await?;
        dispatch.record_when_due().await?;
        if !moved {
            let at_most = dispatch.idle_time();
            tokio::select! {
                changed = listener.changed(at_most) => changed?,
                () = dispatch.looker.answered() => {}
                _ = paused.changed() => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
    dispatch.record().await
}

/// One leader's position.
pub(crate) struct Dispatch<'a> {
    pub config: &'a Config,
    pub log: &'a EventLog,
    pub queue: &'a Queue,
    leadership: Leadership,
    pub state: DispatchState,
    /// Everything up to here has been queued in this generation, or held.
    pub cursor: u64,
    /// Events up to here may have been decided about before: those with an outcome are not queued again.
    repeated_until: u64,
    /// By which the queue is filled.
    pub triggers: Triggers,
    pub backlog: Backlog,
    pub pending: Pending,
    /// Events that were read and not yet dispatched.
    pub batch: Batch,
    pub ahead: Ahead,
    pub looker: Looker,
    recorded_at: Instant,
    reported_at: Instant,
}

/// How far the log was searched beyond deliveries that are over their share, for others that could go on.
#[derive(Default)]
pub(crate) struct Ahead {
    pub searched_until: u64,
    /// Events up to here make way: what is over its share is held, so that something behind it can go on.
    pub make_way_until: u64,
    /// Others that are over their share were met.
    pub has_met_others: bool,
    pub searched_at: Option<Instant>,
    /// True while the next delivery may not go on.
    pub is_blocked: bool,
}

impl<'a> Dispatch<'a> {
    /// Begins after the last settled event: queueing again what is still queued does nothing.
    async fn resume(
        config: &'a Config,
        log: &'a EventLog,
        queue: &'a Queue,
        leadership: Leadership,
        triggers: &watch::Receiver<TriggerSet>,
        paused: &watch::Receiver<HashSet<String>>,
    ) -> Result<Self, Error> {
        let state = log.dispatch_state().await?;
        let mut dispatch = Dispatch {
            config,
            log,
            queue,
            leadership,
            cursor: state.settled_offset,
            repeated_until: log.last_offset().await?,
            triggers: Triggers::of(&triggers.borrow().clone()),
            backlog: Backlog::new(0, 0, 0),
            pending: Pending::default(),
            batch: Batch::default(),
            ahead: Ahead::default(),
            looker: Looker::start(log, queue),
            recorded_at: Instant::now(),
            reported_at: Instant::now(),
            state,
        };
        let is_same = dispatch.triggers.marks == dispatch.state.triggers;
        if is_same && queue.generation().await? == Some(dispatch.state.generation) {
            let paused = paused.borrow().clone();
            dispatch.forget_queue(&paused).await?;
            // Deliveries are held first and pushed in the order of the log: what is not held up to the last one is there.
            let last = queue.last_pushed(dispatch.state.generation).await?;
            dispatch.backlog.queued_until = last.unwrap_or_default();
        } else {
            dispatch.begin_generation(paused).await?;
        }
        Ok(dispatch)
    }

    /// Begins a generation when the triggers are others than those that the queue was filled by: a delivery's place
    /// in the queue counts an event's triggers, and must mean the same one whenever it is queued again.
    async fn follow_triggers(
        &mut self,
        triggers: &TriggerSet,
        paused: &watch::Receiver<HashSet<String>>,
    ) -> Result<(), Error> {
        if self.looker.is_generation_over() {
            return self.begin_generation(paused).await;
        }
        if self.triggers.is_of(triggers) {
            return Ok(());
        }
        let next = Triggers::of(triggers);
        let is_same = next.marks == self.triggers.marks;
        // Policies may have changed with the same names.
        self.triggers = next;
        match is_same {
            true => Ok(()),
            false => self.begin_generation(paused).await,
        }
    }

    /// Begins a new generation of the queue and goes back to the first event that is not settled.
    async fn begin_generation(
        &mut self,
        paused: &watch::Receiver<HashSet<String>>,
    ) -> Result<(), Error> {
        let end = self.log.last_offset().await?;
        let mut generation = self.state.generation + 1;
        loop {
            // Postgres first: a crash in between leaves a generation that Redis does not know, and the next leader begins another.
            self.record_generation(generation).await?;
            failpoint::pass(failpoint::DISPATCH_GENERATION_RECORDED);
            match self.queue.open_generation(generation, end).await {
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
        let paused = paused.borrow().clone();
        self.forget_queue(&paused).await?;
        counter!(metric_names::QUEUE_GENERATIONS).increment(1);
        tracing::info!(
            generation = self.state.generation,
            log.offset = self.cursor,
            "began a new generation of the queue; what is not settled is queued again"
        );
        Ok(())
    }

    /// Goes back to the first event that is not settled, and learns from the log what is held.
    async fn forget_queue(&mut self, paused: &HashSet<String>) -> Result<(), Error> {
        self.repeated_until = self.log.last_offset().await?;
        let names = self.triggers.names().len();
        let Config {
            max_queued,
            max_queued_bytes,
            ..
        } = *self.config;
        self.backlog = Backlog::new(max_queued, max_queued_bytes, names);
        self.backlog.queued_until = (self.state.log_offset, u16::MAX);
        let holding = self.log.holding_triggers().await?;
        let keys = self.log.held_keys(MAX_KNOWN_HELD_KEYS).await?;
        self.backlog
            .take_in_held(&self.triggers, &holding, &keys, paused, self.repeated_until);
        self.pending.clear();
        self.looker.forget();
        self.batch = Batch::default();
        self.ahead = Ahead::default();
        self.cursor = self.state.settled_offset;
        Ok(())
    }

    /// Reads events after `after`, with those of their deliveries that are not finished.
    pub async fn read(&self, after: u64) -> Result<Batch, Error> {
        let limit = self.config.batch_max_events;
        let entries = self.log.read_stored(after, limit).await?;
        let last = entries.last().map_or(after, |entry| entry.log_offset);
        let finished = match after < self.repeated_until {
            true => self.log.settled_deliveries(after, last).await?,
            false => HashSet::new(),
        };
        Batch::of(entries, &self.triggers, &finished)
    }

    async fn record_when_due(&mut self) -> Result<(), Error> {
        if self.recorded_at.elapsed() < RECORD_INTERVAL {
            return Ok(());
        }
        self.recorded_at = Instant::now();
        self.record().await?;
        if self.reported_at.elapsed() >= REPORT_INTERVAL {
            self.reported_at = Instant::now();
            self.report().await?;
        }
        Ok(())
    }

    async fn record(&mut self) -> Result<(), Error> {
        let next = self.next_state(self.state.generation);
        if next != self.state {
            self.leadership.record(&next).await?;
            failpoint::pass(failpoint::DISPATCH_RECORDED);
            self.state = next;
        }
        Ok(())
    }

    async fn record_generation(&mut self, generation: u64) -> Result<(), Error> {
        let next = self.next_state(generation);
        self.leadership.record_durably(&next).await?;
        self.state = next;
        Ok(())
    }

    fn next_state(&self, generation: u64) -> DispatchState {
        DispatchState {
            // What was decided about once stays so, also while a new queue is filled.
            log_offset: self.cursor.max(self.state.log_offset),
            settled_offset: self.pending.settled_offset(self.cursor),
            generation,
            triggers: self.triggers.marks.clone(),
        }
    }

    async fn report(&self) -> Result<(), Error> {
        let (failed, dead) = self.log.unfinished().await?;
        let lag = self.log.last_offset().await?.saturating_sub(self.cursor);
        gauge!(metric_names::DELIVERIES_PENDING).set(self.backlog.total() as f64);
        gauge!(metric_names::DELIVERIES_FAILED).set(failed as f64);
        gauge!(metric_names::DELIVERIES_DEAD).set(dead as f64);
        gauge!(metric_names::DISPATCH_LAG_EVENTS).set(lag as f64);
        Ok(())
    }

    fn idle_time(&self) -> Duration {
        match self.pending.is_empty() {
            true => self.config.settle_interval,
            false => self.looker.time_to_next(self.ahead.is_blocked),
        }
    }
}
