//! One run with its whole life: attempts, each with how it ended and what it logged, and the history.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_job::{LogLine, RunId};
use tidegate_job_log::history::Event;
use tidegate_job_log::list::Detail;

use crate::runs::run_id;
use crate::{Admin, Error};

/// Most entries of a history that are read to show a run; of a longer one, the first.
pub const MAX_HISTORY_EVENTS: usize = 10_000;

/// Entries read at once.
const PAGE_EVENTS: u32 = 1_000;

/// The last lines of an attempt's log that come with it.
const ATTEMPT_LOG_LINES: usize = 100;

/// A run with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownRun {
    #[serde(flatten)]
    pub detail: Detail,
    /// In order; after a human has had it run again they begin at 1 again.
    pub tries: Vec<AttemptLine>,
    /// What happened, but for log lines.
    pub history: Vec<Event>,
    /// The history is longer than [`MAX_HISTORY_EVENTS`].
    pub is_history_cut: bool,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptLine {
    pub attempt: u32,
    pub started_at: Timestamp,
    /// The one that had it last.
    pub worker: Option<String>,
    pub ended_at: Option<Timestamp>,
    /// `succeeded`, `failed`, `cancelled`, `retry`, `lost`, or for the moment `sleeping` or `handed_back`; null: it runs.
    pub end: Option<String>,
    pub error: Option<String>,
    pub duration_ms: Option<f64>,
    /// That its time is nearly over, and the like.
    pub warnings: Vec<String>,
    pub log_lines: u64,
    /// The last of them.
    pub logs: Vec<LogLine>,
}

/// When a line was written, as ISO 8601 in UTC.
pub fn log_time(line: &LogLine) -> String {
    let at = Timestamp::from_millisecond(line.at_ms);
    at.map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

impl Admin {
    /// Everything about one run.
    pub async fn show_run(&self, run: &str) -> Result<ShownRun, Error> {
        let run = run_id("run", run)?;
        let detail = self.jobs.run(run).await?;
        let (events, is_history_cut) = self.whole_history(run).await?;
        Ok(ShownRun {
            detail,
            tries: attempts(&events),
            history: events
                .into_iter()
                .filter(|event| event.kind != "log")
                .collect(),
            is_history_cut,
        })
    }

    /// What happened to a run after entry `after` (0: from the beginning), log lines too, at most `limit` entries.
    pub async fn run_history(
        &self,
        run: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Event>, Error> {
        let run = run_id("run", run)?;
        let events = self.jobs.history(run, after, limit).await?;
        if events.is_empty() {
            // Nothing happened, or nothing there?
            self.jobs.run(run).await?;
        }
        Ok(events)
    }

    async fn whole_history(&self, run: RunId) -> Result<(Vec<Event>, bool), Error> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.id);
            let page = self.jobs.history(run, after, PAGE_EVENTS).await?;
            let is_last = page.len() < PAGE_EVENTS as usize;
            events.extend(page);
            if is_last || events.len() >= MAX_HISTORY_EVENTS {
                return Ok((events, !is_last));
            }
        }
    }
}

fn attempts(events: &[Event]) -> Vec<AttemptLine> {
    let mut attempts: Vec<AttemptLine> = Vec::new();
    // Of the attempts since the run was last begun anew.
    let mut first = 0;
    for event in events {
        let current = attempts[first..].last_mut();
        match (event.kind.as_str(), current) {
            ("retried", _) => first = attempts.len(),
            ("started" | "resumed", Some(attempt)) if attempt.attempt == event.attempt => {
                attempt.worker = text(&event.body, "worker");
                (attempt.end, attempt.ended_at) = (None, None);
            }
            ("started" | "resumed", _) => attempts.push(begun(event)),
            (_, Some(attempt)) if attempt.attempt == event.attempt => goes_on(attempt, event),
            _ => {}
        }
    }
    attempts
}

fn begun(event: &Event) -> AttemptLine {
    AttemptLine {
        attempt: event.attempt,
        started_at: event.at,
        worker: text(&event.body, "worker"),
        ended_at: None,
        end: None,
        error: None,
        duration_ms: None,
        warnings: Vec::new(),
        log_lines: 0,
        logs: Vec::new(),
    }
}

/// What an event says of the attempt that it belongs to.
fn goes_on(attempt: &mut AttemptLine, event: &Event) {
    let body = &event.body;
    match event.kind.as_str() {
        "log" => {
            let lines = serde_json::from_value::<Vec<LogLine>>(body.clone());
            let lines = lines.unwrap_or_default();
            attempt.log_lines += lines.len() as u64;
            attempt.logs.extend(lines);
            let surplus = attempt.logs.len().saturating_sub(ATTEMPT_LOG_LINES);
            attempt.logs.drain(..surplus);
        }
        "warned" => attempt.warnings.extend(text(body, "message")),
        "retry" | "lost" | "handed_back" | "sleeping" | "finished" => {
            let end = text(body, "state").unwrap_or_else(|| event.kind.clone());
            // What ended the attempt says more than that the run is over.
            if attempt.end.as_deref() != Some("lost") {
                attempt.end = Some(end);
                attempt.ended_at = Some(event.at);
            }
            attempt.error = text(body, "error").or(attempt.error.take());
            attempt.duration_ms = body["durationMs"].as_f64().or(attempt.duration_ms);
        }
        _ => {}
    }
}

fn text(body: &Value, name: &str) -> Option<String> {
    body[name].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn history(entries: &[(u32, &str, Value)]) -> Vec<Event> {
        let event = |(place, (attempt, kind, body)): (usize, &(u32, &str, Value))| Event {
            id: place as u64 + 1,
            at: Timestamp::from_second(place as i64).unwrap(),
            attempt: *attempt,
            kind: (*kind).to_owned(),
            body: body.clone(),
        };
        entries.iter().enumerate().map(event).collect()
    }

    #[test]
    fn attempts_are_told_apart_with_their_ends_errors_and_logs() {
        let line = json!([{ "atMs": 1, "level": "info", "text": "hello" }]);
        let attempts = attempts(&history(&[
            (0, "created", json!({ "source": "api" })),
            (0, "queued", json!({})),
            (1, "started", json!({ "worker": "w1" })),
            (1, "log", line.clone()),
            (1, "sleeping", json!({ "until": "2027-01-01T00:00:00Z" })),
            (1, "resumed", json!({ "worker": "w2" })),
            (1, "retry", json!({ "error": "broken", "durationMs": 12.5 })),
            (2, "started", json!({ "worker": "w1" })),
            (2, "warned", json!({ "message": "nearly over" })),
            (2, "lost", json!({ "crashes": 1 })),
            (3, "started", json!({ "worker": "w2" })),
            (
                3,
                "finished",
                json!({ "state": "failed", "error": "again" }),
            ),
            (0, "retried", json!({ "afresh": false })),
            (1, "started", json!({ "worker": "w3" })),
        ]));
        let ends: Vec<_> = attempts
            .iter()
            .map(|one| (one.attempt, one.end.as_deref(), one.error.as_deref()))
            .collect();
        let expected = [
            (1, Some("retry"), Some("broken")),
            (2, Some("lost"), None),
            (3, Some("failed"), Some("again")),
            (1, None, None),
        ];
        assert_eq!(ends, expected);
        assert_eq!((attempts[0].log_lines, attempts[0].logs.len()), (1, 1));
        assert_eq!(attempts[0].worker.as_deref(), Some("w2"));
        assert_eq!(attempts[0].duration_ms, Some(12.5));
        assert_eq!(
            attempts[0].ended_at,
            Some(Timestamp::from_second(6).unwrap())
        );
        assert_eq!(attempts[1].warnings, ["nearly over"]);
        assert_eq!(attempts[3].ended_at, None);
    }

    #[test]
    fn only_the_last_lines_of_a_long_log_come_with_its_attempt() {
        let lines: Vec<Value> = (0..250)
            .map(|at| json!({ "atMs": at, "level": "info", "text": at.to_string() }))
            .collect();
        let attempts = attempts(&history(&[
            (1, "started", json!({ "worker": "w1" })),
            (1, "log", json!(lines)),
        ]));
        assert_eq!(attempts[0].log_lines, 250);
        assert_eq!(attempts[0].logs.len(), ATTEMPT_LOG_LINES);
        assert_eq!(attempts[0].logs[0].text, "150");
    }
}
