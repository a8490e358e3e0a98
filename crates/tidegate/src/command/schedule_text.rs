//! Schedules, due times and what would become of them, for people.

use serde_json::Value;
use tidegate_admin::{
    DueRow, Fire, Made, Preview, ScheduleLine, SimulatedRow, SimulationView, Target, Triggered,
};

use super::events::word;
use super::output::{fields, plain, table};

pub fn listed(lines: &[ScheduleLine]) -> String {
    let row = |line: &ScheduleLine| {
        let due = line.next_due.map(|due| format!("{due:.0}"));
        vec![
            plain(&line.name),
            target(&line.target),
            line.timing.clone(),
            state(line),
            line.next_due_local.clone().unwrap_or_default(),
            due.unwrap_or_default(),
            line.last_fire.as_ref().map_or_else(String::new, outcome),
            word(&line.source),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let headings = [
        "SCHEDULE",
        "STARTS",
        "WHEN",
        "STATE",
        "NEXT (LOCAL)",
        "NEXT (UTC)",
        "LAST",
        "FROM",
    ];
    table(&headings, &rows, "no schedules")
}

fn target(target: &Target) -> String {
    match target {
        Target::Job(name) => format!("job {}", plain(name)),
        Target::Workflow(name) => format!("workflow {}", plain(name)),
    }
}

fn state(line: &ScheduleLine) -> String {
    match (
        &line.problem,
        &line.paused_by,
        line.paused_at,
        line.next_due,
    ) {
        (Some(problem), ..) => plain(problem),
        (_, Some(by), Some(_), _) => format!("paused by {}", plain(by)),
        (_, None, Some(_), _) => "paused".to_owned(),
        (_, _, None, None) => "over".to_owned(),
        (_, _, None, Some(_)) => "on".to_owned(),
    }
}

/// `R000000001 succeeded`, or what became of it instead.
fn outcome(fire: &Fire) -> String {
    let state = fire.state.as_deref().unwrap_or(&fire.result);
    match made(fire.made) {
        Some(id) => format!("{id} {state}"),
        None => fire.result.clone(),
    }
}

fn made(made: Option<Made>) -> Option<String> {
    made.map(|made| match made {
        Made::Run(id) => id.to_string(),
        Made::Workflow(id) => id.to_string(),
    })
}

/// One schedule.
pub fn shown(line: &ScheduleLine) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let mut lines = vec![
        ("schedule", plain(&line.name)),
        ("starts", target(&line.target)),
        ("when", line.timing.clone()),
        ("state", state(line)),
        ("next, local", or_none(line.next_due_local.clone())),
        (
            "next, UTC",
            or_none(line.next_due.map(|due| due.to_string())),
        ),
        ("last", or_none(line.last_fire.as_ref().map(outcome))),
        ("from", word(&line.source)),
    ];
    let options = line.options.as_object().into_iter().flatten();
    let options: Vec<(&str, String)> = options
        .map(|(name, value)| (name.as_str(), plain(&text(value))))
        .collect();
    lines.extend(options);
    fields(&lines)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn triggered(triggered: &Triggered) -> String {
    let id = made(Some(triggered.made)).unwrap_or_default();
    format!("{} has started {id}\n", plain(&triggered.schedule))
}

/// Due times in local time and in UTC.
pub fn preview(preview: &Preview) -> String {
    let row = |row: &DueRow| {
        vec![
            row.local.clone(),
            row.zone.clone(),
            format!("{:.0}", row.due),
            row.note.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = preview.rows.iter().map(row).collect();
    let headings = ["LOCAL", "ZONE", "UTC", "NOTE"];
    let rows = table(&headings, &rows, "never again");
    format!("{}\n{rows}", preview.timing)
}

/// What would become of each due time.
pub fn simulation(view: &SimulationView) -> String {
    let row = |row: &SimulatedRow| {
        let simulated = &row.simulated;
        let time = |at: Option<_>| at.map_or_else(String::new, |at| format!("{at:.0}"));
        let late = simulated.lateness_ms;
        vec![
            row.local.clone(),
            format!("{:.0}", simulated.due),
            fate(&word(&simulated.fate)),
            time(simulated.fired_at),
            late.map_or_else(String::new, |late| format!("{} s", late / 1_000)),
            time(simulated.ended_at),
        ]
    };
    let rows: Vec<Vec<String>> = view.rows.iter().map(row).collect();
    let headings = ["DUE (LOCAL)", "DUE (UTC)", "FATE", "BEGAN", "LATE", "ENDED"];
    let counts = &view.counts;
    let mut sums = Vec::new();
    for (count, what) in [
        (counts.ran, "ran"),
        (counts.cancelled, "cancelled"),
        (counts.skipped_missed, "skipped as missed"),
        (counts.skipped_overlap, "skipped for overlap"),
        (counts.undecided, "undecided"),
    ] {
        sums.extend((count > 0).then(|| format!("{count} {what}")));
    }
    let mut text = format!("{}\n", view.timing);
    text.push_str(&table(&headings, &rows, "nothing is due"));
    if !sums.is_empty() {
        text.push_str(&format!("{}\n", sums.join(", ")));
    }
    if view.is_cut {
        text.push_str("there is more than these; choose a shorter period\n");
    }
    text
}

fn fate(word: &str) -> String {
    match word {
        "skippedMissed" => "skipped: missed".to_owned(),
        "skippedOverlap" => "skipped: overlap".to_owned(),
        other => other.to_owned(),
    }
}

/// What became of due times.
pub fn history(fires: &[Fire]) -> String {
    let row = |fire: &Fire| {
        let time = |at: Option<_>| at.map_or_else(String::new, |at| format!("{at:.3}"));
        let said = fire.detail["reason"].as_str().map(str::to_owned);
        let missed = fire.detail["count"].as_u64();
        let missed = missed.map(|count| format!("{count} missed up to this one"));
        vec![
            format!("{:.3}", fire.due_at),
            fire.result.clone(),
            match fire.result.as_str() {
                "started" | "queued" => format!("{:.3} s", fire.lateness_seconds),
                _ => String::new(),
            },
            made(fire.made).unwrap_or_default(),
            fire.state.clone().unwrap_or_default(),
            time(fire.started_at),
            time(fire.finished_at),
            plain(&said.or(missed).or(fire.error.clone()).unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<String>> = fires.iter().map(row).collect();
    let headings = [
        "DUE", "RESULT", "LATE", "MADE", "STATE", "STARTED", "FINISHED", "SAYS",
    ];
    table(&headings, &rows, "it has not fired yet")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_admin::{SimulateRequest, preview_options, simulate_options};

    #[test]
    fn a_preview_shows_both_clocks_and_marks_the_day_of_the_change() {
        let options = json!({ "cron": "30 2 * * *", "timezone": "Europe/Berlin" });
        let seen = preview_options(&options, Some("2027-03-27"), 2).unwrap();
        let text = preview(&seen);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], seen.timing);
        assert_eq!(
            lines[1],
            "LOCAL                      ZONE  UTC                   NOTE"
        );
        assert_eq!(
            lines[2],
            "2027-03-27T02:30:00+01:00  CET   2027-03-27T01:30:00Z"
        );
        assert!(
            lines[3].starts_with(
                "2027-03-28T03:00:00+02:00  CEST  2027-03-28T01:00:00Z  clocks go forward"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_simulation_says_the_fate_of_each_due_time_and_the_sums() {
        let request = SimulateRequest {
            from: Some("2027-03-01".into()),
            to: Some("2027-03-04".into()),
            outages: vec!["2027-03-02/2027-03-03T12:00".into()],
            takes: Some("10m".into()),
            changes: json!({ "missed": "skip" }),
        };
        let text = simulation(&simulate_options(&json!({ "daily": "09:00" }), &request).unwrap());
        assert!(text.contains("2027-03-01T09:00:00Z  ran"), "{text}");
        assert!(
            text.contains("2027-03-02T09:00:00Z  skipped: missed"),
            "{text}"
        );
        assert!(text.ends_with("1 ran, 2 skipped as missed\n"), "{text}");
    }
}
