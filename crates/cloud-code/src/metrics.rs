//! Names of what this crate measures.

/// Runs that have an outcome, by `outcome`: returned, threw, timed_out, crashed, killed, suspended.
pub(crate) const RUNS_TOTAL: &str = "tidegate_cloud_code_runs_total";

/// Isolates that were killed because a run did not stop.
pub(crate) const KILLS_TOTAL: &str = "tidegate_cloud_code_isolate_kills_total";

/// Isolates that ended and were not asked to.
pub(crate) const CRASHES_TOTAL: &str = "tidegate_cloud_code_isolate_crashes_total";

/// Isolates forked.
pub(crate) const FORKS_TOTAL: &str = "tidegate_cloud_code_isolate_forks_total";

/// Runs given to another isolate because theirs was stuck or died, before they had any effect.
pub(crate) const MOVED_TOTAL: &str = "tidegate_cloud_code_runs_moved_total";
