//! Names of the metrics that capture reports.

/// Counter: events appended to the log.
pub const EVENTS_CAPTURED: &str = "tidegate_events_captured_total";
/// Gauge: seconds between the commit of the last captured change and its append.
pub const CAPTURE_LAG_SECONDS: &str = "tidegate_capture_lag_seconds";
/// Gauge: 1 while this process follows the slot, 0 while it stands by.
pub const CAPTURE_ACTIVE: &str = "tidegate_capture_active";
/// Gauge: seconds that the last heartbeat took from Postgres through the slot to the log.
pub const HEARTBEAT_LAG_SECONDS: &str = "tidegate_heartbeat_lag_seconds";
/// Gauge: 1 while this process cannot follow the slot without missing changes.
pub const CAPTURE_GAP: &str = "tidegate_capture_gap";
