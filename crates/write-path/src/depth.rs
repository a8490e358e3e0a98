//! Stops triggers that set one another off without end.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate_cloud_code::Cause;
use tidegate_parse_protocol::ErrorCode;

use crate::error::refuse;
use crate::{Error, WritePath, metric_names};

const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl WritePath {
    /// Refuses a write that too many triggers in a row have led to.
    ///
    /// # Errors
    /// 141, with the triggers and their events. It comes again in each attempt of the handler that lets it escape, which
    /// so ends as a dead letter; what the attempt wrote before is not written again.
    pub(crate) fn check_depth(&self, cause: &Cause) -> Result<(), Error> {
        let limit = self.config.max_trigger_depth;
        if cause.depth <= limit {
            return Ok(());
        }
        let message = too_deep(limit, &cause.chain);
        metrics::counter!(metric_names::LOOPS_STOPPED).increment(1);
        if may_log() {
            tracing::warn!(error = message, "a chain of triggers is stopped");
        }
        Err(refuse(ErrorCode::SCRIPT_FAILED, message))
    }
}

/// True once in an interval: chains that fan out stop at thousands of places at once, and the metric counts them.
fn may_log() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

fn too_deep(limit: u32, chain: &[String]) -> String {
    let chain = chain.join("\n  ");
    format!(
        "this write is refused, because more than {limit} triggers in a row have led to it:\n  {chain}\n\
         Let the handler not write when there is nothing left to do: compare the object with request.original, or \
         look at request.context. If the chain ends by itself, set max_trigger_depth higher."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_each_trigger_and_event_on_a_line_of_its_own() {
        let chain = ["afterSave:A 1-0.A-0", "afterSave:B 1-0.B-0"].map(str::to_owned);
        let message = too_deep(1, &chain);
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "this write is refused, because more than 1 triggers in a row have led to it:",
                "  afterSave:A 1-0.A-0",
                "  afterSave:B 1-0.B-0"
            ]
        );
        assert!(lines[3].contains("max_trigger_depth") && lines.len() == 4);
    }
}
