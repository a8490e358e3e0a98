//! When a failed attempt is repeated. Pure: the caller brings the randomness.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest that a handler can ask to be left alone.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Exponential backoff with full jitter: the n-th wait is a random part of `initial × factor^(n-1)`, of `max` at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    #[serde(rename = "initial")]
    pub initial_ms: u64,
    pub factor: f64,
    #[serde(rename = "max")]
    pub max_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            initial_ms: 1000,
            factor: 2.0,
            max_ms: 300_000,
        }
    }
}

impl Backoff {
    /// How long to wait after `failed` failed attempts, from 1.
    ///
    /// `jitter`: from 0 to 1; spreads what failed together.
    /// `at_least`: what the handler asked for, up to [`MAX_RETRY_AFTER`].
    pub fn wait(&self, failed: u32, jitter: f64, at_least: Option<Duration>) -> Duration {
        let times = self
            .factor
            .max(1.0)
            .powf(f64::from(failed.saturating_sub(1)));
        let ceiling_ms = (self.initial_ms as f64 * times).min(self.max_ms as f64);
        let backoff = Duration::from_secs_f64(ceiling_ms / 1000.0 * jitter.clamp(0.0, 1.0));
        let at_least = at_least.unwrap_or_default().min(MAX_RETRY_AFTER);
        backoff.max(at_least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial_ms: 1000,
        factor: 2.0,
        max_ms: 5000,
    };

    #[test]
    fn it_grows_to_its_ceiling() {
        let at = |failed| BACKOFF.wait(failed, 1.0, None).as_millis();
        assert_eq!([at(1), at(2), at(3), at(4)], [1000, 2000, 4000, 5000]);
        assert_eq!(at(u32::MAX), 5000);
        assert_eq!(BACKOFF.wait(3, 0.25, None), Duration::from_secs(1));
        assert_eq!(BACKOFF.wait(3, 0.0, None), Duration::ZERO);
    }

    #[test]
    fn what_was_asked_for_is_waited_at_least_and_a_day_at_most() {
        let asked = |seconds| BACKOFF.wait(1, 1.0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0), Duration::from_secs(1));
        assert_eq!(asked(90), Duration::from_secs(90));
        assert_eq!(asked(1_000_000), MAX_RETRY_AFTER);
    }
}
