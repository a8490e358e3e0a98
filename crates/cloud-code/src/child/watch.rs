//! Deadlines, isolates that are stuck, and what becomes of the runs of one that died.

use std::sync::atomic::Ordering;

use super::{Child, Killed, Pending, State};
use crate::Handler;
use crate::frame::ToIsolate;
use crate::job::{Job, Reply};

/// An isolate that computes this long in one go is given nothing new, and what it has not begun is moved.
const STUCK_NS: u64 = 50_000_000;

/// After this the runs that have begun there, and wait, are begun again elsewhere.
const STUCK_LONG_NS: u64 = 250_000_000;

/// After this it makes way: its process gets less of the processor than the others, and ends with what it has.
const HOG_NS: u64 = 1_000_000_000;

/// An isolate that leaves a run unstarted this long without computing counts as stuck too: it is stopped, or starved.
const UNSTARTED_NS: u64 = 250_000_000;

/// How long code that belongs to no open run may compute before its isolate is killed.
const STRAY_BURST_NS: u64 = 2_000_000_000;

impl Child {
    /// Enforces deadlines, notices a stuck isolate, and takes back the runs that it has not begun.
    pub(crate) fn tick(&self, now_ns: u64) -> Vec<Job> {
        let burst = self.board.burst();
        let computing_ns = self.computing_ns(now_ns);
        let mut state = self.state();
        let is_stuck = computing_ns > STUCK_NS || self.leaves_a_run_unstarted(&state, now_ns);
        let was_stuck = self.stuck.swap(is_stuck, Ordering::AcqRel);
        if is_stuck && !was_stuck {
            state.window = 1;
        }
        self.obey(&mut state);
        let mut moved = Vec::new();
        if is_stuck {
            moved = self.take_back_all(&mut state);
        }
        if let Some((culprit, _)) = burst.filter(|_| computing_ns > STUCK_LONG_NS) {
            moved.extend(self.displace_all(&mut state, culprit));
        }
        if computing_ns > HOG_NS && !self.is_hog.swap(true, Ordering::AcqRel) {
            self.process.give_way();
            self.accept_no_more();
        }
        if self.time_out(&mut state, now_ns) {
            self.wake.notify_one();
            self.accept_no_more();
        }
        let why = reason_to_kill(&state, burst, computing_ns, now_ns);
        drop(state);
        if let Some(why) = why {
            self.kill_for(why, burst.map(|(run, _)| run));
        }
        moved
    }

    /// Ends and warns the runs whose callers want that.
    fn obey(&self, state: &mut State) {
        let State { pending, out, .. } = state;
        let mut killed = Vec::new();
        for (&run, pending) in pending {
            if pending.job.is_to_be_killed() {
                killed.push(run);
            } else if pending.job.is_to_be_aborted()
                && !std::mem::replace(&mut pending.aborted, true)
            {
                ToIsolate::Abort { run }.put(out);
                self.wake.notify_one();
            }
        }
        for run in killed {
            match self.take_back(state, run) {
                Some(mut job) => job.answer(Reply::Killed),
                None => self.give_up(state, run, Reply::Killed),
            }
        }
    }

    /// How long it has been computing in one go.
    pub(crate) fn computing_ns(&self, now_ns: u64) -> u64 {
        self.board
            .burst()
            .map_or(0, |(_, since)| now_ns.saturating_sub(since))
    }

    /// Clears the mark of a stuck isolate as soon as it is heard to be free.
    pub(crate) fn notice_freedom(&self) {
        if self.is_stuck() && self.board.burst().is_none() {
            self.stuck.store(false, Ordering::Release);
        }
    }

    fn leaves_a_run_unstarted(&self, state: &State, now_ns: u64) -> bool {
        state.pending.iter().any(|(&run, pending)| {
            now_ns.saturating_sub(pending.submitted_ns) > UNSTARTED_NS
                && self.board.is_offered(pending.slot, run)
        })
    }

    fn take_back_all(&self, state: &mut State) -> Vec<Job> {
        let runs: Vec<u32> = state.pending.keys().copied().collect();
        runs.into_iter()
            .filter_map(|run| self.take_back(state, run))
            .collect()
    }

    /// The run as it was submitted, if the isolate has not begun it; then it never will.
    fn take_back(&self, state: &mut State, run: u32) -> Option<Job> {
        let slot = state.pending.get(&run)?.slot;
        if !self.board.take_back(slot, run) {
            return None;
        }
        state.taken_back += 1;
        let job = self.remove(state, run)?.job;
        // It has not begun a run that it has for itself: something is wrong with it.
        if job.exclusive {
            self.accept_no_more();
        }
        Some(job)
    }

    /// Takes away the runs that wait here while `culprit` computes. What they still do here has no effect: their calls are
    /// passed over from now on, and their isolate is told to forget them.
    fn displace_all(&self, state: &mut State, culprit: u32) -> Vec<Job> {
        let mut runs = Vec::new();
        for (&run, pending) in &mut state.pending {
            if run != culprit && pending.outcome.is_none() && pending.job.may_be_displaced() {
                runs.push(run);
            }
        }
        let mut displaced = Vec::with_capacity(runs.len());
        for run in runs {
            ToIsolate::Cancel { run }.put(&mut state.out);
            displaced.extend(self.remove(state, run).map(|pending| pending.job.rewound()));
        }
        if !displaced.is_empty() {
            self.wake.notify_one();
        }
        displaced
    }

    /// Answers the runs whose time is up and tells the isolate; true if any of them had begun and not finished.
    fn time_out(&self, state: &mut State, now_ns: u64) -> bool {
        let is_over =
            |pending: &Pending| !pending.cancelled && now_ns >= pending.job.soft_deadline_ns;
        let over = state
            .pending
            .iter()
            .filter(|(_, pending)| is_over(pending))
            .map(|(&run, _)| run);
        let over: Vec<u32> = over.collect();
        let mut unfinished = false;
        for run in over {
            if let Some(mut job) = self.take_back(state, run) {
                job.answer(Reply::TimedOut);
                continue;
            }
            let Some(pending) = state.pending.get_mut(&run) else {
                continue;
            };
            unfinished |= !pending.job.is_answered() && pending.outcome.is_none();
            let reply = pending
                .outcome
                .take()
                .map_or(Reply::TimedOut, Reply::Outcome);
            self.answer_caller(pending, reply);
            pending.cancelled = true;
            pending.abort_fetches();
            ToIsolate::Cancel { run }.put(&mut state.out);
        }
        unfinished
    }

    /// Answers every run that is left, now that the process has ended; returns those that another isolate can run.
    pub(crate) fn bury(&self, how: &str) -> Vec<Job> {
        self.accept_no_more();
        let mut state = self.state();
        state.ended = true;
        let is_killed = state.killed.is_some();
        let was_expected = is_killed || state.pending.is_empty();
        let (how, culprit) = match state.killed {
            Some(Killed { why, culprit }) => (why, culprit),
            None => (how, self.board.burst().map(|(run, _)| run)),
        };
        if !was_expected {
            metrics::counter!(crate::metrics::CRASHES_TOTAL).increment(1);
            let runs = state.pending.len();
            tracing::warn!(isolate.pid = self.process.pid(), runs, "an isolate {how}");
        }
        let runs: Vec<u32> = state.pending.keys().copied().collect();
        let mut moved = Vec::new();
        for run in runs {
            let Some(mut pending) = self.remove(&mut state, run) else {
                continue;
            };
            let is_unstarted = self.board.is_offered(pending.slot, run);
            let is_culprit = culprit == Some(run);
            if pending.job.is_answered() {
                continue;
            } else if let Some(outcome) = pending.outcome.take() {
                pending.job.answer(Reply::Outcome(outcome));
            } else if is_unstarted {
                moved.push(pending.job);
            } else if !(is_culprit && is_killed) && pending.job.may_begin_again(is_culprit) {
                moved.push(pending.job.rewound());
            } else {
                pending.abort_fetches();
                let is_job = matches!(pending.job.handler, Handler::Job(_));
                let why = explain(how, is_culprit || is_job, pending.calls);
                pending.job.answer(Reply::Crashed(why));
            }
        }
        moved
    }
}

/// A run may compute until its own hard deadline, whoever else waits; but an isolate that runs nobody's code must obey.
fn reason_to_kill(
    state: &State,
    burst: Option<(u32, u64)>,
    computing_ns: u64,
    now_ns: u64,
) -> Option<&'static str> {
    let is_overdue =
        |pending: &Pending| pending.cancelled && now_ns >= pending.job.hard_deadline_ns;
    match burst.map(|(run, _)| state.pending.get(&run)) {
        Some(Some(culprit)) => {
            is_overdue(culprit).then_some("was killed: a run did not stop at its deadline")
        }
        Some(None) if computing_ns > STRAY_BURST_NS => {
            Some("was killed: code that belongs to no request did not stop")
        }
        _ => {
            let disobeys = state.pending.values().any(is_overdue);
            disobeys.then_some("was killed: it did not give up a run")
        }
    }
}

/// `is_final`: it would not have been begun again in any case.
fn explain(how: &str, is_final: bool, calls: u32) -> String {
    let mut text = format!("the process that ran it {how}");
    if !is_final {
        text += &format!(
            "; it was not begun again because it had made {calls} calls by then, too many to be repeated safely"
        );
    }
    text
}
