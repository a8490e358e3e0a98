//! Names of the metrics that a worker reports.

/// Histogram, seconds, by trigger and status: one attempt of an after-trigger.
pub const TRIGGER_SECONDS: &str = "tidegate_after_trigger_seconds";
/// Histogram, seconds, by trigger: from a change's commit to the start of its handler.
pub const DELIVERY_LATENCY_SECONDS: &str = "tidegate_delivery_latency_seconds";
/// Gauge: after-triggers running in this process.
pub const DELIVERIES_RUNNING: &str = "tidegate_deliveries_running";
/// Counter, by job and outcome: attempts of jobs.
pub const JOB_ATTEMPTS: &str = "tidegate_job_attempts_total";
/// Histogram, seconds, by job and outcome: one attempt of a job.
pub const JOB_SECONDS: &str = "tidegate_job_seconds";
/// Histogram, seconds, by job: from when an attempt could begin to when it was claimed.
pub const JOB_START_LATENESS_SECONDS: &str = "tidegate_job_start_lateness_seconds";
/// Gauge: jobs running in this process.
pub const JOBS_RUNNING: &str = "tidegate_jobs_running";
