//! One entry into JavaScript and all the jobs it leaves: whose it is, and when it must stop.

use std::cell::Cell;
use std::rc::Rc;

use crate::clock::now_ns;

/// A burst shorter than this holds nobody up.
const SHORT_NS: u64 = 1_000_000;

/// After this many short bursts in a row a handler is taken to be quick, and others' outcomes are not sent before its
/// next one but together with its own: one write for a batch is what makes short calls cheap.
const QUICK_AFTER: u8 = 3;

/// The burst that is going on, or the last one.
pub(crate) struct Burst {
    run: Cell<u32>,
    started_ns: Cell<u64>,
    limit_ns: Cell<u64>,
    is_interrupted: Cell<bool>,
}

/// How many short bursts in a row a handler has had, of those that matter. Shared by the runs of one handler.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quickness(Rc<Cell<u8>>);

impl Burst {
    pub(crate) fn new() -> Burst {
        Burst {
            run: Cell::new(0),
            started_ns: Cell::new(0),
            limit_ns: Cell::new(u64::MAX),
            is_interrupted: Cell::new(false),
        }
    }

    pub(crate) fn begin(&self, run: u32, now_ns: u64, limit_ns: u64) {
        self.run.set(run);
        self.started_ns.set(now_ns);
        self.limit_ns.set(limit_ns);
    }

    pub(crate) fn run(&self) -> u32 {
        self.run.get()
    }

    /// Notes an interrupt when the time is up; once noted it stays until it is taken.
    pub(crate) fn check_time(&self) -> bool {
        if now_ns() >= self.limit_ns.get() {
            self.is_interrupted.set(true);
        }
        self.is_interrupted.get()
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted.get()
    }

    pub(crate) fn take_interrupted(&self) -> bool {
        self.is_interrupted.take()
    }
}

impl Quickness {
    pub(crate) fn is_quick(&self) -> bool {
        self.0.get() >= QUICK_AFTER
    }

    /// Counts the burst that has just ended.
    pub(crate) fn count(&self, burst: &Burst) {
        let is_short = now_ns() - burst.started_ns.get() < SHORT_NS;
        self.0.set(if is_short {
            self.0.get().saturating_add(1)
        } else {
            0
        });
    }
}
