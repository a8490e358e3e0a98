//! Jobs and runs, for people.

use serde_json::Value;
use tidegate_admin::{
    AttemptLine, JobLine, LoggedLine, QueueLine, RetriedRuns, RunEvent, RunLine, ShownRun,
    StartedRun, log_time,
};

use super::output::{fields, plain, table};

/// States of runs that are yet to run.
pub(super) const OPEN: [&str; 5] = ["waiting", "pending", "sleeping", "blocked", "queued"];

/// Entries of a history that are shown.
const SHOWN_EVENTS: usize = 30;

/// Characters of a message or an error in a table.
const MAX_CELL_CHARS: usize = 60;

pub fn jobs(lines: &[JobLine]) -> String {
    let row = |line: &JobLine| {
        let count = |state: &str| line.runs.get(state).copied().unwrap_or(0);
        let open: u64 = OPEN.iter().map(|state| count(state)).sum();
        let last = line.last_run.as_ref();
        let state = match (&line.paused_by, line.paused_at, line.is_registered) {
            (Some(by), Some(_), _) => format!("paused by {by}"),
            (None, Some(_), _) => "paused".to_owned(),
            (_, None, true) => "runs".to_owned(),
            (_, None, false) => "not registered".to_owned(),
        };
        vec![
            line.job.clone(),
            state,
            open.to_string(),
            count("running").to_string(),
            count("succeeded").to_string(),
            count("failed").to_string(),
            last.map_or_else(String::new, |run| format!("{} {}", run.id, run.state)),
            last.map_or_else(String::new, |run| format!("{:.0}", run.created_at)),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let headings = [
        "JOB",
        "STATE",
        "OPEN",
        "RUNNING",
        "SUCCEEDED",
        "DEAD",
        "LAST RUN",
        "ASKED FOR",
    ];
    table(&headings, &rows, "no jobs")
}

pub fn queue(line: &QueueLine) -> String {
    let state = match (&line.paused_by, line.paused_at, line.is_scheduled) {
        (Some(by), Some(_), _) => format!("all jobs are paused by {by}"),
        (None, Some(_), _) => "all jobs are paused".to_owned(),
        (_, None, true) => "runs".to_owned(),
        (_, None, false) => "no server with the role scheduler runs".to_owned(),
    };
    let seconds = |milliseconds: u64| format!("{:.1} s", milliseconds as f64 / 1e3);
    fields(&[
        ("state", state),
        ("workers", line.workers.to_string()),
        ("running", line.running.to_string()),
        ("queued", line.queued.to_string()),
        ("pending", line.pending.to_string()),
        ("parked", line.parked.to_string()),
        ("blocked", line.blocked.to_string()),
        ("waiting", line.waiting.to_string()),
        ("dead", line.dead.to_string()),
        ("oldest due", seconds(line.oldest_due_ms)),
        ("schedules late", seconds(line.schedule_lateness_ms)),
    ])
}

pub fn runs(lines: &[RunLine]) -> String {
    let row = |line: &RunLine| {
        vec![
            line.id.to_string(),
            line.job.clone(),
            state(line),
            line.attempts.to_string(),
            format!("{:.0}", line.created_at),
            took(line),
            progress(line.progress.as_ref()),
            cell(line.error.as_ref().or(line.message.as_ref())),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let headings = [
        "RUN",
        "JOB",
        "STATE",
        "ATTEMPTS",
        "ASKED FOR",
        "TOOK",
        "PROGRESS",
        "SAYS",
    ];
    table(&headings, &rows, "no runs")
}

fn state(line: &RunLine) -> String {
    match (
        &line.blocked_on,
        line.is_cancel_requested,
        line.state.is_final(),
    ) {
        (_, true, false) => format!("{}, to be cancelled", line.state),
        (Some(group), ..) => format!("{} by limit of {}", line.state, plain(group)),
        _ => line.state.to_string(),
    }
}

/// From the start of the first attempt to the end.
fn took(line: &RunLine) -> String {
    let (Some(started), Some(finished)) = (line.started_at, line.finished_at) else {
        return String::new();
    };
    milliseconds((finished.as_millisecond() - started.as_millisecond()) as f64)
}

fn milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        small if small < 1_000.0 => format!("{small:.0} ms"),
        medium if medium < 120_000.0 => format!("{:.1} s", medium / 1_000.0),
        large => format!("{:.0} min", large / 60_000.0),
    }
}

fn progress(reported: Option<&Value>) -> String {
    let Some(done) = reported.and_then(|reported| reported["done"].as_f64()) else {
        return String::new();
    };
    match reported.and_then(|reported| reported["total"].as_f64()) {
        Some(total) if total > 0.0 => format!("{:.0}%", (done / total * 100.0).clamp(0.0, 100.0)),
        _ => done.to_string(),
    }
}

/// The first line, cut.
pub(super) fn cell(text: Option<&String>) -> String {
    let first = text
        .and_then(|text| text.lines().next())
        .unwrap_or_default();
    let mut cut: String = plain(first).chars().take(MAX_CELL_CHARS).collect();
    if cut.chars().count() < first.chars().count() {
        cut.push('…');
    }
    cut
}

pub fn started(started: &StartedRun) -> String {
    let text = run(&started.run);
    match started.is_new {
        true => text,
        false => format!("a run with this idempotency key was there already:\n{text}"),
    }
}

/// One run, without its history.
pub fn run(line: &RunLine) -> String {
    let mut lines = vec![
        ("run", line.id.to_string()),
        ("job", line.job.clone()),
        ("state", state(line)),
        ("attempts", line.attempts.to_string()),
        ("source", line.source.clone()),
        ("asked for", format!("{:.3}", line.created_at)),
        ("not before", format!("{:.3}", line.run_at)),
    ];
    let time = |at: Option<_>| at.map(|at| format!("{at:.3}"));
    let optional = [
        ("started", time(line.started_at)),
        ("finished", time(line.finished_at)),
        ("worker", line.worker.clone()),
        (
            "priority",
            (line.priority != 0).then(|| line.priority.to_string()),
        ),
        ("concurrency key", line.concurrency_key.clone()),
        ("workflow", line.workflow.map(|id| id.to_string())),
        ("node", line.node.clone()),
        ("schedule", line.schedule.clone()),
        ("due", time(line.due_at)),
        (
            "crashes",
            (line.crashes > 0).then(|| line.crashes.to_string()),
        ),
        (
            "progress",
            line.progress.as_ref().map(|reported| reported.to_string()),
        ),
        ("message", line.message.clone()),
        ("error", line.error.clone()),
    ];
    for (name, value) in optional {
        lines.extend(value.map(|value| (name, plain(&value))));
    }
    fields(&lines)
}

/// One run with its attempts, steps and history.
pub fn shown(shown: &ShownRun) -> String {
    let detail = &shown.detail;
    let mut text = run(&detail.summary);
    text.push_str(&format!("params: {}\n", detail.params));
    if let Some(result) = &detail.result {
        text.push_str(&format!("result: {result}\n"));
    }
    for (id, state) in &detail.needs {
        let state = state.map_or("deleted", |state| state.as_str());
        text.push_str(&format!("needs {id}, {state}\n"));
    }
    for (name, value) in &detail.steps {
        text.push_str(&format!(
            "step {}: {}\n",
            plain(name),
            cell(Some(&value.to_string()))
        ));
    }
    for attempt in &shown.tries {
        text.push_str(&attempt_text(attempt));
    }
    let skipped = shown.history.len().saturating_sub(SHOWN_EVENTS);
    text.push_str("history:\n");
    if skipped > 0 {
        text.push_str(&format!("  ({skipped} entries before these)\n"));
    }
    text.extend(shown.history[skipped..].iter().map(event));
    text
}

fn attempt_text(attempt: &AttemptLine) -> String {
    let end = attempt.end.as_deref().unwrap_or("runs");
    let took = attempt.duration_ms.map(milliseconds);
    let took = took.map_or_else(String::new, |took| format!(" after {took}"));
    let worker = attempt.worker.as_deref().unwrap_or("nobody");
    let mut text = format!("attempt {}: {end}{took}, by {worker}\n", attempt.attempt);
    for said in attempt.warnings.iter().chain(&attempt.error) {
        for line in said.lines() {
            text.push_str(&format!("  {}\n", plain(line)));
        }
    }
    let left_out = attempt.log_lines - attempt.logs.len() as u64;
    if left_out > 0 {
        text.push_str(&format!("  ({left_out} lines of log before these)\n"));
    }
    for line in &attempt.logs {
        let level = super::events::word(&line.level);
        text.push_str(&format!(
            "  {} {level:<5} {}\n",
            log_time(line),
            plain(&line.text)
        ));
    }
    text
}

fn event(event: &RunEvent) -> String {
    let body = match &event.body {
        Value::Object(body) if body.is_empty() => String::new(),
        body => cell(Some(&body.to_string())),
    };
    let line = format!("  {:.3} {:<9} {body}", event.at, event.kind);
    format!("{}\n", line.trim_end())
}

pub fn lines(logged: &[LoggedLine]) -> String {
    logged
        .iter()
        .map(|one| format!("{}\n", line(one)))
        .collect()
}

/// One line of a log.
pub fn line(logged: &LoggedLine) -> String {
    let level = super::events::word(&logged.line.level);
    let attempt = match logged.attempt {
        1 => String::new(),
        attempt => format!("[attempt {attempt}] "),
    };
    let text = plain(&logged.line.text);
    format!("{} {level:<5} {attempt}{text}", log_time(&logged.line))
}

pub fn retried(done: &RetriedRuns) -> String {
    let mut text = format!("{} run again, {} refused\n", done.retried, done.refused);
    for reason in &done.reasons {
        text.push_str(&format!("  {}\n", plain(reason)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_one_short_line() {
        assert_eq!(cell(Some(&"one\ntwo".to_owned())), "one");
        assert_eq!(cell(None), "");
        let long = cell(Some(&"ä".repeat(100)));
        assert_eq!(long.chars().count(), MAX_CELL_CHARS + 1);
        assert!(long.ends_with('…'));
        assert_eq!(cell(Some(&"a\x1b[2J".to_owned())), "a [2J");
    }

    #[test]
    fn progress_is_a_share_where_there_is_a_whole() {
        for (reported, expected) in [
            (json!({ "done": 1, "total": 4 }), "25%"),
            (json!({ "done": 9, "total": 4 }), "100%"),
            (json!({ "done": 7 }), "7"),
            (json!({ "done": 7, "total": 0 }), "7"),
        ] {
            assert_eq!(progress(Some(&reported)), expected, "{reported}");
        }
        assert_eq!(progress(None), "");
    }

    #[test]
    fn lengths_of_time_are_in_units_that_people_read() {
        for (given, expected) in [(7.0, "7 ms"), (1_500.0, "1.5 s"), (600_000.0, "10 min")] {
            assert_eq!(milliseconds(given), expected);
        }
    }
}
