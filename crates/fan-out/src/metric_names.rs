//! Names of the metrics that fan-out reports, each by sink.

/// Gauge: 1 where this process feeds the sink, 0 where it stands by.
pub const SINK_ACTIVE: &str = "tidegate_sink_active";
/// Gauge: events in the log that the sink has not been told of yet.
pub const SINK_LAG_EVENTS: &str = "tidegate_sink_lag_events";
/// Counter: events that the sink has acknowledged.
pub const SINK_EVENTS: &str = "tidegate_sink_events_total";
/// Counter: attempts that the target refused or did not answer.
pub const SINK_FAILURES: &str = "tidegate_sink_failures_total";
/// Counter: events that retention dropped before the sink was told of them.
pub const SINK_MISSED_EVENTS: &str = "tidegate_sink_missed_events_total";
