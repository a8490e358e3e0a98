//! When a schedule would fire, and what its policies would make of outages: of one that there is, or of an expression.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidegate_schedule::{Fate, Options, Row, Schedule, Simulated, describe, preview, simulate};

use crate::schedules::{compiled, merged};
use crate::{Admin, Error, parse};

/// Most due times of one preview.
pub const MAX_PREVIEW_ROWS: u32 = tidegate_schedule::preview::MAX_ROWS as u32;

/// How long a simulation looks when no end is said.
const DEFAULT_PERIOD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The next due times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// When it fires, in words.
    pub timing: String,
    pub timezone: String,
    /// Due times after this are shown.
    pub at: Timestamp,
    pub rows: Vec<Row>,
}

/// What to play; each part as a person wrote it.
#[derive(Clone, Debug, Default)]
pub struct SimulateRequest {
    /// Without it: now.
    pub from: Option<String>,
    /// Without it: a week after `from`.
    pub to: Option<String>,
    /// Of the scheduler: `FROM/TO`.
    pub outages: Vec<String>,
    /// How long each run takes; without it: no time.
    pub takes: Option<String>,
    /// Options in place of the schedule's own, such as `{"missed": "all"}`; null: none.
    pub changes: Value,
}

/// What would become of each due time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimulationView {
    pub timing: String,
    pub timezone: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub counts: FateCounts,
    pub rows: Vec<SimulatedRow>,
    /// There are more due times than a simulation has rows; the rest was not looked at.
    pub is_cut: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimulatedRow {
    #[serde(flatten)]
    pub simulated: Simulated,
    /// The due time in the schedule's zone.
    pub local: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FateCounts {
    pub ran: u64,
    pub cancelled: u64,
    pub skipped_missed: u64,
    pub skipped_overlap: u64,
    pub undecided: u64,
}

impl Admin {
    /// The next `count` due times of a schedule after `at`; None: now.
    pub async fn preview_schedule(
        &self,
        name: &str,
        at: Option<&str>,
        count: u32,
    ) -> Result<Preview, Error> {
        let (options, schedule) = compiled(&self.jobs.schedule(name).await?)?;
        let at = instant_or(at, "at", &schedule.zone, Timestamp::now())?;
        previewed(&options, &schedule, at, count)
    }

    /// What the policies of a schedule would do.
    pub async fn simulate_schedule(
        &self,
        name: &str,
        request: &SimulateRequest,
    ) -> Result<SimulationView, Error> {
        let mut row = self.jobs.schedule(name).await?;
        row.options = merged(&row.options, &request.changes)?;
        let (options, schedule) = compiled(&row)?;
        let from = instant_or(
            request.from.as_deref(),
            "from",
            &schedule.zone,
            Timestamp::now(),
        )?;
        simulated(&options, &schedule, from, request)
    }
}

/// The next `count` due times that these options would have, after `at`; None: now. Needs no database.
pub fn preview_options(options: &Value, at: Option<&str>, count: u32) -> Result<Preview, Error> {
    let options = Options::read(options)?;
    let zone = Schedule::new("preview", &options, Timestamp::UNIX_EPOCH)?.zone;
    let at = instant_or(at, "at", &zone, Timestamp::now())?;
    // What counts real time would begin to count then.
    let schedule = Schedule::new("preview", &options, at)?;
    previewed(&options, &schedule, at, count)
}

/// What the policies of these options would do. Needs no database.
pub fn simulate_options(
    options: &Value,
    request: &SimulateRequest,
) -> Result<SimulationView, Error> {
    let options = Options::read(&merged(options, &request.changes)?)?;
    let zone = Schedule::new("simulation", &options, Timestamp::UNIX_EPOCH)?.zone;
    let from = instant_or(request.from.as_deref(), "from", &zone, Timestamp::now())?;
    let schedule = Schedule::new("simulation", &options, from)?;
    simulated(&options, &schedule, from, request)
}

/// The options that an expression stands for: cron (`0 9 * * MON-FRI`, `@daily`), `every 10m`, `daily 09:00`, or options
/// as JSON. None: it is none of these, but may be a schedule's name.
///
/// # Errors
/// JSON that cannot be read. What else is wrong with it is told when it is read as options.
pub fn expression(text: &str) -> Result<Option<Value>, Error> {
    let text = text.trim();
    if text.starts_with('{') {
        let read = serde_json::from_str::<Map<String, Value>>(text);
        let read = read.map_err(|error| Error::invalid("EXPRESSION", error))?;
        return Ok(Some(read.into()));
    }
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let is_field = first
        .chars()
        .all(|c| c.is_ascii_digit() || "*/,-?".contains(c));
    Ok(match first {
        "every" | "daily" if !rest.is_empty() => Some(json!({ first: rest })),
        _ if text.starts_with('@') || (is_field && !rest.is_empty()) => {
            Some(json!({ "cron": text }))
        }
        _ => None,
    })
}

/// `2027-03-28T03:00:00+02:00`
pub(crate) fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}

fn instant_or(
    text: Option<&str>,
    argument: &str,
    zone: &TimeZone,
    otherwise: Timestamp,
) -> Result<Timestamp, Error> {
    text.map_or(Ok(otherwise), |text| parse::instant(argument, text, zone))
}

fn previewed(
    options: &Options,
    schedule: &Schedule,
    at: Timestamp,
    count: u32,
) -> Result<Preview, Error> {
    if !(1..=MAX_PREVIEW_ROWS).contains(&count) {
        return Err(Error::invalid(
            "count",
            format!("must be 1 to {MAX_PREVIEW_ROWS}"),
        ));
    }
    // What is due at that very moment belongs to what comes from then on.
    let just_before = at.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(at);
    Ok(Preview {
        timing: describe(options),
        timezone: options.timezone.clone(),
        at,
        rows: preview(schedule, just_before, count as usize),
    })
}

fn simulated(
    options: &Options,
    schedule: &Schedule,
    from: Timestamp,
    request: &SimulateRequest,
) -> Result<SimulationView, Error> {
    let zone = &schedule.zone;
    let week_later = from.checked_add(DEFAULT_PERIOD).unwrap_or(from);
    let to = instant_or(request.to.as_deref(), "to", zone, week_later)?;
    if to <= from {
        return Err(Error::invalid("to", format!("{to} is not after {from}")));
    }
    let outages = request.outages.iter().map(|text| outage(text, zone));
    let outages: Vec<(Timestamp, Timestamp)> = outages.collect::<Result<_, _>>()?;
    let takes = request.takes.as_deref();
    let takes = takes.map_or(Ok(0), |text| parse::duration_ms("takes", text))?;
    let most = tidegate_schedule::options::MAX_EVERY;
    let takes = Duration::from_millis(takes);
    if takes > most {
        return Err(Error::invalid("takes", "is longer than ten years"));
    }
    let just_before = from
        .checked_sub(SignedDuration::from_nanos(1))
        .unwrap_or(from);
    let simulation = simulate(schedule, just_before, to, &outages, takes);
    let mut counts = FateCounts::default();
    for row in &simulation.rows {
        *counts.of(row.fate) += 1;
    }
    let row = |simulated: Simulated| SimulatedRow {
        local: local(simulated.due, zone),
        simulated,
    };
    Ok(SimulationView {
        timing: describe(options),
        timezone: options.timezone.clone(),
        from,
        to,
        counts,
        rows: simulation.rows.into_iter().map(row).collect(),
        is_cut: simulation.truncated,
    })
}

/// `FROM/TO`
fn outage(text: &str, zone: &TimeZone) -> Result<(Timestamp, Timestamp), Error> {
    let Some((from, to)) = text.split_once('/') else {
        let problem =
            format!("{text:?} is not FROM/TO, such as 2027-03-28T01:00Z/2027-03-28T04:00Z");
        return Err(Error::invalid("outage", problem));
    };
    let (from, to) = (
        parse::instant("outage", from, zone)?,
        parse::instant("outage", to, zone)?,
    );
    match from < to {
        true => Ok((from, to)),
        false => Err(Error::invalid(
            "outage",
            format!("{text:?} ends before it begins"),
        )),
    }
}

impl FateCounts {
    fn of(&mut self, fate: Fate) -> &mut u64 {
        match fate {
            Fate::Ran => &mut self.ran,
            Fate::Cancelled => &mut self.cancelled,
            Fate::SkippedMissed => &mut self.skipped_missed,
            Fate::SkippedOverlap => &mut self.skipped_overlap,
            Fate::Undecided => &mut self.undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_told_from_names() {
        for (text, expected) in [
            ("0 9 * * MON-FRI", json!({ "cron": "0 9 * * MON-FRI" })),
            ("*/5 * * * *", json!({ "cron": "*/5 * * * *" })),
            ("0 9 * *", json!({ "cron": "0 9 * *" })),
            ("@daily", json!({ "cron": "@daily" })),
            ("every 10m", json!({ "every": "10m" })),
            ("daily 09:00", json!({ "daily": "09:00" })),
            (r#"{"every":"1h"}"#, json!({ "every": "1h" })),
        ] {
            assert_eq!(expression(text).unwrap(), Some(expected), "{text}");
        }
        for name in ["report", "daily", "nightly clean-up", "2", "parse:abc"] {
            assert_eq!(expression(name).unwrap(), None, "{name}");
        }
        let error = expression("{every").unwrap_err().to_string();
        assert!(error.starts_with("EXPRESSION: "), "{error}");
    }

    #[test]
    fn a_preview_marks_the_day_on_which_clocks_change() {
        let options = json!({ "cron": "30 2 * * *", "timezone": "Europe/Berlin" });
        let preview = preview_options(&options, Some("2027-03-27"), 2).unwrap();
        let rows: Vec<_> = preview.rows.iter().map(|row| row.local.as_str()).collect();
        assert_eq!(
            rows,
            ["2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00"]
        );
        assert_eq!(preview.rows[0].note, None);
        let note = preview.rows[1].note.as_deref().unwrap();
        assert!(note.contains("02:30 does not exist"), "{note}");
        // From the moment on, not after it.
        let daily = json!({ "daily": "00:00" });
        let preview = preview_options(&daily, Some("2027-03-27"), 1).unwrap();
        assert_eq!(preview.rows[0].local, "2027-03-27T00:00:00+00:00");
    }

    #[test]
    fn bad_previews_are_refused_with_the_reason() {
        let refused = |options: Value, at: &str, count: u32| {
            let error = preview_options(&options, Some(at), count).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            error.to_string()
        };
        let daily = json!({ "daily": "09:00" });
        assert!(refused(json!({ "cron": "61 * * * *" }), "2027-01-01", 1).starts_with("cron: "));
        let never = refused(json!({ "cron": "0 9 31 2 *" }), "2027-01-01", 1);
        assert!(never.contains("never"), "{never}");
        let zone = json!({ "daily": "09:00", "timezone": "Europe/Berln" });
        assert!(refused(zone, "2027-01-01", 1).contains("Europe/Berlin"));
        assert!(refused(daily.clone(), "soon", 1).starts_with("at: "));
        assert!(refused(daily.clone(), "2027-01-01", 0).starts_with("count: "));
        assert!(refused(daily, "2027-01-01", 100_000).starts_with("count: "));
    }

    #[test]
    fn a_simulation_says_what_becomes_of_each_due_time() {
        let options = json!({ "every": "1h", "missed": "skip" });
        let mut request = SimulateRequest {
            from: Some("2027-03-01".into()),
            to: Some("2027-03-01T06:00".into()),
            outages: vec!["2027-03-01T01:30/2027-03-01T03:30".into()],
            takes: Some("10m".into()),
            changes: Value::Null,
        };
        let played = simulate_options(&options, &request).unwrap();
        let fates: Vec<Fate> = played.rows.iter().map(|row| row.simulated.fate).collect();
        let (ran, missed) = (Fate::Ran, Fate::SkippedMissed);
        assert_eq!(fates, [ran, ran, missed, missed, ran, ran, ran]);
        assert_eq!((played.counts.ran, played.counts.skipped_missed), (5, 2));
        request.changes = json!({ "missed": "all" });
        let played = simulate_options(&options, &request).unwrap();
        assert_eq!(played.counts.skipped_missed, 0);
        for (argument, change) in [
            (
                "to: ",
                SimulateRequest {
                    to: Some("2027-02-01".into()),
                    ..request.clone()
                },
            ),
            (
                "outage: ",
                SimulateRequest {
                    outages: vec!["2027".into()],
                    ..request.clone()
                },
            ),
            (
                "outage: ",
                SimulateRequest {
                    outages: vec!["2027-03-02/2027-03-01".into()],
                    ..request.clone()
                },
            ),
            (
                "takes: ",
                SimulateRequest {
                    takes: Some("10".into()),
                    ..request.clone()
                },
            ),
            (
                "takes: ",
                SimulateRequest {
                    takes: Some("99999d".into()),
                    ..request.clone()
                },
            ),
            (
                "missed: ",
                SimulateRequest {
                    changes: json!({ "missed": "some" }),
                    ..request.clone()
                },
            ),
        ] {
            let error = simulate_options(&options, &change).unwrap_err().to_string();
            assert!(error.starts_with(argument), "{argument}{error}");
        }
    }
}
