//! Names of the metrics that dispatch reports.

/// Counter: deliveries put into the queue, repeats after a lost queue included.
pub const DELIVERIES_QUEUED: &str = "tidegate_deliveries_queued_total";
/// Gauge: deliveries queued and without a final outcome yet.
pub const DELIVERIES_PENDING: &str = "tidegate_deliveries_pending";
/// Gauge: deliveries whose last attempt failed and that will be tried again.
pub const DELIVERIES_FAILED: &str = "tidegate_deliveries_failed";
/// Gauge: deliveries given up, waiting for a human.
pub const DELIVERIES_DEAD: &str = "tidegate_deliveries_dead";
/// Gauge: events in the log that have not been dispatched.
pub const DISPATCH_LAG_EVENTS: &str = "tidegate_dispatch_lag_events";
/// Counter: generations of the queue begun because Redis lost something.
pub const QUEUE_GENERATIONS: &str = "tidegate_queue_generations_total";
