//! How one attempt is to be run: its author's options, its starter's over them, the server's above both. Pure.

use std::time::Duration;

use tidegate_job::options::DEFAULT_RETRIES;
use tidegate_job::{Backoff, JobOptions};
use tidegate_job_log::Claimed;

/// Between `request.signal` and the kill.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// The least time between the warning and the limit.
const LEAST_WARNING: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub max_attempts: u32,
    pub backoff: Backoff,
    pub limit: Duration,
}

impl Plan {
    /// `most`: no attempt may take longer, whatever anybody wrote.
    pub fn of(options: &JobOptions, claimed: &Claimed, most: Duration) -> Plan {
        let retries = claimed.retries.or(options.retries);
        let timeout_ms = claimed.timeout_ms.or(options.timeout_ms);
        Plan {
            max_attempts: retries.unwrap_or(DEFAULT_RETRIES).saturating_add(1),
            backoff: claimed.backoff.or(options.backoff).unwrap_or_default(),
            limit: timeout_ms.map_or(most, |ms| Duration::from_millis(ms).min(most)),
        }
    }

    /// When it is said that the time is nearly over: at 90 %, and a second before the end at least. None: the limit
    /// leaves no time for that.
    pub fn warn_after(&self) -> Option<Duration> {
        let after = (self.limit * 9 / 10).min(self.limit.checked_sub(LEAST_WARNING)?);
        (!after.is_zero()).then_some(after)
    }

    /// When the handler's signal fires: a little before the limit.
    pub fn abort_after(&self) -> Duration {
        self.limit - GRACE.min(self.limit / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::tests::claimed;

    const MOST: Duration = Duration::from_secs(900);

    #[test]
    fn the_starter_is_before_the_author_and_the_server_above_both() {
        let mut claimed = claimed();
        let plan = Plan::of(&JobOptions::default(), &claimed, MOST);
        let default = Plan {
            max_attempts: 4,
            backoff: Backoff::default(),
            limit: MOST,
        };
        assert_eq!(plan, default);
        let options = JobOptions {
            retries: Some(0),
            timeout_ms: Some(5000),
            ..JobOptions::default()
        };
        let plan = Plan::of(&options, &claimed, MOST);
        assert_eq!((plan.max_attempts, plan.limit.as_millis()), (1, 5000));
        claimed.retries = Some(9);
        claimed.timeout_ms = Some(3_600_000);
        let plan = Plan::of(&options, &claimed, MOST);
        assert_eq!((plan.max_attempts, plan.limit), (10, MOST));
    }

    #[test]
    fn a_warning_comes_early_enough_to_be_of_use() {
        let warned = |ms| {
            let plan = Plan {
                max_attempts: 1,
                backoff: Backoff::default(),
                limit: Duration::from_millis(ms),
            };
            (
                plan.warn_after().map(|at| at.as_millis()),
                plan.abort_after().as_millis(),
            )
        };
        assert_eq!(warned(900_000), (Some(810_000), 899_500));
        assert_eq!(warned(5_000), (Some(4_000), 4_500));
        assert_eq!(warned(1_500), (Some(500), 1_350));
        assert_eq!(warned(1_000), (None, 900));
        assert_eq!(warned(1), (None, 0));
    }
}
