//! Names of this crate's metrics.

/// Runs put into the queue.
pub const PROMOTED: &str = "tidegate_runs_queued_total";
/// Due times that were decided, by `result`.
pub const FIRES: &str = "tidegate_schedule_fires_total";
/// Due times that nothing was made of because nobody was there in time.
pub const MISSED: &str = "tidegate_schedule_fires_missed_total";
/// From a due time to its fire, in seconds.
pub const FIRE_LATENESS: &str = "tidegate_schedule_lateness_seconds";
/// Workers whose beat stood still.
pub const WORKERS_LOST: &str = "tidegate_job_workers_lost_total";
/// Runs that have not ended, by `state`.
pub const RUNS: &str = "tidegate_runs";
/// How long the oldest due run has been due, in seconds.
pub const QUEUE_AGE: &str = "tidegate_runs_oldest_due_seconds";
/// Runs that failed for good.
pub const DEAD: &str = "tidegate_runs_dead";
/// How long the oldest due schedule has been due, in seconds.
pub const SCHEDULE_LAG: &str = "tidegate_schedule_oldest_due_seconds";
