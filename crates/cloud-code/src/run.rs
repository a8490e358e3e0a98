//! One run of one handler: what is asked, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_event::{Policy, Trigger, TriggerSet};

use crate::Cause;

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

/// What a release registers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    pub functions: Vec<String>,
    pub triggers: TriggerSet,
    pub jobs: Vec<String>,
    /// What the author should know: handlers defined twice, options that have no effect here.
    pub warnings: Vec<String>,
}

impl Manifest {
    /// Reads what the JavaScript runtime lists. Trigger kinds that this server does not know become warnings.
    pub(crate) fn from_json(json: &str) -> serde_json::Result<Manifest> {
        let listed: Listed = serde_json::from_str(json)?;
        let mut manifest = Manifest {
            functions: listed.functions,
            jobs: listed.jobs,
            warnings: listed.warnings,
            ..Manifest::default()
        };
        let mut triggers = Vec::new();
        for listed in listed.triggers {
            let Ok(kind) = serde_json::from_value(Value::String(listed.kind.clone())) else {
                let warning = format!(
                    "{} on {} is registered but not supported yet",
                    listed.kind, listed.class
                );
                manifest.warnings.push(warning);
                continue;
            };
            triggers.push((Trigger::code(kind, listed.class), listed.policy));
        }
        manifest.triggers = triggers.into_iter().collect();
        Ok(manifest)
    }

    pub(crate) fn has(&self, handler: &Handler) -> bool {
        match handler {
            Handler::Function(name) => self.functions.contains(name),
            Handler::Trigger(trigger) => self.triggers.has(trigger.kind, &trigger.class),
            Handler::Job(name) => self.jobs.contains(name),
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default)]
    triggers: Vec<ListedTrigger>,
    #[serde(default)]
    jobs: Vec<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct ListedTrigger {
    kind: String,
    class: String,
    /// How an after-trigger is to be run; the runtime has checked it.
    #[serde(default)]
    policy: Policy,
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
    use tidegate_event::{Backoff, Rate, TriggerKind};

    #[test]
    fn a_manifest_keeps_what_it_knows_and_warns_of_the_rest() {
        let json = r#"{"functions":["hello"],"jobs":[],"extra":1,"triggers":[
            {"kind":"afterSave","class":"Order","policy":{"unordered":true,"original":false,"attempts":7,"timeoutMs":5,
             "backoff":{"initialMs":1,"factor":1.5,"maxMs":9},"concurrency":2,"rate":{"count":3,"perMs":4}}},
            {"kind":"afterDelete","class":"Order"},{"kind":"beforeConnect","class":"@Connect"}]}"#;
        let manifest = Manifest::from_json(json).unwrap();
        let order = Trigger::code(TriggerKind::AfterSave, "Order");
        assert!(
            manifest.has(&Handler::Function("hello".into()))
                && !manifest.has(&Handler::Job("hello".into()))
        );
        let policy = Policy {
            attempts: Some(7),
            backoff: Some(Backoff {
                initial_ms: 1,
                factor: 1.5,
                max_ms: 9,
            }),
            timeout_ms: Some(5),
            concurrency: Some(2),
            rate: Some(Rate {
                count: 3,
                per_ms: 4,
            }),
            unordered: true,
            unrecorded: false,
            original: false,
        };
        assert_eq!(manifest.triggers.policy(&order), policy);
        let deletion = Trigger::code(TriggerKind::AfterDelete, "Order");
        assert_eq!(manifest.triggers.policy(&deletion), Policy::default());
        assert!(manifest.has(&Handler::Trigger(order)));
        assert_eq!(
            manifest.warnings,
            ["beforeConnect on @Connect is registered but not supported yet"]
        );
        assert!(Manifest::from_json("[").is_err());
    }

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
