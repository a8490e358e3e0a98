//! Names of the metrics that dispatch reports.

/// Counter: deliveries put into the queue, repeats after a lost queue included.
pub const DELIVERIES_QUEUED: &str = "tidegate_deliveries_queued_total";
/// Counter: deliveries that were held in the log instead.
pub const DELIVERIES_HELD: &str = "tidegate_deliveries_held_total";
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
/// Gauge: bytes of the event log on disk, with its indexes.
pub const LOG_BYTES: &str = "tidegate_event_log_bytes";
/// Gauge: seconds since the oldest event of the log was added to it.
pub const LOG_OLDEST_SECONDS: &str = "tidegate_event_log_oldest_seconds";
/// Gauge: events kept beyond the log's retention, because they are unfinished.
pub const LOG_KEPT_EVENTS: &str = "tidegate_event_log_kept_events";
