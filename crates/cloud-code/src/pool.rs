//! The isolates of one release: which one gets a run, how many there are, when one is replaced.
//!
//! ```text
//! dispatch ─▶ least busy isolate with room, else ─▶ waiting ─▶ the next place that becomes free
//! keeper   ─▶ every 20 ms while anything runs: deadlines, stuck isolates ─▶ forks what is missing
//! ```
//!
//! There are `isolates` that accept runs, whatever happens: one that must not get more runs is replaced at once and
//! ends when it is empty. When all of them are stuck in somebody's long computation more are forked, up to a limit, so
//! that nobody waits behind it.

mod queue;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::child::{Child, Services};
use crate::clock::{nanos, now_ns};
use crate::job::{Job, Reply};
use crate::zygote::Zygote;
use crate::{Config, Isolation, attend};

use queue::Queue;

/// How often deadlines are looked at; what they are late by at most.
const TICK: Duration = Duration::from_millis(20);

/// How many processes there may be for each isolate wanted: stuck ones, retired ones, those that took their place.
const PROCESSES_PER_ISOLATE: usize = 4;

/// When there may be no more processes and all of them compute, the one that has computed for longest is killed, but
/// not before this: what comes next has to wait so long.
const PATIENCE_NS: u64 = 5_000_000_000;

/// How many processes there may be that serve one run at a time: jobs, or all runs of [`Isolation::PerRun`].
const DEDICATED_PER_ISOLATE: usize = 64;

/// How long an isolate that has served a job waits for the next one.
const SPARE_NS: u64 = 1_000_000_000;

/// An isolate whose heap holds more than this part of its limit after a job is not given to another.
const SPARE_HEAP_DIVISOR: u64 = 4;

/// A fork that failed is tried again after this, then after twice this, and so on up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

pub(crate) struct Pool {
    zygote: Zygote,
    services: Arc<Services>,
    isolates: usize,
    capacity: usize,
    spare_heap_bytes: u64,
    state: Mutex<State>,
    waiting: AtomicUsize,
    keeper_sleeps: AtomicBool,
    keeper: Notify,
    /// No new runs.
    closing: AtomicBool,
    /// No processes.
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// From oldest to youngest.
    children: Vec<Arc<Child>>,
    queue: Queue,
    forking: bool,
    failed_forks: u32,
    fork_after_ns: u64,
}

impl Pool {
    pub(crate) fn new(config: &Config, zygote: Zygote, services: Services) -> Arc<Pool> {
        let per_run = config.isolation == Isolation::PerRun;
        Arc::new(Pool {
            zygote,
            services: Arc::new(services),
            isolates: config.isolates.max(1),
            capacity: if per_run {
                1
            } else {
                config.max_in_flight.max(1)
            },
            spare_heap_bytes: config.memory_limit_bytes / SPARE_HEAP_DIVISOR,
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            keeper_sleeps: AtomicBool::new(false),
            keeper: Notify::new(),
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Forks the first isolates and keeps their number until the pool is closed.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), crate::Error> {
        for _ in 0..self.isolates {
            self.fork().await?;
        }
        tokio::spawn(self.clone().keep());
        Ok(())
    }

    /// Gives a run to an isolate, now or as soon as one has room.
    pub(crate) fn dispatch(&self, mut job: Job) {
        if self.closing.load(Ordering::Acquire) {
            return job.answer(Reply::Crashed("this release is being closed".into()));
        }
        let mut state = self.state();
        if let Err(job) = place(&state.children, job) {
            state.queue.push(job);
            self.waiting.store(state.queue.len(), Ordering::Release);
        }
        drop(state);
        if self.keeper_sleeps.swap(false, Ordering::AcqRel) {
            self.keeper.notify_one();
        }
    }

    /// Places waiting runs, in order, as far as there is room.
    pub(crate) fn place_waiting(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.place_all(&mut self.state());
        }
    }

    fn place_all(&self, state: &mut State) {
        let State {
            children, queue, ..
        } = state;
        queue.drain_into(|job| place(children, job));
        self.waiting.store(queue.len(), Ordering::Release);
    }

    /// Takes note that a process has ended; `moved` are runs of its that can be run elsewhere.
    pub(crate) fn buried(&self, child: &Arc<Child>, moved: Vec<Job>) {
        let mut state = self.state();
        state.children.retain(|other| !Arc::ptr_eq(other, child));
        if child.is_stillborn() {
            state.back_off();
        } else {
            state.failed_forks = 0;
        }
        self.requeue(&mut state, moved);
        drop(state);
        self.keeper.notify_one();
    }

    fn requeue(&self, state: &mut State, moved: Vec<Job>) {
        metrics::counter!(crate::metrics::MOVED_TOTAL).increment(moved.len() as u64);
        moved.into_iter().for_each(|job| state.queue.push(job));
        self.place_all(state);
    }

    async fn keep(self: Arc<Self>) {
        while !self.closed.load(Ordering::Acquire) {
            self.tick();
            self.refill();
            self.keeper_sleeps.store(true, Ordering::Release);
            if self.is_busy() {
                let _ = tokio::time::timeout(TICK, self.keeper.notified()).await;
            } else {
                self.keeper.notified().await;
            }
        }
    }

    /// True while any run is open, or there are more or less isolates than wanted.
    fn is_busy(&self) -> bool {
        let state = self.state();
        let has_spare = || state.children.iter().any(|child| child.is_spare());
        state.has_runs() || state.accepting() != self.isolates || has_spare()
    }

    fn tick(&self) {
        let now = now_ns();
        let children = self.state().children.clone();
        let moved = children.iter().flat_map(|child| child.tick(now)).collect();
        let mut state = self.state();
        self.requeue(&mut state, moved);
        let expired = state.queue.take(|job| now >= job.soft_deadline_ns);
        let killed = state.queue.take(|job| job.is_to_be_killed());
        self.waiting.store(state.queue.len(), Ordering::Release);
        self.trim(&state, now);
        drop(state);
        expired
            .into_iter()
            .for_each(|mut job| job.answer(Reply::TimedOut));
        killed
            .into_iter()
            .for_each(|mut job| job.answer(Reply::Killed));
    }

    /// Ends idle isolates that were forked beyond the number wanted, that have waited long for a job, or that are
    /// retired and empty.
    fn trim(&self, state: &State, now_ns: u64) {
        let mut surplus = state.accepting().saturating_sub(self.isolates);
        for child in state.children.iter().rev() {
            let is_wanted = if child.is_spare() {
                now_ns.saturating_sub(child.idle_since_ns()) < SPARE_NS
            } else {
                child.is_accepting() && surplus == 0
            };
            if child.is_empty() && !is_wanted {
                surplus -= usize::from(child.is_accepting());
                child.retire();
            }
        }
    }

    /// Forks, in a task of its own, until there are as many isolates as needed.
    fn refill(self: &Arc<Self>) {
        let mut state = self.state();
        if state.forking || !self.lacks_isolate(&state) {
            return;
        }
        state.forking = true;
        drop(state);
        let pool = self.clone();
        tokio::spawn(async move {
            while !pool.closed.load(Ordering::Acquire) && pool.lacks_isolate(&pool.state()) {
                let forked = pool.fork().await;
                let Err(error) = forked else { continue };
                let backoff = pool.state().back_off();
                tracing::error!(error = %error, "an isolate cannot be made; trying again in {backoff:?}");
                break;
            }
            pool.state().forking = false;
        });
    }

    /// True when an isolate should be forked and may be.
    fn lacks_isolate(&self, state: &State) -> bool {
        if now_ns() < state.fork_after_ns {
            return false;
        }
        let accepting = state.accepting();
        let mut usable = state
            .children
            .iter()
            .filter(|child| child.is_accepting() && !child.is_stuck());
        let lacking = if accepting < self.isolates {
            true
        } else if state.queue.has_exclusive() {
            let mut children = state.children.iter();
            !children.any(|child| child.can_be_had_alone() && !child.is_stuck())
        } else {
            state.queue.has_shared() && usable.next().is_none()
        };
        lacking && self.has_room_for_another(state, accepting)
    }

    fn has_room_for_another(&self, state: &State, accepting: usize) -> bool {
        let dedicated = state
            .children
            .iter()
            .filter(|child| child.is_dedicated())
            .count();
        let shared = state.children.len() - dedicated;
        let room = shared < self.isolates * PROCESSES_PER_ISOLATE
            && dedicated < self.isolates * DEDICATED_PER_ISOLATE;
        if !room && accepting == 0 {
            let now = now_ns();
            let hogs = state.children.iter().filter(|child| !child.is_dedicated());
            if let Some(hog) = hogs.max_by_key(|child| child.computing_ns(now))
                && hog.computing_ns(now) > PATIENCE_NS
            {
                hog.kill("was killed: it computed for long, and no other isolate was free");
            }
        }
        room
    }

    async fn fork(self: &Arc<Self>) -> Result<(), crate::Error> {
        let forked = self.zygote.fork().await?;
        metrics::counter!(crate::metrics::FORKS_TOTAL).increment(1);
        let child = Child::new(
            forked.process,
            forked.board,
            self.services.clone(),
            self.capacity,
            self.spare_heap_bytes,
        );
        let child = Arc::new(child);
        let mut state = self.state();
        if self.closed.load(Ordering::Acquire) {
            return Ok(()); // Dropping the child kills it.
        }
        state.children.push(child.clone());
        self.place_all(&mut state);
        drop(state);
        tokio::spawn(attend::attend(child, forked.socket, self.clone()));
        Ok(())
    }

    /// Takes no new runs, waits for the open ones (their deadlines bound that), and ends every process.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        while self.state().has_runs() {
            tokio::time::sleep(TICK).await;
        }
        self.kill_all();
        self.zygote.end().await;
        while !self.state().children.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends every process now; open runs are answered as crashed.
    pub(crate) fn kill_all(&self) {
        self.closing.store(true, Ordering::Release);
        self.closed.store(true, Ordering::Release);
        let mut state = self.state();
        state
            .children
            .iter()
            .for_each(|child| child.kill("was killed: its release was closed"));
        for mut job in state.queue.take(|_| true) {
            job.answer(Reply::Crashed("its release was closed".into()));
        }
        self.keeper.notify_one();
    }

    pub(crate) async fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self.zygote.pid().await.into_iter().collect();
        pids.extend(
            self.state()
                .children
                .iter()
                .map(|child| child.process.pid()),
        );
        pids
    }
}

impl State {
    fn has_runs(&self) -> bool {
        self.queue.len() > 0 || self.children.iter().any(|child| !child.is_empty())
    }

    /// Has the next fork wait, longer each time in a row.
    fn back_off(&mut self) -> Duration {
        let backoff = MIN_BACKOFF
            .saturating_mul(1 << self.failed_forks.min(8))
            .min(MAX_BACKOFF);
        self.failed_forks += 1;
        self.fork_after_ns = now_ns() + nanos(backoff);
        backoff
    }

    fn accepting(&self) -> usize {
        self.children
            .iter()
            .filter(|child| child.is_accepting())
            .count()
    }
}

/// Gives the run to the least busy isolate that can take it, or gives it back. A run that wants to be alone gets one
/// that others like it have had before, if there is one.
fn place(children: &[Arc<Child>], mut job: Job) -> Result<(), Job> {
    let now = now_ns();
    let mut refused: Option<&Arc<Child>> = None;
    loop {
        let is_open = |child: &Arc<Child>| {
            if job.exclusive {
                child.can_be_had_alone()
            } else {
                child.is_accepting()
            }
        };
        let candidates = (children.iter()).filter(|child| is_open(child) && !child.is_stuck());
        // From the least busy to the most: after a refusal only those that come later in that order.
        let order = |child: &Arc<Child>| (!child.is_dedicated(), child.load(), child.process.pid());
        let rest =
            candidates.filter(|child| refused.is_none_or(|refused| order(child) > order(refused)));
        let Some(child) = rest.min_by_key(|child| order(child)) else {
            return Err(job);
        };
        match child.submit(job, now) {
            Ok(()) => return Ok(()),
            Err(given_back) => job = given_back, // It was retired in between, or is full.
        }
        refused = Some(child);
    }
}
