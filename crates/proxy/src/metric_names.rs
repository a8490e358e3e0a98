//! Names of the metrics that the proxy reports.

/// Histogram, seconds, by kind of request and HTTP status.
pub const REQUEST_SECONDS: &str = "tidegate_http_request_seconds";
/// Gauge: clients that follow the log.
pub const EVENT_STREAM_CLIENTS: &str = "tidegate_event_stream_clients";
/// Counter: events sent to them.
pub const EVENT_STREAM_EVENTS: &str = "tidegate_event_stream_events_total";
