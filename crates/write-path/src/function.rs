//! Cloud functions: called by clients, and by cloud code.

use metrics::histogram;
use serde_json::{Value, json};
use tidegate_cloud_code::{Handler, Outcome};
use tidegate_parse_protocol::{ErrorCode, Object};

use crate::before_trigger::returned;
use crate::error::refuse;
use crate::{Answer, Caller, Error, WritePath, metric_names};

impl WritePath {
    pub(crate) async fn call_function(
        &self,
        caller: &Caller,
        name: &str,
        params: Object,
    ) -> Result<Answer, Error> {
        let known = self
            .code()
            .is_some_and(|code| code.manifest().functions.iter().any(|known| known == name));
        if !known {
            return Err(refuse(
                ErrorCode::SCRIPT_FAILED,
                format!("Invalid function: \"{name}\""),
            ));
        }
        let mut request = caller.request_json();
        request.insert("functionName".into(), name.into());
        request.insert("params".into(), Value::Object(params));
        let handler = Handler::Function(name.to_owned());
        let begun = std::time::Instant::now();
        let outcome = self
            .run_handler(caller, handler, request, self.config.function_timeout)
            .await?;
        let duration_ms = begun.elapsed().as_millis() as u64;
        let status = status_of(&outcome);
        histogram!(metric_names::FUNCTION_SECONDS, "function" => name.to_owned(), "status" => status)
            .record(begun.elapsed().as_secs_f64());
        log_failure(name, &outcome, duration_ms);
        // Then the SDK's promise is fulfilled with undefined.
        if outcome == Outcome::ReturnedNothing {
            return Ok(Answer::empty());
        }
        let value = returned(outcome, &format!("function {name}"))?;
        Ok(Answer::ok(json!({"result": value})))
    }
}

fn status_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Returned(_) | Outcome::ReturnedNothing => "ok",
        Outcome::Threw { .. } => "error",
        Outcome::TimedOut { .. } => "timeout",
        Outcome::Crashed { .. } => "crash",
        Outcome::Killed | Outcome::Suspended { .. } => "killed",
    }
}

fn log_failure(name: &str, outcome: &Outcome, duration_ms: u64) {
    match outcome {
        Outcome::Returned(_) | Outcome::ReturnedNothing => {
            tracing::debug!(function = name, duration_ms, "function done")
        }
        Outcome::Threw {
            code,
            message,
            stack,
            ..
        } => {
            tracing::info!(
                function = name,
                duration_ms,
                code,
                error = message,
                stack,
                "function failed"
            );
        }
        Outcome::TimedOut { .. } => {
            tracing::warn!(function = name, duration_ms, "function timed out")
        }
        Outcome::Crashed { reason } => {
            tracing::error!(
                function = name,
                duration_ms,
                error = reason.as_str(),
                "function crashed"
            );
        }
        Outcome::Killed | Outcome::Suspended { .. } => {
            tracing::error!(function = name, duration_ms, "function was ended")
        }
    }
}
