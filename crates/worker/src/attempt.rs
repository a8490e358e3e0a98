//! What one attempt came to, whoever made it. Pure.

use std::time::Duration;

use tidegate_cloud_code::{Outcome as Ended, Ran};
use tidegate_event_log::Status;

use crate::RetryPolicy;

/// How often in a row a delivery may end its process before it is quarantined.
pub(crate) const MAX_CRASHES: u32 = 3;

/// One attempt's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Attempt {
    /// Why it failed; None when the handler ran to its end.
    pub failure: Option<String>,
    /// What it printed, if it failed.
    pub logs: Option<String>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// It says that trying again is no use.
    pub gives_up: bool,
    /// Its process ended.
    pub crashed: bool,
}

impl Attempt {
    pub fn failed(failure: impl Into<String>) -> Attempt {
        Attempt {
            failure: Some(failure.into()),
            ..Attempt::default()
        }
    }

    /// How this leaves the delivery, and how long to wait before the next attempt.
    ///
    /// `attempts`: this one included. `crashes`: in a row, this one included.
    pub fn leaves(
        &self,
        retry: &RetryPolicy,
        attempts: u32,
        crashes: u32,
        jitter: f64,
    ) -> (Status, Option<Duration>) {
        if self.failure.is_none() {
            return (Status::Done, None);
        }
        if self.gives_up || crashes >= MAX_CRASHES {
            return (Status::Dead, None);
        }
        match retry.wait(attempts, jitter, self.retry_after) {
            Some(wait) => (Status::Retry, Some(wait)),
            None => (Status::Dead, None),
        }
    }
}

impl From<Ran> for Attempt {
    fn from(ran: Ran) -> Attempt {
        let attempt = match ran.outcome {
            Ended::Returned(_) | Ended::ReturnedNothing => Attempt::default(),
            Ended::Threw {
                message,
                stack,
                retry_after_ms,
                no_retry,
                ..
            } => Attempt {
                retry_after: retry_after_ms.map(Duration::from_millis),
                gives_up: no_retry,
                ..Attempt::failed(match stack {
                    Some(stack) => format!("{message}\n{stack}"),
                    None => message,
                })
            },
            Ended::TimedOut { after } => {
                Attempt::failed(format!("it took longer than {} s", after.as_secs_f64()))
            }
            Ended::Crashed { reason } => Attempt {
                crashed: true,
                ..Attempt::failed(reason)
            },
            // Only jobs are.
            Ended::Killed | Ended::Suspended { .. } => Attempt::failed("it was ended"),
        };
        Attempt {
            logs: ran.logs,
            ..attempt
        }
    }
}

/// What is said of a delivery that is not run any more. `what`: the process that ended.
pub(crate) fn quarantined(what: &str) -> String {
    format!("quarantined: its {what} ended {MAX_CRASHES} times while it ran")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_backoff: Duration::from_secs(1),
            factor: 2.0,
            max_backoff: Duration::from_secs(60),
        }
    }

    #[test]
    fn an_attempt_leaves_its_delivery_done_to_be_retried_or_dead() {
        let leaves =
            |attempt: &Attempt, attempts, crashes| attempt.leaves(&retry(), attempts, crashes, 1.0);
        let failed = Attempt::failed("no");
        assert_eq!(leaves(&Attempt::default(), 5, 0), (Status::Done, None));
        let second = Some(Duration::from_secs(1));
        assert_eq!(leaves(&failed, 1, 0), (Status::Retry, second));
        assert_eq!(leaves(&failed, 5, 0), (Status::Dead, None));
        assert_eq!(leaves(&failed, 2, MAX_CRASHES), (Status::Dead, None));
        let gives_up = Attempt {
            gives_up: true,
            ..failed
        };
        assert_eq!(leaves(&gives_up, 1, 0), (Status::Dead, None));
    }

    #[test]
    fn what_a_handler_asks_for_and_printed_is_kept() {
        let outcome = Ended::Threw {
            code: 141,
            message: "busy".into(),
            stack: Some("at main.js:1".into()),
            is_parse_error: false,
            retry_after_ms: Some(1500),
            no_retry: false,
        };
        let logs = Some("info: hello".to_owned());
        let attempt = Attempt::from(Ran {
            outcome,
            logs: logs.clone(),
        });
        let expected = Attempt {
            logs,
            retry_after: Some(Duration::from_millis(1500)),
            ..Attempt::failed("busy\nat main.js:1")
        };
        assert_eq!(attempt, expected);
        let crashed = Ended::Crashed {
            reason: "an isolate ended".into(),
        };
        assert!(Attempt::from(Ran::from(crashed)).crashed);
    }
}
