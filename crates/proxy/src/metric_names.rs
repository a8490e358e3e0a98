//! Names of the metrics that the proxy reports.

/// Histogram, seconds, by kind of request and HTTP status.
pub const REQUEST_SECONDS: &str = "tidegate_http_request_seconds";
