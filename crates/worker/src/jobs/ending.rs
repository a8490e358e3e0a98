//! What an attempt comes to: its outcome, with why it was told to end. Pure.
//!
//! | | returned | threw | timed out | its process ended | killed |
//! |---|---|---|---|---|---|
//! | nobody told it | succeeded | retry or failed | retry or failed | retry or failed, a crash | nothing |
//! | cancelled | succeeded | cancelled | cancelled | cancelled | cancelled |
//! | draining | succeeded | handed back | retry or failed | handed back | handed back |
//! | lost | nothing | nothing | nothing | nothing | nothing |

use std::time::Duration;

use jiff::Timestamp;
use tidegate_cloud_code::Outcome;
use tidegate_job::run::{MAX_CRASHES, MAX_RESULT_BYTES};
use tidegate_job_log::Ending;

use super::plan::Plan;
use super::running::Reason;

/// What is to be recorded.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    End(Ending),
    /// Until then it needs no worker.
    Suspend(Timestamp),
    /// It is not ours to say.
    Nothing,
}

/// What is known of an attempt when it is over.
pub(crate) struct Ended<'a> {
    pub outcome: Outcome,
    pub reason: Option<Reason>,
    /// The process was ending: so were its isolates.
    pub was_shutting_down: bool,
    /// Its signal had fired, because its time was over.
    pub was_out_of_time: bool,
    /// This one included.
    pub attempt: u32,
    /// In a row, before this one.
    pub crashes: u32,
    pub plan: &'a Plan,
    /// From 0 to 1.
    pub jitter: f64,
}

impl Ended<'_> {
    pub fn verdict(self) -> Verdict {
        if self.reason == Some(Reason::Lost) {
            return Verdict::Nothing;
        }
        let is_cancelled = self.reason == Some(Reason::Cancelled);
        let is_draining = self.reason == Some(Reason::Draining);
        let ending = match &self.outcome {
            Outcome::ReturnedNothing => Ending::Succeeded { value: None },
            Outcome::Returned(value) if value.is_null() => Ending::Succeeded { value: None },
            Outcome::Returned(value) => succeeded(value.to_string()),
            // A cancel is seen where it is recorded.
            Outcome::Suspended { until_ms } => return suspend(*until_ms),
            Outcome::Killed if self.reason.is_none() => return Verdict::Nothing,
            _ if is_cancelled => Ending::Cancelled,
            Outcome::Killed => Ending::HandedBack,
            Outcome::Crashed { .. } if is_draining || self.was_shutting_down => Ending::HandedBack,
            Outcome::Crashed { reason } => self.crashed(reason),
            Outcome::TimedOut { .. } => self.failed(self.out_of_time(), None),
            Outcome::Threw {
                no_retry: true,
                message,
                ..
            } => Ending::Failed {
                error: message.clone(),
            },
            Outcome::Threw { .. } if is_draining => Ending::HandedBack,
            Outcome::Threw { .. } if self.was_out_of_time => self.failed(self.out_of_time(), None),
            Outcome::Threw {
                message,
                retry_after_ms,
                ..
            } => {
                let asked = retry_after_ms.map(Duration::from_millis);
                self.failed(message.clone(), asked)
            }
        };
        Verdict::End(ending)
    }

    fn failed(&self, error: String, asked: Option<Duration>) -> Ending {
        match self.attempt < self.plan.max_attempts {
            true => Ending::Retry {
                after: self.plan.backoff.wait(self.attempt, self.jitter, asked),
                error,
            },
            false => Ending::Failed { error },
        }
    }

    fn crashed(&self, reason: &str) -> Ending {
        if self.crashes + 1 >= MAX_CRASHES {
            let error = format!(
                "quarantined: its process ended {MAX_CRASHES} times in a row while it ran: {reason}"
            );
            return Ending::Failed { error };
        }
        match self.failed(reason.to_owned(), None) {
            Ending::Retry { after, error } => Ending::Crashed { after, error },
            ending => ending,
        }
    }

    fn out_of_time(&self) -> String {
        format!("timed out after {} ms", self.plan.limit.as_millis())
    }
}

fn succeeded(value: String) -> Ending {
    match value.len() {
        fits if fits <= MAX_RESULT_BYTES => Ending::Succeeded { value: Some(value) },
        bytes => Ending::Failed {
            error: format!(
                "the result has {bytes} bytes of JSON, and the limit is {MAX_RESULT_BYTES}: save the data and return \
                 its id"
            ),
        },
    }
}

/// A time that no calendar has is the last one that it has.
fn suspend(until_ms: i64) -> Verdict {
    let last = || match until_ms < 0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    };
    Verdict::Suspend(Timestamp::from_millisecond(until_ms).unwrap_or_else(|_| last()))
}

/// What becomes of a run that was told to end before it began.
pub(crate) fn unbegun(reason: Reason) -> Verdict {
    match reason {
        Reason::Draining => Verdict::End(Ending::HandedBack),
        Reason::Cancelled => Verdict::End(Ending::Cancelled),
        Reason::Lost => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_job::Backoff;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(800);

    fn plan() -> Plan {
        Plan {
            max_attempts: 3,
            backoff: Backoff::default(),
            limit: LIMIT,
        }
    }

    fn threw(retry_after_ms: Option<u64>, no_retry: bool) -> Outcome {
        Outcome::Threw {
            code: 141,
            message: "no".into(),
            stack: Some("at main.js:1".into()),
            is_parse_error: false,
            retry_after_ms,
            no_retry,
        }
    }

    fn crashed() -> Outcome {
        Outcome::Crashed {
            reason: "an isolate ended".into(),
        }
    }

    /// As [`Ended::verdict`], with what is changed in `ended`.
    fn verdict(outcome: Outcome, change: impl FnOnce(&mut Ended<'_>)) -> Verdict {
        let plan = plan();
        let mut ended = Ended {
            outcome,
            reason: None,
            was_shutting_down: false,
            was_out_of_time: false,
            attempt: 1,
            crashes: 0,
            plan: &plan,
            jitter: 1.0,
        };
        change(&mut ended);
        ended.verdict()
    }

    fn told(outcome: Outcome, reason: Reason) -> Verdict {
        verdict(outcome, |ended| ended.reason = Some(reason))
    }

    fn retry(error: &str, seconds: u64) -> Verdict {
        Verdict::End(Ending::Retry {
            after: Duration::from_secs(seconds),
            error: error.into(),
        })
    }

    fn failed(error: &str) -> Verdict {
        Verdict::End(Ending::Failed {
            error: error.into(),
        })
    }

    #[test]
    fn a_failure_is_tried_again_until_the_last_attempt_or_its_own_word() {
        assert_eq!(verdict(threw(None, false), |_| {}), retry("no", 1));
        let second = |ended: &mut Ended<'_>| ended.attempt = 2;
        assert_eq!(verdict(threw(None, false), second), retry("no", 2));
        assert_eq!(verdict(threw(Some(70_000), false), second), retry("no", 70));
        let last = |ended: &mut Ended<'_>| ended.attempt = 3;
        assert_eq!(verdict(threw(Some(70_000), false), last), failed("no"));
        assert_eq!(verdict(threw(None, true), |_| {}), failed("no"));
    }

    #[test]
    fn what_is_out_of_time_says_so_also_when_its_signal_made_it_throw() {
        let text = "timed out after 800 ms";
        let timed_out = || Outcome::TimedOut { after: LIMIT };
        assert_eq!(verdict(timed_out(), |_| {}), retry(text, 1));
        let last = |ended: &mut Ended<'_>| ended.attempt = 3;
        assert_eq!(verdict(timed_out(), last), failed(text));
        let late = |ended: &mut Ended<'_>| ended.was_out_of_time = true;
        assert_eq!(verdict(threw(None, false), late), retry(text, 1));
        let done = Verdict::End(Ending::Succeeded { value: None });
        assert_eq!(verdict(Outcome::ReturnedNothing, late), done);
    }

    #[test]
    fn a_result_is_json_of_a_size() {
        let value = |value: Value| verdict(Outcome::Returned(value), |_| {});
        let succeeded = |text: &str| {
            Verdict::End(Ending::Succeeded {
                value: Some(text.into()),
            })
        };
        assert_eq!(value(json!({"a": 1})), succeeded(r#"{"a":1}"#));
        assert_eq!(
            value(Value::Null),
            Verdict::End(Ending::Succeeded { value: None })
        );
        let most = "x".repeat(MAX_RESULT_BYTES - 2);
        assert_eq!(value(json!(most)), succeeded(&format!("\"{most}\"")));
        let Verdict::End(Ending::Failed { error }) = value(json!(format!("{most}x"))) else {
            panic!("it is too large");
        };
        assert!(
            error.contains("1048577 bytes") && error.contains("1048576"),
            "{error}"
        );
    }

    #[test]
    fn a_success_wins_over_a_cancel_and_a_cancel_over_everything_else() {
        let done = || Verdict::End(Ending::Succeeded { value: None });
        for reason in [Reason::Cancelled, Reason::Draining] {
            assert_eq!(told(Outcome::ReturnedNothing, reason), done());
        }
        let timed_out = Outcome::TimedOut { after: LIMIT };
        for outcome in [Outcome::Killed, threw(None, false), crashed(), timed_out] {
            let cancelled = Verdict::End(Ending::Cancelled);
            assert_eq!(told(outcome, Reason::Cancelled), cancelled);
        }
        assert_eq!(unbegun(Reason::Cancelled), Verdict::End(Ending::Cancelled));
    }

    #[test]
    fn the_end_of_a_worker_costs_no_attempt() {
        for outcome in [Outcome::Killed, threw(None, false), crashed()] {
            let handed_back = Verdict::End(Ending::HandedBack);
            assert_eq!(told(outcome, Reason::Draining), handed_back);
        }
        // A terminal's Ctrl-C ends all processes of the group at once.
        let early = |ended: &mut Ended<'_>| ended.was_shutting_down = true;
        assert_eq!(verdict(crashed(), early), Verdict::End(Ending::HandedBack));
        assert_eq!(told(threw(None, true), Reason::Draining), failed("no"));
    }

    #[test]
    fn of_a_lost_run_nothing_is_said() {
        let all = [
            Outcome::ReturnedNothing,
            Outcome::Killed,
            Outcome::Suspended { until_ms: 5 },
            threw(None, false),
            crashed(),
        ];
        for outcome in all {
            assert_eq!(told(outcome, Reason::Lost), Verdict::Nothing);
        }
        // Its lease was refused before the beat knew.
        assert_eq!(verdict(Outcome::Killed, |_| {}), Verdict::Nothing);
    }

    #[test]
    fn a_job_that_ends_its_process_three_times_in_a_row_is_quarantined() {
        let after = Duration::from_secs(1);
        let error = "an isolate ended".to_owned();
        let again = Verdict::End(Ending::Crashed { after, error });
        assert_eq!(verdict(crashed(), |ended| ended.crashes = 1), again);
        let last = verdict(crashed(), |ended| ended.attempt = 3);
        assert_eq!(last, failed("an isolate ended"));
        let Verdict::End(Ending::Failed { error }) = verdict(crashed(), |ended| ended.crashes = 2)
        else {
            panic!("it is quarantined");
        };
        assert!(error.starts_with("quarantined: ") && error.ends_with("an isolate ended"));
    }

    #[test]
    fn a_sleep_may_be_as_long_as_a_calendar() {
        let sleep = |until_ms| verdict(Outcome::Suspended { until_ms }, |_| {});
        assert_eq!(
            sleep(1500),
            Verdict::Suspend("1970-01-01T00:00:01.5Z".parse().unwrap())
        );
        assert_eq!(sleep(i64::MAX), Verdict::Suspend(Timestamp::MAX));
    }
}
