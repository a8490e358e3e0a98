//! Runs the before-trigger of a write, if its class has one.

use std::time::Duration;

use metrics::histogram;
use serde_json::{Map, Value, json};
use tidegate_cloud_code::{Handler, Outcome, Run};
use tidegate_event::{Trigger, TriggerKind};
use tidegate_parse_protocol::{Changes, ErrorCode, Object, ParseError};

use crate::error::refuse;
use crate::save::Save;
use crate::{Caller, Error, WritePath, metric_names};

/// How long after the soft deadline the process of a handler that does not yield is killed.
pub(crate) const KILL_GRACE: Duration = Duration::from_millis(500);

/// What a before-trigger made of a write.
pub(crate) struct Decided {
    pub changes: Changes,
    /// Parse's `context`, as the trigger left it, for the after-trigger.
    pub context: Map<String, Value>,
}

impl WritePath {
    pub(crate) fn has_before_save(&self, class: &str) -> bool {
        self.code()
            .is_some_and(|code| code.triggers().has(TriggerKind::BeforeSave, class))
    }

    pub(crate) async fn before_save(
        &self,
        caller: &Caller,
        save: &Save,
        original: Option<&Object>,
    ) -> Result<Decided, Error> {
        let changes = save.changes.clone();
        if !self.has_before_save(&save.class) {
            return Ok(Decided {
                changes,
                context: caller.context.clone(),
            });
        }
        let mut request = trigger_request(caller, TriggerKind::BeforeSave, &save.class);
        request.insert(
            "object".into(),
            original.map_or(json!({}), |original| json!(original)),
        );
        request.insert(
            "original".into(),
            original.map_or(Value::Null, |original| json!(original)),
        );
        request.insert("objectId".into(), save.id.clone().into());
        request.insert("ops".into(), Value::Object(changes.to_rest()));
        let answer = self
            .run_before(caller, TriggerKind::BeforeSave, &save.class, request)
            .await?;
        let changes = match answer.get("ops") {
            Some(Value::Object(ops)) => Changes::from_rest(ops)?,
            _ => changes,
        };
        Ok(Decided {
            changes,
            context: context_of(&answer, caller),
        })
    }

    /// Returns the context that the trigger left.
    pub(crate) async fn before_delete(
        &self,
        caller: &Caller,
        class: &str,
        object: &Object,
    ) -> Result<Map<String, Value>, Error> {
        let mut request = trigger_request(caller, TriggerKind::BeforeDelete, class);
        request.insert("object".into(), json!(object));
        let answer = self
            .run_before(caller, TriggerKind::BeforeDelete, class, request)
            .await?;
        Ok(context_of(&answer, caller))
    }

    async fn run_before(
        &self,
        caller: &Caller,
        kind: TriggerKind,
        class: &str,
        request: Map<String, Value>,
    ) -> Result<Value, Error> {
        let trigger = Trigger::code(kind, class.to_owned());
        let labels = [("trigger", trigger.to_string())];
        let begun = std::time::Instant::now();
        let outcome = self
            .run_handler(
                caller,
                Handler::Trigger(trigger),
                request,
                self.config.trigger_timeout,
            )
            .await?;
        histogram!(metric_names::BEFORE_TRIGGER_SECONDS, &labels)
            .record(begun.elapsed().as_secs_f64());
        returned(outcome, &format!("the {kind} trigger of {class}"))
    }

    /// Runs one handler of the active release for `caller`.
    pub(crate) async fn run_handler(
        &self,
        caller: &Caller,
        handler: Handler,
        request: Map<String, Value>,
        timeout: Duration,
    ) -> Result<Outcome, Error> {
        let code = self.code().ok_or_else(|| Error::Internal {
            what: "no cloud code is loaded".into(),
        })?;
        let run = Run {
            handler,
            request: Value::Object(request),
            soft_deadline: timeout,
            hard_deadline: timeout + KILL_GRACE,
            cause: std::sync::Arc::clone(&caller.cause),
            control: None,
        };
        Ok(code.run(run).await)
    }
}

fn trigger_request(caller: &Caller, kind: TriggerKind, class: &str) -> Map<String, Value> {
    let mut request = caller.request_json();
    request.insert("triggerName".into(), kind.as_str().into());
    request.insert("className".into(), class.into());
    request
}

fn context_of(answer: &Value, caller: &Caller) -> Map<String, Value> {
    match answer.get("context") {
        Some(Value::Object(context)) => context.clone(),
        _ => caller.context.clone(),
    }
}

/// A handler's value, or the error that its caller is told.
pub(crate) fn returned(outcome: Outcome, what: &str) -> Result<Value, Error> {
    match outcome {
        Outcome::Returned(value) => Ok(value),
        Outcome::ReturnedNothing => Ok(Value::Null),
        Outcome::Threw { code, message, .. } => {
            Err(Error::Parse(ParseError::new(ErrorCode(code), message)))
        }
        Outcome::TimedOut { after } => {
            let seconds = after.as_secs_f64();
            let message = format!("{what} was ended: it took longer than {seconds} s");
            Err(refuse(ErrorCode::TIMEOUT, message))
        }
        Outcome::Crashed { reason } => Err(refuse(
            ErrorCode::SCRIPT_FAILED,
            format!("{what} was ended: {reason}"),
        )),
        // Only jobs are.
        Outcome::Killed | Outcome::Suspended { .. } => Err(refuse(
            ErrorCode::SCRIPT_FAILED,
            format!("{what} was ended"),
        )),
    }
}
