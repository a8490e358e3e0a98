//! One isolate as the server sees it: what runs in it, what it asks, whether it obeys.
//!
//! ```text
//! submit ─▶ pending ─▶ frames ─▶ isolate ─▶ frames ─▶ heard ─▶ the caller
//!              ▲                                        └─ host calls ─▶ answers
//!              └── tick: deadlines, runs stuck behind another's loop, kills
//! ```
//!
//! Invariants: every submitted run is answered exactly once, whatever the isolate does. A run that was not yet started,
//! or that had made no host call when its isolate died through no fault of its own, is moved and not failed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::board::{Board, SLOTS};
use crate::calls::{self, Answer, Call, MAX_OPEN_BYTES, MAX_OPEN_PER_RUN};
use crate::fetch::Fetcher;
use crate::frame::{Failure, FromIsolate, MAX_FRAME_BYTES, ToIsolate};
use crate::job::{Job, Reply};
use crate::process::Process;
use crate::{Host, logs};

/// An isolate that computes this long in one go is given nothing new, and what it has not begun is moved.
const STUCK_NS: u64 = 50_000_000;

/// So is an isolate that leaves a run unstarted this long without computing: stopped, or starved.
const UNSTARTED_NS: u64 = 250_000_000;

/// How long code that belongs to no open run may compute before its isolate is killed.
const STRAY_BURST_NS: u64 = 2_000_000_000;

const UNPOISONED: &str = "nothing panics while it holds this lock";

/// What answers an isolate's calls.
pub(crate) struct Services {
    pub host: Arc<dyn Host>,
    pub fetcher: Fetcher,
}

pub(crate) struct Child {
    pub(crate) process: Process,
    board: Board,
    services: Arc<Services>,
    /// Runs it may have open that are nobody's nested runs.
    capacity: usize,
    state: Mutex<State>,
    /// Frames wait to be written.
    pub(crate) wake: Notify,
    in_flight: AtomicUsize,
    /// False once it gets no new runs; then it is ended when it is empty.
    accepting: AtomicBool,
    stuck: AtomicBool,
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
    open_call_bytes: usize,
    /// Why this server killed it.
    killed: Option<&'static str>,
    ended: bool,
}

/// A run that was submitted and has not ended.
struct Pending {
    job: Job,
    slot: u16,
    submitted_ns: u64,
    calls: u32,
    open_calls: u32,
    fetches: HashMap<u32, AbortHandle>,
    log_bytes: usize,
    /// The outcome of a handler that counts as run only when nothing of it is left.
    outcome: Option<String>,
    cancelled: bool,
}

impl Child {
    pub(crate) fn new(process: Process, board: Board, services: Arc<Services>, capacity: usize) -> Child {
        let state = State {
            out: Vec::new(),
            pending: HashMap::new(),
            free_slots: (0..SLOTS as u16).rev().collect(),
            last_run: 0,
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
            in_flight: AtomicUsize::new(0),
            accepting: AtomicBool::new(true),
            stuck: AtomicBool::new(false),
            dedicated: AtomicBool::new(false),
            proven: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_dedicated(&self) -> bool {
        self.dedicated.load(Ordering::Acquire)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Acquire)
    }

    /// True while new runs are better given to another isolate.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    /// True if it ended by itself before it ever finished a run: the next one may well do the same.
    pub(crate) fn is_stillborn(&self) -> bool {
        !self.proven.load(Ordering::Acquire) && self.state().killed.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Gives it a run, or gives the run back when there is no room.
    pub(crate) fn submit(&self, job: Job, now_ns: u64) -> Result<(), Job> {
        let mut state = self.state();
        let room = if job.nested { SLOTS } else { self.capacity };
        if !self.is_accepting() || state.ended || state.pending.len() >= room {
            return Err(job);
        }
        let Some(slot) = state.free_slots.pop() else { return Err(job) };
        if job.exclusive {
            self.dedicated.store(true, Ordering::Release);
            self.accepting.store(false, Ordering::Release);
        }
        state.last_run = state.last_run.checked_add(1).unwrap_or(1);
        let run = state.last_run;
        self.board.offer(slot, run);
        let (handler, request) = (&*job.handler_json, &*job.request);
        let soft_deadline_ns = job.soft_deadline_ns;
        ToIsolate::Run { run, slot, soft_deadline_ns, handler, request }.put(&mut state.out);
        state.pending.insert(run, Pending::new(job, slot, now_ns));
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Gives it no new runs; kills it once it is empty.
    pub(crate) fn retire(&self) {
        self.accepting.store(false, Ordering::Release);
        if self.in_flight() == 0 {
            self.proven.store(true, Ordering::Release);
            self.process.kill();
        }
    }

    /// Kills it at once; `why` is for the runs that it takes along.
    pub(crate) fn kill(&self, why: &'static str) {
        self.accepting.store(false, Ordering::Release);
        let first = self.state().killed.replace(why).is_none();
        if first {
            metrics::counter!(crate::metrics::KILLS_TOTAL).increment(1);
        }
        self.process.kill();
    }

    /// Swaps the frames to be written for an empty buffer.
    pub(crate) fn take_output(&self, buffer: &mut Vec<u8>) {
        debug_assert!(buffer.is_empty());
        std::mem::swap(buffer, &mut self.state().out);
    }

    /// Acts on a frame from the isolate. True: a place became free.
    pub(crate) fn heard(self: &Arc<Self>, frame: FromIsolate) -> bool {
        match frame {
            FromIsolate::Done { run, json } => self.done(run, json),
            FromIsolate::End { run } => return self.end(run),
            FromIsolate::Call { run, call, json } => self.call(run, call, json),
            FromIsolate::Log { run, level, text } => self.log(run, level, text),
            FromIsolate::Failed { run, why } => self.failed(run, why),
            FromIsolate::Poisoned { why } => {
                tracing::info!(isolate.pid = self.process.pid(), why, "an isolate is replaced");
                self.accepting.store(false, Ordering::Release);
            }
        }
        false
    }

    fn done(&self, run: u32, json: &str) {
        let mut state = self.state();
        let Some(pending) = state.pending.get_mut(&run) else { return };
        if pending.job.handler.ends_with_its_last_call() {
            pending.outcome.get_or_insert_with(|| json.to_owned());
        } else {
            pending.job.answer(Reply::Outcome(json.to_owned()));
        }
    }

    fn end(&self, run: u32) -> bool {
        let mut state = self.state();
        let Some(mut pending) = state.pending.remove(&run) else { return false };
        state.free_slots.push(pending.slot);
        let reply = pending.outcome.take().map_or_else(|| Reply::Crashed("it ended without an outcome".into()), Reply::Outcome);
        pending.job.answer(reply);
        pending.abort_fetches();
        drop(state);
        self.proven.store(true, Ordering::Release);
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 && !self.is_accepting() {
            self.process.kill();
        }
        true
    }

    fn failed(&self, run: u32, why: Failure) {
        let mut state = self.state();
        let Some(pending) = state.pending.get_mut(&run) else { return };
        pending.job.answer(match why {
            Failure::Interrupted => Reply::TimedOut,
            Failure::OutOfMemory => Reply::OutOfMemory,
        });
    }

    fn log(&self, run: u32, level: crate::frame::Level, text: &str) {
        let mut state = self.state();
        let Some(pending) = state.pending.get_mut(&run) else {
            drop(state);
            return logs::module(level, text);
        };
        pending.log_bytes += text.len();
        if pending.log_bytes <= logs::MAX_BYTES_PER_RUN {
            let (cause, handler) = (pending.job.cause.clone(), pending.job.handler.clone());
            drop(state);
            logs::run(&cause, &handler, level, text);
        }
    }

    fn call(self: &Arc<Self>, run: u32, call: u32, json: &str) {
        let mut state = self.state();
        let open_bytes = state.open_call_bytes;
        let Some(pending) = state.pending.get_mut(&run) else { return };
        let position = pending.calls;
        pending.calls += 1;
        if pending.open_calls >= MAX_OPEN_PER_RUN || open_bytes + json.len() > MAX_OPEN_BYTES {
            let refusal = Answer::refusal("too many calls are waiting for their answers");
            return self.put_answer(&mut state, call, refusal);
        }
        let parsed = match Call::parse(json, position) {
            Ok(Call::Abort(fetch)) => {
                if let Some(fetch_task) = pending.fetches.remove(&fetch) {
                    fetch_task.abort();
                    pending.open_calls -= 1;
                    self.put_answer(&mut state, fetch, Answer::aborted());
                }
                return;
            }
            Ok(parsed) => parsed,
            Err(why) => return self.put_answer(&mut state, call, Answer::refusal(&why)),
        };
        pending.open_calls += 1;
        let (child, services) = (self.clone(), self.services.clone());
        let bytes = json.len();
        match parsed {
            Call::Rest(rest) => {
                let cause = pending.job.cause.clone();
                tokio::spawn(async move {
                    let answer = calls::rest(&services.host, &cause, rest).await;
                    child.answer(run, call, bytes, answer);
                });
            }
            Call::Fetch(mut request) => {
                request.idempotency_key = calls::idempotency_key(&pending.job.cause, &pending.job.handler, position);
                let task = tokio::spawn(async move {
                    let answer = calls::fetch(&services.fetcher, request).await;
                    child.answer(run, call, bytes, answer);
                });
                pending.fetches.insert(call, task.abort_handle());
            }
            Call::Abort(_) => unreachable!("answered above"),
        }
        state.open_call_bytes += bytes;
    }

    fn answer(&self, run: u32, call: u32, bytes: usize, answer: Answer) {
        let mut state = self.state();
        state.open_call_bytes = state.open_call_bytes.saturating_sub(bytes);
        let Some(pending) = state.pending.get_mut(&run) else { return };
        pending.open_calls = pending.open_calls.saturating_sub(1);
        pending.fetches.remove(&call);
        self.put_answer(&mut state, call, answer);
    }

    fn put_answer(&self, state: &mut State, call: u32, mut answer: Answer) {
        if answer.json.len() > MAX_FRAME_BYTES - 64 {
            answer = Answer::refusal("the answer is too large");
        }
        ToIsolate::Answer { call, ok: answer.ok, json: &answer.json }.put(&mut state.out);
        self.wake.notify_one();
    }

    /// Enforces deadlines, notices a stuck isolate, and takes back the runs that it has not begun.
    pub(crate) fn tick(&self, now_ns: u64) -> Vec<Job> {
        let burst = self.board.burst();
        let computing_ns = burst.map_or(0, |(_, since)| now_ns.saturating_sub(since));
        let mut stuck = computing_ns > STUCK_NS;
        let mut state = self.state();
        stuck |= state.pending.iter().any(|(&run, pending)| {
            now_ns.saturating_sub(pending.submitted_ns) > UNSTARTED_NS && self.board.is_offered(pending.slot, run)
        });
        self.stuck.store(stuck, Ordering::Release);
        let moved = if stuck { self.take_back(&mut state) } else { Vec::new() };
        let timed_out = state.time_out(now_ns);
        let why = self.reason_to_kill(&state, burst, computing_ns, now_ns);
        drop(state);
        if timed_out {
            self.wake.notify_one();
            self.accepting.store(false, Ordering::Release);
        }
        if let Some(why) = why {
            self.kill(why);
        }
        moved.into_iter().filter_map(Job::moved).collect()
    }

    fn take_back(&self, state: &mut State) -> Vec<Job> {
        let unstarted: Vec<u32> = (state.pending.iter())
            .filter(|(run, pending)| !pending.job.is_answered() && self.board.take_back(pending.slot, **run))
            .map(|(&run, _)| run)
            .collect();
        let mut jobs = Vec::with_capacity(unstarted.len());
        for run in unstarted {
            let pending = state.pending.remove(&run).expect("it was just found");
            state.free_slots.push(pending.slot);
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            jobs.push(pending.job);
        }
        jobs
    }

    /// A run may compute until its own hard deadline, whoever else waits; but an isolate that does nothing must obey.
    fn reason_to_kill(
        &self,
        state: &State,
        burst: Option<(u32, u64)>,
        computing_ns: u64,
        now_ns: u64,
    ) -> Option<&'static str> {
        let overdue = |pending: &Pending| pending.cancelled && now_ns >= pending.job.hard_deadline_ns;
        match burst {
            Some((run, _)) => match state.pending.get(&run) {
                Some(culprit) if overdue(culprit) => Some("was killed: a run did not stop at its deadline"),
                None if computing_ns > STRAY_BURST_NS => Some("was killed: code that belongs to no request did not stop"),
                _ => None,
            },
            None => state.pending.values().any(overdue).then_some("was killed: it did not give up a run"),
        }
    }

    /// Answers every run that is left, now that the process has ended; returns those that another isolate can run.
    pub(crate) fn bury(&self, how: &str) -> Vec<Job> {
        let culprit = self.board.burst().map(|(run, _)| run);
        self.accepting.store(false, Ordering::Release);
        let mut state = self.state();
        state.ended = true;
        let expected = state.killed.is_some() || state.pending.is_empty();
        let how = state.killed.unwrap_or(how);
        if !expected {
            metrics::counter!(crate::metrics::CRASHES_TOTAL).increment(1);
            tracing::warn!(isolate.pid = self.process.pid(), runs = state.pending.len(), "an isolate {how}");
        }
        let pending: Vec<_> = state.pending.drain().collect();
        drop(state);
        self.in_flight.store(0, Ordering::Release);
        let mut moved = Vec::new();
        for (run, mut pending) in pending {
            pending.abort_fetches();
            let unstarted = self.board.is_offered(pending.slot, run);
            if pending.job.is_answered() {
                continue;
            }
            if let Some(outcome) = pending.outcome.take() {
                pending.job.answer(Reply::Outcome(outcome));
            } else if unstarted || culprit != Some(run) && pending.calls == 0 {
                moved.extend(pending.job.moved());
            } else {
                pending.job.answer(Reply::Crashed(explain(how, culprit == Some(run), pending.calls)));
            }
        }
        moved
    }
}

fn explain(how: &str, culprit: bool, calls: u32) -> String {
    if culprit {
        return format!("the process that ran it {how}");
    }
    format!("the process that ran it {how}; it was not run again because it had made {calls} calls by then")
}

impl State {
    /// Answers the runs whose time is up and tells the isolate; true if there were any that computed or waited.
    fn time_out(&mut self, now_ns: u64) -> bool {
        let mut unanswered = false;
        for (&run, pending) in &mut self.pending {
            if pending.cancelled || now_ns < pending.job.soft_deadline_ns {
                continue;
            }
            pending.cancelled = true;
            unanswered |= !pending.job.is_answered();
            let outcome = pending.outcome.take();
            pending.job.answer(outcome.map_or(Reply::TimedOut, Reply::Outcome));
            pending.abort_fetches();
            ToIsolate::Cancel { run }.put(&mut self.out);
        }
        unanswered
    }
}

impl Pending {
    fn new(job: Job, slot: u16, submitted_ns: u64) -> Pending {
        Pending {
            job,
            slot,
            submitted_ns,
            calls: 0,
            open_calls: 0,
            fetches: HashMap::new(),
            log_bytes: 0,
            outcome: None,
            cancelled: false,
        }
    }

    fn abort_fetches(&mut self) {
        self.fetches.drain().for_each(|(_, task)| task.abort());
    }
}
