//! What a queue and a consumer are told. Plain values; only the executable reads the environment.

use std::fmt;
use std::time::Duration;

/// The most lanes a queue may have. One blocking read names every lane a consumer holds, so that
/// its cost grows with them; beyond this, more consumers do not help.
pub const MAX_LANES: u16 = 1024;

/// Lanes behind the others, for deliveries with a [`crate::Limit`]: a group's are all in one of them, so that its one
/// owner can count. Whoever grants lanes grants these too: `lanes..lanes + LIMITED_LANES`.
pub const LIMITED_LANES: u16 = 16;

/// How a process reaches Redis, and the shape of the queue there.
#[derive(Clone)]
pub struct Config {
    /// `redis://[user:password@]host:port/[db]` or `redis+unix:///path/to/socket`.
    pub redis_url: String,
    /// Every key begins with `namespace:`. Letters, digits, `:`, `_`, `-` and `.`.
    pub namespace: String,
    /// How many lanes the order keys are spread over, 1 to [`MAX_LANES`], without the [`LIMITED_LANES`]; 64 suits most. It belongs
    /// to the generation: a process with another number sees no generation, so that one key is
    /// never in two lanes at once.
    pub lanes: u16,
    /// Unacknowledged deliveries over all lanes. At this number [`crate::Queue::push`] answers
    /// [`crate::Error::Full`].
    pub max_queued: usize,
}

impl fmt::Debug for Config {
    /// Leaves out the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("namespace", &self.namespace)
            .field("lanes", &self.lanes)
            .field("max_queued", &self.max_queued)
            .finish_non_exhaustive()
    }
}

/// How much one consumer takes on.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Names the worker in logs.
    pub worker_name: String,
    /// Handlers that run at once, from 1.
    pub concurrency: usize,
    /// Deliveries held in memory ready to run, from 1. Reading stops there until half of them are
    /// gone. Retries that became due, and deliveries that wait behind a running one of their key,
    /// have the same number each.
    pub max_buffered: usize,
    /// How long running handlers may go on after shutdown; then they are dropped, and run again
    /// elsewhere.
    pub drain_timeout: Duration,
}

/// What the caller has to do about a config that cannot work, checked before anything is connected.
pub(crate) fn check(config: &Config) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":_-.".contains(c);
    if config.namespace.is_empty() || !config.namespace.chars().all(plain) {
        return Err("namespace takes letters, digits, ':', '_', '-' and '.'");
    }
    if config.lanes == 0 || config.lanes > MAX_LANES {
        return Err("lanes is from 1 to 1024");
    }
    if config.max_queued == 0 {
        return Err("max_queued is at least 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let good = Config {
            redis_url: "redis://127.0.0.1/".into(),
            namespace: "tidegate:prod-1".into(),
            lanes: 64,
            max_queued: 1,
        };
        assert_eq!(check(&good), Ok(()));
        // A glob in the namespace would let the clean-up of one namespace match the keys of
        // another.
        for namespace in ["", "a*", "a b", "{a}"] {
            let bad = Config {
                namespace: namespace.into(),
                ..good.clone()
            };
            assert!(check(&bad).is_err(), "{namespace:?}");
        }
        for lanes in [0, 1025] {
            assert!(
                check(&Config {
                    lanes,
                    ..good.clone()
                })
                .is_err()
            );
        }
        assert!(
            check(&Config {
                max_queued: 0,
                ..good
            })
            .is_err()
        );
    }
}
