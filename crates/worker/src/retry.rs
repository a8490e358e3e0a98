//! When a failed delivery is tried again. Pure.

use std::time::Duration;

/// Exponential backoff with full jitter.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; after the last the delivery is a dead letter.
    pub max_attempts: u32,
    pub initial_backoff: Duration,
    pub max_backoff: Duration,
}

impl RetryPolicy {
    /// How long to wait after `attempts` failed ones, or None to give up.
    ///
    /// `jitter`: from 0 to 1; spreads the retries of many objects that failed together.
    pub fn backoff(&self, attempts: u32, jitter: f64) -> Option<Duration> {
        if attempts >= self.max_attempts {
            return None;
        }
        let doubled = 2u32.saturating_pow(attempts.saturating_sub(1).min(31));
        let ceiling = self
            .initial_backoff
            .saturating_mul(doubled)
            .min(self.max_backoff);
        Some(ceiling.mul_f64(jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_ceiling_and_ends_with_the_last_attempt() {
        let policy = RetryPolicy {
            max_attempts: 5,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(5),
        };
        let at = |attempts| policy.backoff(attempts, 1.0).map(|wait| wait.as_secs());
        assert_eq!(
            [at(1), at(2), at(3), at(4)],
            [Some(1), Some(2), Some(4), Some(5)]
        );
        assert_eq!(at(5), None);
        assert_eq!(policy.backoff(3, 0.25), Some(Duration::from_secs(1)));
        assert!(
            RetryPolicy {
                max_attempts: u32::MAX,
                ..policy
            }
            .backoff(u32::MAX - 1, 1.0)
            .is_some()
        );
    }
}
