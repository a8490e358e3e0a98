//! What an isolate says of its runs: their outcomes, their ends, their lines.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Child, MAX_WINDOW, Pending, State};
use crate::clock::now_ns;
use crate::frame::{Failure, FromIsolate, Level};
use crate::job::Reply;
use crate::logs;

/// An isolate serves so many jobs, one after the other, before a fresh one takes its place: what they leave behind
/// piles up, and a fork costs little against a thousand of them.
const MAX_RUNS_ALONE: u64 = 1000;

impl Child {
    /// Acts on a frame from the isolate.
    pub(crate) fn heard(self: &Arc<Self>, frame: FromIsolate) {
        match frame {
            FromIsolate::Done { run, json } => self.done(run, json),
            FromIsolate::End { run, heap_bytes } => self.end(run, heap_bytes),
            FromIsolate::Call { run, call, json } => self.call(run, call, json),
            FromIsolate::Log { run, level, text } => self.log(run, level, text),
            FromIsolate::Failed { run, why } => self.failed(run, why),
            FromIsolate::Poisoned { why } => {
                tracing::info!(
                    isolate.pid = self.process.pid(),
                    why,
                    "an isolate is replaced"
                );
                self.accept_no_more();
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

    fn end(&self, run: u32, heap_bytes: u64) {
        let mut state = self.state();
        let is_clean = (state.pending.get(&run))
            .is_some_and(|pending| self.leaves_nothing(&state, pending, heap_bytes));
        // Before it counts as empty, or another run would get it.
        if self.is_dedicated() && !is_clean {
            self.accept_no_more();
        }
        self.idle_since_ns.store(now_ns(), Ordering::Release);
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

    /// True if a run that had this isolate for itself leaves it as good as new for the next of its kind.
    fn leaves_nothing(&self, state: &State, pending: &Pending, heap_bytes: u64) -> bool {
        pending.job.leaves_isolate
            && pending.outcome.is_some()
            && !pending.cancelled
            && heap_bytes <= self.spare_heap_bytes
            && state.submitted < MAX_RUNS_ALONE
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
            pending.job.print(level, text);
            let (cause, handler) = (pending.job.cause.clone(), pending.job.handler.clone());
            drop(state);
            logs::run(&cause, &handler, level, text);
        }
    }
}
