//! One clock for the server and its isolates: CLOCK_MONOTONIC in nanoseconds, equal in every process of a machine.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds since an arbitrary point that all processes share.
pub(crate) fn now_ns() -> u64 {
    let now =
        clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the monotonic clock can always be read");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// `duration` in nanoseconds; one of 584 years or more counts as that.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
