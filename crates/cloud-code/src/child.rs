//! One isolate as the server sees it: what runs in it, what it asks, whether it obeys.
//!
//! ```text
//! submit ─▶ pending ─▶ frames ─▶ isolate ─▶ frames ─▶ heard ─▶ the caller
//!              ▲                        [hear]          └─ [call]: host calls ─▶ answers
//!              └─ [watch]: deadlines, runs stuck behind another's loop, kills
//! ```
//!
//! Invariants: every submitted run is answered exactly once, whatever the isolate does. A run whose isolate dies or gets
//! stuck through no fault of its own is moved and not failed; begun again it does nothing twice (see [`crate::tape`]).

mod call;
mod hear;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::Host;
use crate::board::{Board, SLOTS};
use crate::calls::Made;
use crate::fetch::Fetcher;
use crate::frame::ToIsolate;
use crate::job::{Job, Reply};
use crate::process::Process;
use crate::tape::Asked;

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
    /// With more than this in its heap it gets no second job.
    spare_heap_bytes: u64,
    state: Mutex<State>,
    /// Frames wait to be written.
    pub(crate) wake: Notify,
    /// Runs that have not ended.
    open: AtomicUsize,
    /// Callers that wait.
    load: AtomicUsize,
    /// It gets no new runs, and is ended when it is empty.
    retired: AtomicBool,
    stuck: AtomicBool,
    /// It computed for so long that it was told to give way.
    is_hog: AtomicBool,
    /// It serves one run at a time, and none that could share it.
    dedicated: AtomicBool,
    /// When its last run ended.
    idle_since_ns: AtomicU64,
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
    aborted: bool,
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
        spare_heap_bytes: u64,
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
            spare_heap_bytes,
            state: Mutex::new(state),
            wake: Notify::new(),
            open: AtomicUsize::new(0),
            load: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            is_hog: AtomicBool::new(false),
            dedicated: AtomicBool::new(false),
            idle_since_ns: AtomicU64::new(0),
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

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// True while it takes runs that share it.
    pub(crate) fn is_accepting(&self) -> bool {
        !self.is_retired() && !self.is_dedicated()
    }

    /// True while a run could have it for itself.
    pub(crate) fn can_be_had_alone(&self) -> bool {
        !self.is_retired() && self.is_empty()
    }

    /// True while it waits for another run that wants to be alone.
    pub(crate) fn is_spare(&self) -> bool {
        self.is_dedicated() && self.can_be_had_alone()
    }

    pub(crate) fn idle_since_ns(&self) -> u64 {
        self.idle_since_ns.load(Ordering::Acquire)
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
        let is_open = if job.exclusive {
            self.can_be_had_alone()
        } else {
            self.is_accepting()
        };
        if !is_open || state.ended || !has_room {
            return Err(job);
        }
        let Some(slot) = state.free_slots.pop() else {
            return Err(job);
        };
        if job.exclusive {
            self.dedicated.store(true, Ordering::Release);
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
        self.accept_no_more();
        self.end_if_done();
    }

    fn accept_no_more(&self) {
        self.retired.store(true, Ordering::Release);
    }

    fn end_if_done(&self) {
        if self.is_empty() && self.is_retired() {
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
        self.accept_no_more();
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

    /// Answers the caller of a run that stays open.
    fn answer_caller(&self, pending: &mut Pending, reply: Reply) {
        if !pending.job.is_answered() {
            self.load.fetch_sub(1, Ordering::AcqRel);
            pending.job.answer(reply);
        }
    }

    /// Ends a run here and now: its caller is answered, what it still says is passed over, and the process gets no other.
    fn give_up(&self, state: &mut State, run: u32, reply: Reply) {
        let Some(mut pending) = self.remove(state, run) else {
            return;
        };
        self.accept_no_more();
        pending.abort_fetches();
        pending.job.answer(reply);
        if pending.job.exclusive {
            self.proven.store(true, Ordering::Release);
            self.process.kill();
        } else {
            ToIsolate::Cancel { run }.put(&mut state.out);
            self.wake.notify_one();
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
            aborted: false,
        }
    }

    fn abort_fetches(&self) {
        self.open_calls
            .values()
            .for_each(|open| open.asked.abort.cancel());
    }
}
