//! The isolate's loop: one entry into JavaScript, all the jobs it leaves, then the next entry.
//!
//! ```text
//! read ─▶ frame ─▶ burst( run │ answer │ cancel │ abort ) ─▶ jobs ─▶ settle ─▶ … ─▶ timers ─▶ one write ─▶ wait
//! ```
//!
//! A *burst* belongs to one run. That is what makes an interrupt, a lack of memory or a kill from outside the fault of
//! that run and of no other. After any of these the engine is in a state nobody tests, so the isolate is *poisoned*:
//! it finishes what it has open, within tight limits, and is thrown away.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use rquickjs::{Atom, Context, Ctx, Function, IntoAtom, JsLifetime, Null, Object, Persistent};

use crate::board::Board;
use crate::clock::now_ns;
use crate::frame::{Failure, Level, Reader, ToIsolate};

use super::engine::{self, Thrown};
use super::memory;
use super::state::{State, threw};

/// Outcomes wait at most this long for the rest of their batch.
const FLUSH_EVERY_NS: u64 = 1_000_000;

/// How long the jobs of an interrupted run may go on.
const LEFTOVERS_NS: u64 = 20_000_000;

/// The answer to a host call that no run may make.
const REFUSED_CALL: &str = r#"{"code":1,"message":"this call belongs to no open request: it was made while the code was loading or after its request ended","name":"Error"}"#;

/// The functions of `__runtime`, as they were before any user code ran.
#[derive(Clone)]
pub(crate) struct Entries<'js> {
    run: Function<'js>,
    answer: Function<'js>,
    fire_timer: Function<'js>,
    cancel: Function<'js>,
    abort: Function<'js>,
    manifest: Function<'js>,
    /// Where the runtime keeps whose code it is in; null between jobs.
    scope: Option<(Object<'js>, Atom<'js>)>,
}

// SAFETY: the type has the lifetime `'js` and no other, and `Changed` is the same type with that lifetime changed.
unsafe impl<'js> JsLifetime<'js> for Entries<'js> {
    type Changed<'to> = Entries<'to>;
}

impl<'js> Entries<'js> {
    pub(crate) fn find(ctx: &Ctx<'js>) -> Result<Self, Thrown> {
        let find = || {
            let runtime: Object = ctx.globals().get("__runtime")?;
            let scope: Option<Object> = runtime.get("scope")?;
            let scope =
                scope.map(|scope| Ok::<_, rquickjs::Error>((scope, "current".into_atom(ctx)?)));
            Ok(Entries {
                run: runtime.get("run")?,
                answer: runtime.get("answer")?,
                fire_timer: runtime.get("fireTimer")?,
                cancel: runtime.get("cancel")?,
                abort: runtime.get("abort")?,
                manifest: runtime.get("manifest")?,
                scope: scope.transpose()?,
            })
        };
        find().map_err(|_: rquickjs::Error| engine::caught(ctx))
    }

    pub(crate) fn manifest(&self, ctx: &Ctx<'js>) -> Result<String, Thrown> {
        self.manifest.call(()).map_err(|_| engine::caught(ctx))
    }

    /// Runs pending jobs until none is left or the burst must stop.
    pub(crate) fn run_jobs(&self, ctx: &Ctx<'js>, state: &State) {
        for job in 1_u32.. {
            if let Some((scope, current)) = &self.scope {
                let _ = scope.set(current.clone(), Null);
            }
            // Short jobs for ever would never reach the engine's own interrupt check.
            if state.burst.is_interrupted()
                || job.is_multiple_of(64) && state.must_stop()
                || !ctx.execute_pending_job()
            {
                return;
            }
        }
    }

    /// Answers the calls that no run may make; true if there were any.
    pub(crate) fn answer_refused(&self, ctx: &Ctx<'js>, state: &State) -> bool {
        let refused = state.take_refused();
        for call in &refused {
            if self
                .answer
                .call::<_, ()>((*call, false, REFUSED_CALL))
                .is_err()
            {
                engine::caught(ctx);
            }
            self.run_jobs(ctx, state);
        }
        !refused.is_empty()
    }

    /// Fires one timer that fell due before `now_ns`, without its jobs being anybody's burst.
    pub(crate) fn fire_due(&self, ctx: &Ctx<'js>, state: &State, now_ns: u64) -> Option<()> {
        let timer = state.take_due_timer(now_ns)?;
        if self.fire_timer.call::<_, ()>((timer.id,)).is_err() {
            let thrown = engine::caught(ctx);
            state.log(timer.run, Level::Error, &uncaught(&thrown));
        }
        self.run_jobs(ctx, state);
        Some(())
    }
}

/// Serves runs until the server closes the socket.
pub(crate) fn serve(
    context: &Context,
    entries: Persistent<Entries<'static>>,
    state: &State,
    board: &Board,
    socket: RawFd,
) -> io::Result<()> {
    context.with(|ctx| {
        let entries = entries.restore(&ctx).map_err(io::Error::other)?;
        Isolate {
            ctx,
            entries,
            state,
            board,
            after_gc_bytes: Cell::new(0),
        }
        .serve(socket)
    })
}

struct Isolate<'a, 'js> {
    ctx: Ctx<'js>,
    entries: Entries<'js>,
    state: &'a State,
    board: &'a Board,
    /// What JavaScript held after the last collection that this loop asked for.
    after_gc_bytes: Cell<usize>,
}

impl Isolate<'_, '_> {
    fn serve(&self, socket: RawFd) -> io::Result<()> {
        let mut reader = Reader::default();
        loop {
            let mut flushed = now_ns();
            while let Some(frame) = reader.next()? {
                self.handle(ToIsolate::decode(frame)?);
                if now_ns() - flushed > FLUSH_EVERY_NS {
                    self.state.output.flush();
                    flushed = now_ns();
                }
            }
            self.fire_timers();
            self.state.output.flush();
            if let Some(due) = self.state.next_due_ns() {
                let wait = Duration::from_nanos(due.saturating_sub(now_ns()));
                if !super::socket::wait_readable(socket, wait)? {
                    continue;
                }
            }
            match super::socket::read(socket, reader.space())? {
                0 => return Ok(()),
                bytes => reader.filled(bytes),
            }
        }
    }

    fn handle(&self, frame: ToIsolate) {
        match frame {
            ToIsolate::Run {
                run,
                slot,
                soft_deadline_ns,
                handler,
                request,
            } => {
                if !self.board.claim(slot, run) {
                    return; // The server gave it to another isolate.
                }
                self.state.open_run(run, handler, soft_deadline_ns);
                let entered = |thrown: &Thrown| {
                    let stack = thrown.stack.as_deref();
                    self.state.done(run, &threw(141, &thrown.message, stack));
                };
                self.burst(
                    run,
                    || self.entries.run.call((run, handler, request)),
                    entered,
                );
            }
            ToIsolate::Answer { call, ok, json } => {
                let Some(run) = self.state.answered(call) else {
                    return;
                };
                self.burst(
                    run,
                    || self.entries.answer.call((call, ok, json)),
                    |thrown| self.log_uncaught(run, thrown),
                );
            }
            ToIsolate::Cancel { run } => {
                let cancel = || self.entries.cancel.call((run,));
                self.burst(run, cancel, |thrown| self.log_uncaught(run, thrown));
                self.state.cancel(run);
            }
            ToIsolate::Abort { run } => {
                let abort = || self.entries.abort.call((run,));
                self.burst(run, abort, |thrown| self.log_uncaught(run, thrown));
            }
        }
    }

    fn fire_timers(&self) {
        let now = now_ns();
        while let Some(timer) = self.state.take_due_timer(now) {
            let fire = || self.entries.fire_timer.call((timer.id,));
            self.burst(timer.run, fire, |thrown| {
                self.log_uncaught(timer.run, thrown)
            });
        }
    }

    /// Enters JavaScript once on behalf of `run`, and runs all that follows from it.
    fn burst(
        &self,
        run: u32,
        enter: impl FnOnce() -> rquickjs::Result<()>,
        escaped: impl FnOnce(&Thrown),
    ) {
        let now = self.state.begin_burst(run, None);
        self.board.begin_burst(run, now);
        if enter().is_err() {
            let thrown = engine::caught(&self.ctx);
            if !self.state.burst.is_interrupted() {
                escaped(&thrown);
            }
        }
        self.entries.run_jobs(&self.ctx, self.state);
        self.entries.answer_refused(&self.ctx, self.state);
        log_rejections(&self.ctx, self.state);
        self.state.end_burst();
        self.settle(run);
        self.board.end_burst();
    }

    fn settle(&self, run: u32) {
        if self.state.burst.take_interrupted() {
            self.state.fail(run, Failure::Interrupted);
            self.state.poison("a run computed past its deadline");
            self.drain_leftovers(run);
        }
        if memory::take_refused() {
            self.state.poison("the memory limit was reached");
            if self.state.is_stranded(run) {
                self.state.fail(run, Failure::OutOfMemory);
            }
            self.ctx.run_gc();
        }
        for ended in self.state.settle() {
            if self.entries.cancel.call::<_, ()>((ended,)).is_err() {
                engine::caught(&self.ctx);
            }
            self.entries.run_jobs(&self.ctx, self.state);
        }
        self.collect_garbage();
    }

    /// Runs the jobs that an interrupted run left, on its own account. If these do not end either, no neighbour can be
    /// finished in here: the process ends, while the board still says whose fault it is.
    fn drain_leftovers(&self, run: u32) {
        self.state.begin_burst(run, Some(now_ns() + LEFTOVERS_NS));
        self.entries.run_jobs(&self.ctx, self.state);
        if self.state.burst.take_interrupted() {
            self.state.output.flush();
            std::process::exit(3);
        }
    }

    /// QuickJS collects cycles when the heap has grown by half, which a limit may never let it.
    fn collect_garbage(&self) {
        let (used, limit) = (memory::used(), memory::limit());
        if used > limit / 2 && used > self.after_gc_bytes.get() + limit / 16 {
            self.ctx.run_gc();
            self.after_gc_bytes.set(memory::used());
        }
    }

    fn log_uncaught(&self, run: u32, thrown: &Thrown) {
        self.state.log(run, Level::Error, &uncaught(thrown));
    }
}

fn uncaught(thrown: &Thrown) -> String {
    format!(
        "uncaught {}\n{}",
        thrown.message,
        thrown.stack.as_deref().unwrap_or_default()
    )
}

/// Logs the promises that were rejected in this burst and that nobody handled.
pub(crate) fn log_rejections(ctx: &Ctx, state: &State) {
    for reason in state.take_rejections() {
        let Ok(reason) = reason.restore(ctx) else {
            continue;
        };
        let thrown = engine::thrown(&reason);
        let stack = thrown.stack.unwrap_or_default();
        let text = format!("unhandled promise rejection: {}\n{stack}", thrown.message);
        state.log(state.burst.run(), Level::Error, &text);
    }
}
