//! Names of the metrics that the write path reports.

/// Histogram, seconds, by function and status.
pub const FUNCTION_SECONDS: &str = "tidegate_function_seconds";
/// Histogram, seconds, by trigger and status: before-triggers.
pub const BEFORE_TRIGGER_SECONDS: &str = "tidegate_before_trigger_seconds";
/// Counter: writes refused, because too many triggers in a row had led to them.
pub const LOOPS_STOPPED: &str = "tidegate_trigger_loops_stopped_total";
/// Counter: writes of a repeated attempt that got the answer recorded before.
pub const WRITES_REPEATED: &str = "tidegate_writes_repeated_total";
/// Counter: saves answered before their after-triggers had run, because the wait timed out.
pub const WAITS_TIMED_OUT: &str = "tidegate_waits_timed_out_total";
