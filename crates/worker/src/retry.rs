//! When a failed delivery is tried again. Pure.

use std::time::Duration;

use tidegate_event::Policy;
use tidegate_job::Backoff;

/// Exponential backoff with full jitter.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; after the last the delivery is a dead letter.
    pub max_attempts: u32,
    pub initial_backoff: Duration,
    /// What each wait is longer than the one before it.
    pub factor: f64,
    pub max_backoff: Duration,
}

impl RetryPolicy {
    /// This one, but for what a trigger's own policy says.
    pub fn with(&self, policy: &Policy) -> RetryPolicy {
        let mut own = self.clone();
        own.max_attempts = policy.attempts.unwrap_or(own.max_attempts);
        if let Some(backoff) = policy.backoff {
            own.initial_backoff = Duration::from_millis(backoff.initial_ms);
            own.factor = backoff.factor;
            own.max_backoff = Duration::from_millis(backoff.max_ms);
        }
        own
    }

    /// How long to wait after `attempts` failed ones, or None to give up.
    ///
    /// `jitter`: from 0 to 1; spreads the retries of many objects that failed together.
    /// `at_least`: what was asked for, up to a day.
    pub fn wait(&self, attempts: u32, jitter: f64, at_least: Option<Duration>) -> Option<Duration> {
        if attempts >= self.max_attempts {
            return None;
        }
        let backoff = Backoff {
            initial_ms: self.initial_backoff.as_millis() as u64,
            factor: self.factor,
            max_ms: self.max_backoff.as_millis() as u64,
        };
        Some(backoff.wait(attempts, jitter, at_least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_job::backoff::MAX_RETRY_AFTER;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_backoff: Duration::from_secs(1),
            factor: 2.0,
            max_backoff: Duration::from_secs(5),
        }
    }

    #[test]
    fn backoff_grows_to_its_ceiling_and_ends_with_the_last_attempt() {
        let at = |attempts| {
            policy()
                .wait(attempts, 1.0, None)
                .map(|wait| wait.as_secs())
        };
        assert_eq!(
            [at(1), at(2), at(3), at(4)],
            [Some(1), Some(2), Some(4), Some(5)]
        );
        assert_eq!(at(5), None);
        assert_eq!(policy().wait(3, 0.25, None), Some(Duration::from_secs(1)));
        let endless = RetryPolicy {
            max_attempts: u32::MAX,
            ..policy()
        };
        let last = endless.wait(u32::MAX - 1, 1.0, None);
        assert_eq!(last, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_was_asked_for_is_waited_at_least_and_a_day_at_most() {
        let asked = |seconds| policy().wait(1, 1.0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0), Some(Duration::from_secs(1)));
        assert_eq!(asked(90), Some(Duration::from_secs(90)));
        assert_eq!(asked(1_000_000), Some(MAX_RETRY_AFTER));
        let last = policy().wait(5, 1.0, Some(MAX_RETRY_AFTER));
        assert_eq!(last, None, "it is an attempt all the same");
    }

    #[test]
    fn a_trigger_says_what_it_says_and_the_rest_is_the_servers() {
        let own = Policy {
            attempts: Some(2),
            ..Policy::default()
        };
        assert_eq!(policy().with(&own).max_attempts, 2);
        assert_eq!(policy().with(&own).max_backoff, policy().max_backoff);
        let own = Policy {
            backoff: Some(tidegate_event::Backoff {
                initial_ms: 10,
                factor: 3.0,
                max_ms: 50,
            }),
            ..Policy::default()
        };
        let own = policy().with(&own);
        let waits = [1, 2, 3].map(|attempts| own.wait(attempts, 1.0, None).unwrap().as_millis());
        assert_eq!(waits, [10, 30, 50]);
    }
}
