//! One isolate as the server sees it: what runs in it, what it asks, whether it obeys.
//!
//! ```text
//! submit ─▶ pending ─▶ frames ─▶ isolate ─▶ frames ─▶ heard ─▶ the caller
//!              ▲                                        └─ [call]: host calls ─▶ answers
//!              └─ [watch]: deadlines, runs stuck behind another's loop, kills
//! ```
//!
//! Invariants: every submitted run is answered exactly once, whatever the isolate does. A run whose isolate dies or gets
//! stuck through no fault of its own is moved and not failed; begun again it does nothing twice (see [`crate::tape`]).

mod call;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::board::{Board, SLOTS};
use crate::calls::Made;
use crate::fetch::Fetcher;
use crate::frame::{Failure, FromIsolate, Level, ToIsolate};
use crate::job::{Job, Reply};
use crate::process::Process;
use crate::tape::Asked;
use crate::{Host, logs};

/// How many runs an isolate may hold unstarted: enough for large batches, few enough to be moved when it gets stuck.
/// One that got stuck starts again with one, and gains one for each run that ends.
const MAX_WINDOW: u64 = 32;

/// What answers an isolate's calls.
pub(crate) struct Services {
    pub host: Arc<dyn Host>,
    pub fetcher: Fetcher,
}

pub(crate) struct Child {
    pub(crate) process: Process,
    board: Board,
    services: Arc<Services>,
    /// How many callers may wait for it, beside those of nested runs.
    capacity: usize,
    state: Mutex<State>,
    /// Frames wait to be written.
    pub(crate) wake: Notify,
    /// Runs that have not ended.
    open: AtomicUsize,
    /// Callers that wait.
    load: AtomicUsize,
    /// False once it gets no new runs; then it is ended when it is empty.
    accepting: AtomicBool,
    stuck: AtomicBool,
    /// It computed for so long that it was told to give way.
    is_hog: AtomicBool,
    /// It serves one run only.
    dedicated: AtomicBool,
    /// It has finished a run, or was asked to end.
    proven: AtomicBool,
}

struct State {
    out: Vec<u8>,
    pending: HashMap<u32, Pending>,
    free_slots: Vec<u16>,
    last_run: u32,
    /// Runs that were submitted, and those of them that were taken back; the board counts those that began.
    submitted: u64,
    taken_back: u64,
    window: u64,
    open_call_bytes: usize,
    killed: Option<Killed>,
    ended: bool,
}

/// That this server killed it.
#[derive(Clone, Copy)]
struct Killed {
    why: &'static str,
    /// Whose fault it was. Decided with the kill: until it takes effect the isolate may go on with another run.
    culprit: Option<u32>,
}

/// A run that was submitted and has not ended.
struct Pending {
    job: Job,
    slot: u16,
    submitted_ns: u64,
    /// How many calls it has made, and those that wait for their answers.
    calls: u32,
    made: Made,
    open_calls: HashMap<u32, OpenCall>,
    log_lines: u32,
    log_bytes: usize,
    /// The outcome of a handler that counts as run only when nothing of it is left.
    outcome: Option<String>,
    cancelled: bool,
}

/// A host call that waits for its answer.
struct OpenCall {
    bytes: usize,
    asked: Arc<Asked>,
}

impl Child {
    pub(crate) fn new(
        process: Process,
        board: Board,
        services: Arc<Services>,
        capacity: usize,
    ) -> Child {
        let state = State {
            out: Vec::new(),
            pending: HashMap::new(),
            free_slots: (0..SLOTS as u16).rev().collect(),
            last_run: 0,
            submitted: 0,
            taken_back: 0,
            window: MAX_WINDOW,
            open_call_bytes: 0,
            killed: None,
            ended: false,
        };
        Child {
            process,
            board,
            services,
            capacity,
            state: Mutex::new(state),
            wake: Notify::new(),
            open: AtomicUsize::new(0),
            load: AtomicUsize::new(0),
            accepting: AtomicBool::new(true),
            stuck: AtomicBool::new(false),
            is_hog: AtomicBool::new(false),
            dedicated: AtomicBool::new(false),
            proven: AtomicBool::new(false),
        }
    }

    /// How many callers wait for it.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Acquire)
    }

    /// True when no run is open, also none whose caller has been answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Acquire)
    }

    /// True while new runs are better given to another isolate.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    pub(crate) fn is_dedicated(&self) -> bool {
        self.dedicated.load(Ordering::Acquire)
    }

    /// True if it ended by itself before it ever finished a run: the next one may well do the same.
    pub(crate) fn is_stillborn(&self) -> bool {
        !self.proven.load(Ordering::Acquire) && self.state().killed.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Gives it a run, or gives the run back when there is no room.
    pub(crate) fn submit(&self, job: Job, now_ns: u64) -> Result<(), Job> {
        let mut state = self.state();
        let unstarted = (state.submitted - state.taken_back).saturating_sub(self.board.started());
        // Nested runs ignore both limits: those that fill them may be waiting for this very run.
        let has_room = job.nested || self.load() < self.capacity && unstarted < state.window;
        if !self.is_accepting() || state.ended || !has_room {
            return Err(job);
        }
        let Some(slot) = state.free_slots.pop() else {
            return Err(job);
        };
        if job.exclusive {
            self.dedicated.store(true, Ordering::Release);
            self.accepting.store(false, Ordering::Release);
        }
        state.last_run = state.last_run.checked_add(1).unwrap_or(1);
        state.submitted += 1;
        let run = state.last_run;
        self.board.offer(slot, run);
        let (handler, request) = (&*job.handler_json, &*job.request);
        let soft_deadline_ns = job.soft_deadline_ns;
        ToIsolate::Run {
            run,
            slot,
            soft_deadline_ns,
            handler,
            request,
        }
        .put(&mut state.out);
        state.pending.insert(run, Pending::new(job, slot, now_ns));
        self.open.fetch_add(1, Ordering::AcqRel);
        self.load.fetch_add(1, Ordering::AcqRel);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Gives it no new runs; kills it once it is empty.
    pub(crate) fn retire(&self) {
        self.accepting.store(false, Ordering::Release);
        self.end_if_done();
    }

    fn end_if_done(&self) {
        if self.is_empty() && !self.is_accepting() {
            self.proven.store(true, Ordering::Release);
            self.process.kill();
        }
    }

    /// Kills it at once, on account of whatever it computes; `why` is for the runs that it takes along.
    pub(crate) fn kill(&self, why: &'static str) {
        let culprit = self.board.burst().map(|(run, _)| run);
        self.kill_for(why, culprit);
    }

    fn kill_for(&self, why: &'static str, culprit: Option<u32>) {
        self.accepting.store(false, Ordering::Release);
        let mut state = self.state();
        if state.killed.is_none() {
            state.killed = Some(Killed { why, culprit });
            metrics::counter!(crate::metrics::KILLS_TOTAL).increment(1);
        }
        drop(state);
        self.process.kill();
    }

    /// Swaps the frames to be written for an empty buffer.
    pub(crate) fn take_output(&self, buffer: &mut Vec<u8>) {
        debug_assert!(buffer.is_empty());
        std::mem::swap(buffer, &mut self.state().out);
    }

    /// Acts on a frame from the isolate.
    pub(crate) fn heard(self: &Arc<Self>, frame: FromIsolate) {
        match frame {
            FromIsolate::Done { run, json } => self.done(run, json),
            FromIsolate::End { run } => self.end(run),
            FromIsolate::Call { run, call, json } => self.call(run, call, json),
            FromIsolate::Log { run, level, text } => self.log(run, level, text),
            FromIsolate::Failed { run, why } => self.failed(run, why),
            FromIsolate::Poisoned { why } => {
                tracing::info!(
                    isolate.pid = self.process.pid(),
                    why,
                    "an isolate is replaced"
                );
                self.accepting.store(false, Ordering::Release);
            }
        }
    }

    fn done(&self, run: u32, json: &str) {
        let mut state = self.state();
        let Some(pending) = state.pending.get_mut(&run) else {
            return;
        };
        if pending.job.handler.ends_with_its_last_call() {
            pending.outcome.get_or_insert_with(|| json.to_owned());
        } else {
            self.answer_caller(pending, Reply::Outcome(json.to_owned()));
        }
    }

    fn end(&self, run: u32) {
        let mut state = self.state();
        let Some(mut pending) = self.remove(&mut state, run) else {
            return;
        };
        state.window = MAX_WINDOW.min(state.window + 1);
        let no_outcome = || Reply::Crashed("it ended without an outcome".into());
        pending.job.answer(
            pending
                .outcome
                .take()
                .map_or_else(no_outcome, Reply::Outcome),
        );
        drop(state);
        self.proven.store(true, Ordering::Release);
        self.end_if_done();
    }

    fn failed(&self, run: u32, why: Failure) {
        let mut state = self.state();
        let Some(pending) = state.pending.get_mut(&run) else {
            return;
        };
        let reply = match why {
            Failure::Interrupted => Reply::TimedOut,
            Failure::OutOfMemory => Reply::OutOfMemory,
        };
        self.answer_caller(pending, reply);
    }

    fn log(&self, run: u32, level: Level, text: &str) {
        let mut state = self.state();
        let Some(pending) = state.pending.get_mut(&run) else {
            drop(state);
            return logs::module(level, text);
        };
        pending.log_lines += 1;
        pending.log_bytes += text.len();
        let is_repeated = pending.log_lines <= pending.job.shown_lines;
        if !is_repeated && pending.log_bytes <= logs::MAX_BYTES_PER_RUN {
            pending.job.shown_lines = pending.log_lines;
            if !pending.job.is_answered() {
                pending.job.logs.push(level, text);
            }
            let (cause, handler) = (pending.job.cause.clone(), pending.job.handler.clone());
            drop(state);
            logs::run(&cause, &handler, level, text);
        }
    }

    /// Answers the caller of a run that stays open.
    fn answer_caller(&self, pending: &mut Pending, reply: Reply) {
        if !pending.job.is_answered() {
            self.load.fetch_sub(1, Ordering::AcqRel);
            pending.job.answer(reply);
        }
    }

    /// Takes out a run that is no longer open here.
    fn remove(&self, state: &mut State, run: u32) -> Option<Pending> {
        let pending = state.pending.remove(&run)?;
        state.free_slots.push(pending.slot);
        self.open.fetch_sub(1, Ordering::AcqRel);
        if !pending.job.is_answered() {
            self.load.fetch_sub(1, Ordering::AcqRel);
        }
        state.open_call_bytes -= pending
            .open_calls
            .values()
            .map(|open| open.bytes)
            .sum::<usize>();
        Some(pending)
    }
}

impl Pending {
    fn new(job: Job, slot: u16, submitted_ns: u64) -> Pending {
        Pending {
            job,
            slot,
            submitted_ns,
            calls: 0,
            made: Made::default(),
            open_calls: HashMap::new(),
            log_lines: 0,
            log_bytes: 0,
            outcome: None,
            cancelled: false,
        }
    }

    fn abort_fetches(&self) {
        self.open_calls
            .values()
            .for_each(|open| open.asked.abort.cancel());
    }
}
