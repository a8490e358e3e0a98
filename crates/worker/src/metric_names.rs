//! Names of the metrics that a worker reports.

/// Histogram, seconds, by trigger and status: one attempt of an after-trigger.
pub const TRIGGER_SECONDS: &str = "tidegate_after_trigger_seconds";
/// Histogram, seconds, by trigger: from a change's commit to the start of its handler.
pub const DELIVERY_LATENCY_SECONDS: &str = "tidegate_delivery_latency_seconds";
/// Gauge: after-triggers running in this process.
pub const DELIVERIES_RUNNING: &str = "tidegate_deliveries_running";
