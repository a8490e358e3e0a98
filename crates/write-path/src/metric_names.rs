//! Names of the metrics that the write path reports.

/// Histogram, seconds, by function and status.
pub const FUNCTION_SECONDS: &str = "tidegate_function_seconds";
/// Histogram, seconds, by trigger and status: before-triggers.
pub const BEFORE_TRIGGER_SECONDS: &str = "tidegate_before_trigger_seconds";
/// Counter: saves answered before their after-triggers had run, because the wait timed out.
pub const WAITS_TIMED_OUT: &str = "tidegate_waits_timed_out_total";
