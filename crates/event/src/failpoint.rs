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

/// Every place, in the order of an event's way.
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
pub use armed::{arm, pass};

/// A release build passes through.
#[cfg(not(debug_assertions))]
pub fn pass(_place: &str) {}
