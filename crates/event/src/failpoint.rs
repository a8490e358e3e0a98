//! Named places between two durable effects, where a test can kill the process.
//!
//! Only in builds with debug assertions, which is what the tests run; in a release build a place is nothing.

/// The transaction was read from the WAL; the log does not have it.
pub const CAPTURE_READ: &str = "capture-read";
/// The events are in the log; Postgres does not know it.
pub const CAPTURE_APPENDED: &str = "capture-appended";
/// The position is confirmed.
pub const CAPTURE_CONFIRMED: &str = "capture-confirmed";
/// The events were read from the log; the queue does not have their deliveries.
pub const DISPATCH_READ: &str = "dispatch-read";
/// The deliveries are in the queue; the offset does not say so.
pub const DISPATCH_QUEUED: &str = "dispatch-queued";
/// Deliveries are recorded as held; the queue does not have those that go with them.
pub const DISPATCH_HELD: &str = "dispatch-held";
/// Held deliveries stand in the log again; dispatch has not read them.
pub const DISPATCH_RESUMED: &str = "dispatch-resumed";
/// The offset is committed.
pub const DISPATCH_RECORDED: &str = "dispatch-recorded";
/// A generation of the queue is recorded; Redis does not have it.
pub const DISPATCH_GENERATION_RECORDED: &str = "dispatch-generation-recorded";
/// A delivery was taken from the queue; its handler has not run.
pub const WORKER_TAKEN: &str = "worker-taken";
/// The handler has run; its outcome is not recorded.
pub const WORKER_RAN: &str = "worker-ran";
/// The outcome is recorded; the delivery is not acknowledged.
pub const WORKER_RECORDED: &str = "worker-recorded";

/// A delivery is about to be run. Armed with a value instead of a number: kills whenever one of the changed object's key
/// is it. Not in [`ALL`]: it is no boundary, but an event that kills its worker.
pub const WORKER_POISON: &str = "worker-poison";

/// A handler's write and its effect are committed; the handler does not know. Not in [`ALL`]: not every handler writes.
pub const WORKER_WROTE: &str = "worker-wrote";

/// A sink's target has the events; the sink's cursor does not say so. Not in [`ALL`]: only a process with sinks passes.
pub const SINK_PUBLISHED: &str = "sink-published";

/// A resync has made its slot; nothing of what was missed is in the log. Not in [`ALL`]: a command passes, not a server.
pub const RESYNC_SLOT_CREATED: &str = "resync-slot-created";
/// Some of what was missed is in the log; the gap is still open. Not in [`ALL`].
pub const RESYNC_APPENDED: &str = "resync-appended";

/// A run is in the job log; who asked for it has no answer.
pub const JOB_ASKED: &str = "job-asked";
/// A run is claimed; its handler has not begun.
pub const JOB_CLAIMED: &str = "job-claimed";
/// The handler has run; its end is not recorded.
pub const JOB_RAN: &str = "job-ran";
/// The end of an attempt is recorded; the worker has not heard of it.
pub const JOB_FINISHED: &str = "job-finished";

/// A step's result is recorded; the handler does not know. Not in [`JOBS`], as the next: not every job has steps.
pub const JOB_STEPPED: &str = "job-stepped";
/// A run sleeps; its worker has not heard of it.
pub const JOB_SUSPENDED: &str = "job-suspended";
/// A job is about to run. Armed with a value: kills whenever the job's name is it. Not in [`JOBS`].
pub const JOB_POISON: &str = "job-poison";

/// Every place that each run of a job passes, besides those of the scheduler.
pub const JOBS: [&str; 4] = [JOB_ASKED, JOB_CLAIMED, JOB_RAN, JOB_FINISHED];

/// It is decided which schedules fire; the job log does not know.
pub const SCHEDULER_DUE: &str = "scheduler-due";
/// Fires, their runs and the next due times are in the job log; nobody was told.
pub const SCHEDULER_FIRED: &str = "scheduler-fired";
/// Runs count as queued; the queue does not have them.
pub const SCHEDULER_PROMOTED: &str = "scheduler-promoted";
/// The queue has the ids of runs.
pub const SCHEDULER_QUEUED: &str = "scheduler-queued";

/// Every place that a leading scheduler passes.
pub const SCHEDULER: [&str; 4] = [
    SCHEDULER_DUE,
    SCHEDULER_FIRED,
    SCHEDULER_PROMOTED,
    SCHEDULER_QUEUED,
];

/// Every place that each event passes, in the order of its way.
pub const ALL: [&str; 10] = [
    CAPTURE_READ,
    CAPTURE_APPENDED,
    CAPTURE_CONFIRMED,
    DISPATCH_READ,
    DISPATCH_QUEUED,
    DISPATCH_RECORDED,
    DISPATCH_GENERATION_RECORDED,
    WORKER_TAKEN,
    WORKER_RAN,
    WORKER_RECORDED,
];

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<(String, AtomicU32)> = OnceLock::new();
    static ARMED_ON: OnceLock<(String, String)> = OnceLock::new();

    /// Ends this process without a word whenever this value passes through the place.
    pub fn arm_on(place: &str, value: &str) {
        let _ = ARMED_ON.set((place.to_owned(), value.to_owned()));
    }

    /// As [`pass`], with what passes.
    pub fn pass_with<'a>(place: &str, values: impl IntoIterator<Item = &'a str>) {
        if let Some((armed, value)) = ARMED_ON.get()
            && armed == place
            && values.into_iter().any(|passing| passing == value)
        {
            std::process::abort();
        }
    }

    /// Ends this process without a word at the `nth` passage (from 1) through the place.
    pub fn arm(place: &str, nth: u32) {
        let _ = ARMED.set((place.to_owned(), AtomicU32::new(nth)));
    }

    pub fn pass(place: &str) {
        let Some((armed, left)) = ARMED.get() else {
            return;
        };
        if armed == place && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // As kill -9 would: no destructor, no flush, no goodbye.
            std::process::abort();
        }
    }
}

#[cfg(debug_assertions)]
pub use armed::{arm, arm_on, pass, pass_with};

/// A release build passes through.
#[cfg(not(debug_assertions))]
pub fn pass(_place: &str) {}

#[cfg(not(debug_assertions))]
pub fn pass_with<'a>(_place: &str, _values: impl IntoIterator<Item = &'a str>) {}
