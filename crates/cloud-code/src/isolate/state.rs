//! What an isolate knows beside its JavaScript heap: open runs, their calls and timers, and the frames to be sent.
//!
//! Native functions and the serving loop share it; both run on the one thread of the process.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;

use rquickjs::{Ctx, Persistent, Value};

use crate::clock::now_ns;
use crate::frame::{Failure, FromIsolate, FromZygote, Level};

use super::burst::{Burst, Quickness};
use super::memory;
use super::output::Output;
use super::random::Random;
use super::timers::{Timer, Timers};

/// A longer line of console output is cut. Long enough for a stack trace, short enough for any log collector.
pub(crate) const MAX_LOG_LINE_BYTES: usize = 8 * 1024;

/// What one run may print; past it one warning is printed and the rest dropped.
const MAX_LOG_BYTES_PER_RUN: usize = 1024 * 1024;

/// How long a module's own timer may compute.
const MODULE_BURST_NS: u64 = 1_000_000_000;

pub(crate) struct State {
    pub(crate) output: Output,
    max_output_bytes: usize,
    pub(crate) random: Random,
    pub(crate) loading: Cell<bool>,
    runs: RefCell<HashMap<u32, OpenRun>>,
    /// By handler, as the server names it.
    quickness: RefCell<HashMap<String, Quickness>>,
    /// Whose each unanswered host call is.
    calls: RefCell<HashMap<u32, u32>>,
    /// Calls that this process answers itself, because no run may make them.
    refused: RefCell<Vec<u32>>,
    timers: RefCell<Timers>,
    /// Runs that may have ended in this burst.
    touched: RefCell<Vec<u32>>,
    module_log_bytes: Cell<usize>,
    pub(crate) burst: Burst,
    poisoned: Cell<bool>,
    /// Promises that were rejected in this burst and that nobody handled yet, with their reasons.
    rejections: RefCell<Vec<(Kept, Kept)>>,
}

/// A JavaScript value kept beyond the call that showed it.
type Kept = Persistent<Value<'static>>;

#[derive(Debug, Default)]
struct OpenRun {
    soft_deadline_ns: u64,
    quickness: Quickness,
    done: bool,
    /// Unanswered calls, and timers that keep it open.
    open: u32,
    /// It has set timers that do not.
    background_timers: bool,
    log_bytes: usize,
}

impl State {
    pub(crate) fn new(socket: RawFd, max_output_bytes: usize) -> io::Result<State> {
        Ok(State {
            output: Output::new(socket),
            max_output_bytes,
            random: Random::new()?,
            loading: Cell::new(true),
            runs: RefCell::default(),
            quickness: RefCell::default(),
            calls: RefCell::default(),
            refused: RefCell::default(),
            timers: RefCell::default(),
            touched: RefCell::default(),
            module_log_bytes: Cell::new(0),
            burst: Burst::new(),
            poisoned: Cell::new(false),
            rejections: RefCell::default(),
        })
    }

    /// From now on this process serves runs over `socket`.
    pub(crate) fn begin_serving(&self, socket: RawFd) -> io::Result<()> {
        self.output.redirect(socket);
        self.loading.set(false);
        self.random.reseed()
    }

    // Bursts.

    /// Sets who runs now and until when; `limit_ns` is for loading, which is nobody's run. Returns the time.
    pub(crate) fn begin_burst(&self, run: u32, limit_ns: Option<u64>) -> u64 {
        let runs = self.runs.borrow();
        let open = runs.get(&run);
        let deadline_ns = open.map(|open| open.soft_deadline_ns);
        let is_quick = open.is_some_and(|open| open.quickness.is_quick());
        drop(runs);
        // What others have finished must not wait for the end of a burst that may be long.
        if !is_quick {
            self.output.flush();
        }
        let now = now_ns();
        let limit_ns = limit_ns.or(deadline_ns).unwrap_or(now + MODULE_BURST_NS);
        self.burst.begin(run, now, limit_ns);
        now
    }

    /// Remembers how long this handler's burst took.
    pub(crate) fn end_burst(&self) {
        if let Some(open) = self.runs.borrow().get(&self.burst.run()) {
            open.quickness.count(&self.burst);
        }
    }

    /// The interrupt handler: true stops JavaScript with an error it cannot catch.
    pub(crate) fn must_stop(&self) -> bool {
        self.output.flush(); // A burst that gets here is no short one.
        self.burst.check_time()
    }

    /// Tells the server, once, that this isolate must get no new runs.
    pub(crate) fn poison(&self, why: &str) {
        if !self.poisoned.replace(true) {
            self.output
                .put(|out| FromIsolate::Poisoned { why }.put(out));
        }
    }

    // Runs.

    pub(crate) fn open_run(&self, run: u32, handler: &str, soft_deadline_ns: u64) {
        let mut known = self.quickness.borrow_mut();
        let quickness = match known.get(handler) {
            Some(quickness) => quickness.clone(),
            None => known.entry(handler.to_owned()).or_default().clone(),
        };
        self.runs.borrow_mut().insert(
            run,
            OpenRun {
                soft_deadline_ns,
                quickness,
                ..OpenRun::default()
            },
        );
    }

    /// The handler's outcome; only the first counts, and only of an open run.
    pub(crate) fn done(&self, run: u32, outcome: &str) {
        let mut runs = self.runs.borrow_mut();
        let Some(open) = runs.get_mut(&run).filter(|open| !open.done) else {
            return;
        };
        open.done = true;
        drop(runs);
        self.touched.borrow_mut().push(run);
        if outcome.len() <= self.max_output_bytes {
            return self
                .output
                .put(|out| FromIsolate::Done { run, json: outcome }.put(out));
        }
        let message = format!(
            "The result is too large: {} bytes of at most {}.",
            outcome.len(),
            self.max_output_bytes
        );
        self.output.put(|out| {
            FromIsolate::Done {
                run,
                json: &threw(141, &message, None),
            }
            .put(out)
        });
    }

    /// Ends every run whose outcome is known and that has no call and no timer left. Returns those of them that left
    /// timers which did not keep them open, and which JavaScript must forget.
    pub(crate) fn settle(&self) -> Vec<u32> {
        let touched = self.touched.take();
        let mut with_timers = Vec::new();
        for run in touched {
            let mut runs = self.runs.borrow_mut();
            let Some(open) = runs.get(&run).filter(|open| open.done && open.open == 0) else {
                continue;
            };
            if open.background_timers {
                with_timers.push(run);
                self.timers.borrow_mut().clear_run(run);
            }
            runs.remove(&run);
            self.put_end(run);
        }
        with_timers
    }

    /// True when nothing is left that could give this run an outcome.
    pub(crate) fn is_stranded(&self, run: u32) -> bool {
        self.runs
            .borrow()
            .get(&run)
            .is_some_and(|open| !open.done && open.open == 0)
    }

    /// Drops a run that this process stopped, and says why.
    pub(crate) fn fail(&self, run: u32, why: Failure) {
        if self.forget(run) {
            self.output
                .put(|out| FromIsolate::Failed { run, why }.put(out));
            self.put_end(run);
        }
    }

    /// Drops a run that the server no longer wants.
    pub(crate) fn cancel(&self, run: u32) {
        self.forget(run);
        self.put_end(run);
    }

    fn put_end(&self, run: u32) {
        let heap_bytes = memory::used() as u64;
        let end = FromIsolate::End { run, heap_bytes };
        self.output.put(|out| end.put(out));
    }

    fn forget(&self, run: u32) -> bool {
        self.timers.borrow_mut().clear_run(run);
        self.calls.borrow_mut().retain(|_, caller| *caller != run);
        self.runs.borrow_mut().remove(&run).is_some()
    }

    // Host calls.

    /// Sends a host call, or marks it to be refused.
    pub(crate) fn call(&self, run: u32, call: u32, json: &str) -> Result<(), String> {
        if json.len() > self.max_output_bytes {
            return Err(format!(
                "the call is too large: {} bytes of at most {}",
                json.len(),
                self.max_output_bytes
            ));
        }
        let mut runs = self.runs.borrow_mut();
        let Some(open) = runs.get_mut(&run) else {
            self.refused.borrow_mut().push(call);
            return Ok(());
        };
        open.open += 1;
        drop(runs);
        self.calls.borrow_mut().insert(call, run);
        self.output
            .put(|out| FromIsolate::Call { run, call, json }.put(out));
        Ok(())
    }

    /// Whose call this is, if it still waits for its answer; it does no longer.
    pub(crate) fn answered(&self, call: u32) -> Option<u32> {
        let run = self.calls.borrow_mut().remove(&call)?;
        self.close_one(run);
        Some(run)
    }

    pub(crate) fn take_refused(&self) -> Vec<u32> {
        self.refused.take()
    }

    // Timers.

    /// Sets a timer of an open run, or of the module; others are passed over.
    pub(crate) fn set_timer(&self, timer: Timer, delay_ms: f64) {
        if timer.run != 0 && !self.open_one(timer) {
            return;
        }
        let replaced = self.timers.borrow_mut().set(timer, delay_ms, now_ns());
        self.is_gone(replaced);
    }

    pub(crate) fn clear_timer(&self, id: u32) {
        let cleared = self.timers.borrow_mut().clear(id);
        self.is_gone(cleared);
    }

    pub(crate) fn take_due_timer(&self, now_ns: u64) -> Option<Timer> {
        let timer = self.timers.borrow_mut().take_due(now_ns);
        self.is_gone(timer);
        timer
    }

    fn is_gone(&self, timer: Option<Timer>) {
        if let Some(Timer {
            run,
            keeps_open: true,
            ..
        }) = timer
        {
            self.close_one(run);
        }
    }

    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.timers.borrow().next_due_ns()
    }

    fn open_one(&self, timer: Timer) -> bool {
        let mut runs = self.runs.borrow_mut();
        let Some(open) = runs.get_mut(&timer.run) else {
            return false;
        };
        open.open += u32::from(timer.keeps_open);
        open.background_timers |= !timer.keeps_open;
        true
    }

    fn close_one(&self, run: u32) {
        if let Some(open) = self.runs.borrow_mut().get_mut(&run) {
            open.open = open.open.saturating_sub(1);
            self.touched.borrow_mut().push(run);
        }
    }

    // Unhandled rejections.

    /// The engine's rejection tracker: called when a promise is rejected unhandled, and again if it is handled later.
    pub(crate) fn track_rejection<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Value<'js>,
        reason: Value<'js>,
        handled: bool,
    ) {
        let promise = Persistent::save(ctx, promise);
        let mut rejections = self.rejections.borrow_mut();
        if handled {
            rejections.retain(|(rejected, _)| *rejected != promise);
        } else {
            rejections.push((promise, Persistent::save(ctx, reason)));
        }
    }

    pub(crate) fn take_rejections(&self) -> Vec<Kept> {
        let rejections = self.rejections.take().into_iter();
        rejections.map(|(_, reason)| reason).collect()
    }

    // Output.

    /// Console output of `run`, within its budget; run 0 is the module's own.
    pub(crate) fn log(&self, run: u32, level: Level, text: &str) {
        let text = &text[..text.floor_char_boundary(MAX_LOG_LINE_BYTES)];
        let (before, is_quick) = self.count_log(run, text.len());
        if before > MAX_LOG_BYTES_PER_RUN {
            return;
        }
        self.put_log(run, level, text);
        // What a handler says must not die with it: only of one that has always been short does it wait for a batch.
        if !is_quick {
            self.output.flush();
        }
        if before + text.len() > MAX_LOG_BYTES_PER_RUN {
            self.put_log(
                run,
                Level::Warn,
                "more than 1 MiB of output: the rest of this run's output is dropped",
            );
        }
    }

    /// How much was printed before, and whether the handler is a quick one.
    fn count_log(&self, run: u32, bytes: usize) -> (usize, bool) {
        match self.runs.borrow_mut().get_mut(&run) {
            Some(open) => {
                open.log_bytes += bytes;
                (open.log_bytes - bytes, open.quickness.is_quick())
            }
            None => {
                let before = self.module_log_bytes.get();
                (self.module_log_bytes.replace(before + bytes), true)
            }
        }
    }

    fn put_log(&self, run: u32, level: Level, text: &str) {
        if self.loading.get() {
            self.output
                .put(|out| FromZygote::Log { level, text }.put(out));
        } else {
            self.output
                .put(|out| FromIsolate::Log { run, level, text }.put(out));
        }
    }
}

/// The JSON of an outcome that this process gives in the handler's place.
pub(crate) fn threw(code: u16, message: &str, stack: Option<&str>) -> String {
    serde_json::json!({"threw": {"code": code, "message": message, "stack": stack, "isParseError": false}}).to_string()
}
