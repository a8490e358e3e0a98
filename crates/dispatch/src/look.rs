//! Asks what is finished, and takes in the answers.

use std::time::{Duration, Instant};

use tidegate_event_log::EventLog;
use tidegate_queue::Queue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Error;
use crate::lead::Dispatch;
use crate::settle::{Look, Looked, MAX_LOOK, Missing, settle};

/// How often outcomes are asked for while some are awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The same while something waits for room.
const BLOCKED_LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The same while none is: only whether the queue is still there.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a delivery may be in the queue before it is looked for there, and how often. An evicted key is noticed
/// within twice this time.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(4);
/// How many of the oldest are looked for.
const MAX_RECONCILED: usize = 16;
/// A delivery that is lost again and again is looked for less and less often, at most so many doublings.
const MAX_RECONCILE_DOUBLINGS: u32 = 8;

/// The task that asks, and what it was asked.
pub(crate) struct Looker {
    looks: mpsc::Sender<Look>,
    answers: mpsc::Receiver<Result<Looked, Error>>,
    /// Ends with this.
    _task: JoinSet<()>,
    answer: Option<Result<Looked, Error>>,
    is_asking: bool,
    /// The answer that is awaited belongs to a queue that is forgotten.
    is_outdated: bool,
    asked_at: Instant,
    is_full: bool,
    is_generation_over: bool,
    reconciled_at: Instant,
    /// Everything up to this offset was queued when it was looked last.
    reconciled_cursor: u64,
    /// The last delivery that was lost, and how often.
    lost: (u64, u32),
}

impl Looker {
    pub fn start(log: &EventLog, queue: &Queue) -> Looker {
        let (looks, asked) = mpsc::channel(1);
        let (answering, answers) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(settle(log.clone(), queue.clone(), asked, answering));
        Looker {
            looks,
            answers,
            _task: task,
            answer: None,
            is_asking: false,
            is_outdated: false,
            asked_at: Instant::now(),
            is_full: false,
            is_generation_over: false,
            reconciled_at: Instant::now(),
            reconciled_cursor: 0,
            lost: (0, 0),
        }
    }

    /// Resolves when there is an answer to take in.
    pub async fn answered(&mut self) {
        if self.answer.is_none() {
            self.answer = self.answers.recv().await;
        }
    }

    pub fn is_generation_over(&self) -> bool {
        self.is_generation_over
    }

    /// The queue has lost something: a new generation begins.
    pub fn end_generation(&mut self) {
        self.is_generation_over = true;
    }

    pub fn forget(&mut self) {
        self.answer = None;
        self.is_outdated = self.is_asking;
        self.is_full = false;
        self.is_generation_over = false;
        self.reconciled_at = Instant::now();
        self.reconciled_cursor = 0;
    }

    pub fn time_to_next(&self, is_blocked: bool) -> Duration {
        let interval = match is_blocked {
            true => BLOCKED_LOOK_INTERVAL,
            false => LOOK_INTERVAL,
        };
        interval.saturating_sub(self.asked_at.elapsed())
    }

    fn is_due(&self, is_blocked: bool, is_idle: bool) -> bool {
        let is_time = match is_idle {
            true => self.asked_at.elapsed() >= IDLE_LOOK_INTERVAL,
            false => self.time_to_next(is_blocked).is_zero(),
        };
        !self.is_asking && (self.is_full || is_time)
    }

    fn take_answer(&mut self) -> Result<Option<Looked>, Error> {
        if self.answer.is_none() {
            self.answer = self.answers.try_recv().ok();
        }
        let Some(answer) = self.answer.take() else {
            return Ok(None);
        };
        self.is_asking = false;
        let is_outdated = std::mem::take(&mut self.is_outdated);
        let looked = answer?;
        Ok((!is_outdated).then_some(looked))
    }

    fn is_reconcile_due(&self) -> bool {
        let doublings = self.lost.1.min(MAX_RECONCILE_DOUBLINGS);
        self.reconciled_at.elapsed() >= RECONCILE_INTERVAL * 2u32.pow(doublings)
    }
}

impl Dispatch<'_> {
    /// Asks about what is pending, when it is time.
    pub async fn look_when_due(&mut self) -> Result<(), Error> {
        let is_idle = self.pending.is_empty();
        if !self.looker.is_due(self.ahead.is_blocked, is_idle) {
            return Ok(());
        }
        let missing = match self.looker.is_reconcile_due() {
            true => self.oldest(),
            false => Vec::new(),
        };
        let look = Look {
            generation: self.state.generation,
            offsets: self.pending.next_look(),
            missing,
        };
        self.looker.asked_at = Instant::now();
        self.looker.is_asking = self.looker.looks.try_send(look).is_ok();
        Ok(())
    }

    /// What was queued before the last time this was asked, and long enough ago.
    fn oldest(&mut self) -> Vec<(Missing, String)> {
        let oldest = self
            .pending
            .oldest(self.looker.reconciled_cursor, MAX_RECONCILED);
        self.looker.reconciled_at = Instant::now();
        self.looker.reconciled_cursor = self.cursor;
        let named = |missing: Missing| (missing, self.triggers.name(missing.trigger).to_owned());
        oldest.into_iter().map(named).collect()
    }

    /// Takes in what was found, if anything was.
    pub async fn take_in_looks(&mut self) -> Result<(), Error> {
        let Some(looked) = self.looker.take_answer()? else {
            return Ok(());
        };
        if looked.generation != Some(self.state.generation) {
            self.looker.is_generation_over = true;
            return Ok(());
        }
        let found = looked.finished.len();
        self.finish(looked.finished);
        self.looker.is_full = found * 2 >= MAX_LOOK;
        if found * 2 >= looked.asked {
            self.pending.look_at_oldest();
        }
        if let Some(log_offset) = looked.lost {
            let times = match self.looker.lost.0 == log_offset {
                true => self.looker.lost.1 + 1,
                false => 0,
            };
            self.looker.lost = (log_offset, times);
            tracing::warn!(
                log.offset = log_offset,
                "redis has lost a delivery that is not finished"
            );
            self.looker.is_generation_over = true;
        }
        Ok(())
    }

    /// Takes in final outcomes. What a worker held goes on in order only if all that comes later is held, too.
    pub fn finish(&mut self, finished: Vec<(u64, String, bool)>) {
        for (log_offset, name, is_held) in finished {
            let Some(number) = self.triggers.number(&name) else {
                continue;
            };
            let Some(delivery) = self.pending.finish(log_offset, number) else {
                continue;
            };
            self.backlog.remove(number, delivery.key, delivery.bytes);
            if is_held {
                self.backlog.triggers[usize::from(number)].is_held = true;
            }
        }
    }
}
