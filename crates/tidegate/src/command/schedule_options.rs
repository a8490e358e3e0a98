//! The options of a schedule as the command line takes them.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::run_arguments::params;

/// Each as `Parse.Cloud.schedule` takes it.
#[derive(Debug, Default, Args)]
pub struct ScheduleOptions {
    /// A cron expression of 5 or 6 fields, or such as @daily
    #[arg(long, group = "timing", value_name = "EXPRESSION")]
    cron: Option<String>,
    /// Each interval of real time, such as 10m
    #[arg(long, group = "timing", value_name = "DURATION")]
    every: Option<String>,
    /// Each day at HH:MM
    #[arg(long, group = "timing", value_name = "HH:MM")]
    daily: Option<String>,
    /// On days of the week, such as "MON,FRI 09:00"
    #[arg(long, group = "timing", value_name = "DAYS HH:MM")]
    weekly: Option<String>,
    /// On days of the month, such as "1,15,last 09:00"
    #[arg(long, group = "timing", value_name = "DAYS HH:MM")]
    monthly: Option<String>,
    /// Once, then
    #[arg(long, group = "timing", value_name = "TIME")]
    once: Option<String>,
    /// Whose wall clock counts, such as Europe/Berlin; without it UTC
    #[arg(long = "tz", value_name = "ZONE")]
    timezone: Option<String>,
    /// For each run: a JSON object, or @FILE that holds one
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    #[command(flatten)]
    policies: Policies,
    /// Begin up to this much after the due time, such as 30s
    #[arg(long, value_name = "DURATION")]
    jitter: Option<String>,
    /// Nothing is due before
    #[arg(long, value_name = "TIME")]
    starts: Option<String>,
    /// Nothing is due after
    #[arg(long, value_name = "TIME")]
    ends: Option<String>,
    /// How often a run is tried again; without it as the job says
    #[arg(long)]
    retries: Option<u64>,
    /// Of each run, from -100 to 100, higher first
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<i64>,
    /// For people
    #[arg(long)]
    description: Option<String>,
}

/// What becomes of what is missed and of what overlaps.
#[derive(Debug, Default, Args)]
pub struct Policies {
    /// What becomes of due times that passed while no scheduler ran: skip, one, all, or all:CAP
    #[arg(long, value_name = "POLICY")]
    missed: Option<String>,
    /// What becomes of a due time while an earlier run is not over: skip, queue, allow or cancel
    #[arg(long, value_name = "POLICY")]
    overlap: Option<String>,
}

impl ScheduleOptions {
    /// Those that are given, as JSON.
    pub fn to_value(&self) -> Result<Value> {
        let mut options = self.policies.to_map();
        let mut put = |name: &str, value: Option<Value>| {
            options.extend(value.map(|value| (name.to_owned(), value)));
        };
        let text = |value: &Option<String>| value.clone().map(Value::from);
        put("cron", text(&self.cron));
        put("every", text(&self.every));
        put("daily", text(&self.daily));
        put("weekly", self.weekly.as_deref().map(days));
        put("monthly", self.monthly.as_deref().map(days));
        put("once", text(&self.once));
        put("timezone", text(&self.timezone));
        let params = params(self.params.as_deref())?;
        put("params", (!params.is_null()).then_some(params));
        put("jitter", text(&self.jitter));
        put("starts", text(&self.starts));
        put("ends", text(&self.ends));
        put("retries", self.retries.map(Value::from));
        put("priority", self.priority.map(Value::from));
        put("description", text(&self.description));
        Ok(options.into())
    }
}

impl Policies {
    pub fn to_map(&self) -> Map<String, Value> {
        let mut options = Map::new();
        if let Some(missed) = &self.missed {
            let cap = missed
                .strip_prefix("all:")
                .and_then(|cap| cap.parse::<u64>().ok());
            let missed = cap.map_or_else(|| json!(missed), |cap| json!({ "all": cap }));
            options.insert("missed".to_owned(), missed);
        }
        let overlap = self.overlap.clone().map(Value::from);
        options.extend(overlap.map(|overlap| ("overlap".to_owned(), overlap)));
        options
    }
}

/// `MON,FRI 09:00`; what is wrong with it is told when the options are read.
fn days(text: &str) -> Value {
    let (days, at) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let day = |day: &str| {
        let number = day.parse::<u64>();
        number.map_or_else(|_| Value::from(day), Value::from)
    };
    let days: Vec<Value> = days.split(',').map(|text| day(text.trim())).collect();
    match at.trim() {
        "" => json!({ "on": days }),
        at => json!({ "on": days, "at": at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: ScheduleOptions,
    }

    #[test]
    fn options_are_those_of_cloud_code() {
        let of = |words: &[&str]| {
            let line = Line::try_parse_from([&["x"], words].concat());
            line.map(|line| line.options.to_value().unwrap())
        };
        for (words, expected) in [
            (&[][..], json!({})),
            (
                &[
                    "--cron",
                    "0 9 * * *",
                    "--tz",
                    "Europe/Berlin",
                    "--missed",
                    "all:20",
                ],
                json!({ "cron": "0 9 * * *", "timezone": "Europe/Berlin", "missed": { "all": 20 } }),
            ),
            (
                &[
                    "--weekly",
                    "MON,FRI 09:00",
                    "--overlap",
                    "queue",
                    "--priority",
                    "-5",
                ],
                json!({ "weekly": { "on": ["MON", "FRI"], "at": "09:00" }, "overlap": "queue", "priority": -5 }),
            ),
            (
                &[
                    "--monthly",
                    "1,15,last 09:00",
                    "--params",
                    r#"{"a":1}"#,
                    "--jitter",
                    "30s",
                ],
                json!({ "monthly": { "on": [1, 15, "last"], "at": "09:00" }, "params": { "a": 1 }, "jitter": "30s" }),
            ),
            (
                &["--weekly", "MON", "--missed", "all:x"],
                json!({ "weekly": { "on": ["MON"] }, "missed": "all:x" }),
            ),
        ] {
            assert_eq!(of(words).unwrap(), expected, "{words:?}");
        }
        assert!(of(&["--daily", "09:00", "--every", "1h"]).is_err());
    }
}
