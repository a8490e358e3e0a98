//! One run of one handler: what is asked, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_event::Trigger;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Cause, LogLine};

/// One run to be done.
#[derive(Clone, Debug)]
pub struct Run {
    pub handler: Handler,
    /// What the JavaScript runtime makes Parse's request object of; its fields depend on the handler (see README.md).
    pub request: Value,
    /// After this, counted from the call of `run`, the caller is answered [`Outcome::TimedOut`] and the run cancelled.
    pub soft_deadline: Duration,
    /// After this the process of a run that is still computing is killed. At least 50 ms more than the soft deadline.
    pub hard_deadline: Duration,
    pub cause: Arc<Cause>,
    /// How it is steered and watched from outside; None when nobody does.
    pub control: Option<Control>,
}

/// The handles of a run that somebody steers and watches.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Tells the code that it is to end: fires `request.signal` of a job within some 20 ms, if it lets others have a turn.
    pub abort: CancellationToken,
    /// Ends the run within 50 ms with [`Outcome::Killed`]. The process of a job ends with it, whatever it computes; other
    /// runs are only cancelled, because their process is not their own.
    pub kill: CancellationToken,
    /// Gets each line that the run prints, until it is answered. What finds the channel full is dropped, and a later line
    /// says how many were.
    pub logs: Option<mpsc::Sender<LogLine>>,
}

/// Which handler.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Handler {
    Function(String),
    Trigger(Trigger),
    Job(String),
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Handler::Function(name) => write!(f, "function {name}"),
            Handler::Trigger(trigger) => write!(f, "{} {}", trigger.kind, trigger.class),
            Handler::Job(name) => write!(f, "job {name}"),
        }
    }
}

impl Handler {
    /// True when the run is over only once nothing of it is left, not already when its promise settles: nobody waits
    /// for these, and what they did not await must not be cut off.
    pub(crate) fn ends_with_its_last_call(&self) -> bool {
        match self {
            Handler::Function(_) => false,
            Handler::Trigger(trigger) => trigger.kind.is_after_commit(),
            Handler::Job(_) => true,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The handler returned a value, perhaps null.
    Returned(Value),
    /// The handler returned undefined.
    ReturnedNothing,
    /// The handler threw, or something threw on its behalf; `code` and `message` are for the client.
    Threw {
        /// A Parse error code: 141 unless it was a Parse.Error, 142 of a validator.
        code: u16,
        message: String,
        /// In terms of the files people wrote.
        stack: Option<String>,
        is_parse_error: bool,
        /// How long it asks to be left alone before it is tried again (`error.retryAfter`, `request.retryAfter()`).
        retry_after_ms: Option<u64>,
        /// It says that trying again is no use (`error.retry === false`, `request.giveUp()`).
        no_retry: bool,
    },
    /// The soft deadline passed.
    TimedOut { after: Duration },
    /// The process that ran it ended. It may have had effects; it was not run again.
    Crashed { reason: String },
    /// [`Control::kill`] ended it. It may have had effects, and calls of its may still be going on.
    Killed,
    /// A job sleeps until then, in milliseconds since 1970; its process is free. To be run again with what it had done.
    Suspended { until_ms: i64 },
}

/// A run that is over, with what it printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    pub outcome: Outcome,
    /// The last lines of a run that failed, at most 16 KiB, each as `level: text`. None for a
    /// run that succeeded or printed nothing.
    pub logs: Option<String>,
}

impl From<Outcome> for Ran {
    fn from(outcome: Outcome) -> Ran {
        Ran {
            outcome,
            logs: None,
        }
    }
}

/// The outcome as an isolate sends it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutcomeJson {
    #[serde(default)]
    pub returned: Value,
    #[serde(default)]
    pub is_undefined: bool,
    pub threw: Option<ThrewJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThrewJson {
    pub code: u16,
    pub message: String,
    #[serde(default)]
    pub stack: Option<String>,
    #[serde(default)]
    pub is_parse_error: bool,
    pub retry_after_ms: Option<u64>,
    #[serde(default)]
    pub no_retry: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_event::TriggerKind;

    #[test]
    fn a_handler_is_named_in_json_for_the_runtime_and_in_words_for_people() {
        let trigger = Trigger::code(TriggerKind::BeforeSave, "Order");
        let handler = Handler::Trigger(trigger);
        let json = serde_json::to_string(&handler).unwrap();
        assert_eq!(json, r#"{"trigger":{"kind":"beforeSave","class":"Order"}}"#);
        assert_eq!(handler.to_string(), "beforeSave Order");
        assert_eq!(
            serde_json::to_string(&Handler::Job("a".into())).unwrap(),
            r#"{"job":"a"}"#
        );
    }
}
