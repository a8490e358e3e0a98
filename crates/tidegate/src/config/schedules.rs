//! `[[schedules]]` of `tidegate.toml`.

use anyhow::Result;
use serde_json::{Map, Value};
use tidegate_job::start::params_text;
use tidegate_job_log::schedule::{NewSchedule, Source, Target};
use tidegate_schedule::Options;

use crate::cli::UsageError;

/// Reads the tables: `name`, `job` or `workflow`, and the options of `Parse.Cloud.schedule`.
///
/// # Errors
/// A [`UsageError`] that names the schedule, the field, and what it should be.
pub(super) fn schedules(tables: &[toml::Table]) -> Result<Vec<NewSchedule>> {
    let mut schedules: Vec<NewSchedule> = Vec::new();
    for (place, table) in (1..).zip(tables) {
        let label = match table.get("name").and_then(toml::Value::as_str) {
            Some(name) => format!("[[schedules]] {name}"),
            None => format!("[[schedules]] number {place}"),
        };
        let refuse = |problem: String| UsageError(format!("{label}: {problem}"));
        let schedule = schedule(table).map_err(refuse)?;
        if schedules.iter().any(|other| other.name == schedule.name) {
            let problem = "name is that of another schedule: each has its own".to_owned();
            return Err(refuse(problem).into());
        }
        schedules.push(schedule);
    }
    Ok(schedules)
}

fn schedule(table: &toml::Table) -> Result<NewSchedule, String> {
    let mut fields = json(toml::Value::Table(table.clone()));
    let fields = fields.as_object_mut().expect("a table is an object");
    let name = text(fields, "name")?.ok_or("name is missing")?;
    tidegate_job::options::check_name("schedule", &name).map_err(|error| error.to_string())?;
    let target = match (text(fields, "job")?, text(fields, "workflow")?) {
        (Some(job), None) => Target::Job(job),
        (None, Some(workflow)) => Target::Workflow(workflow),
        (Some(_), Some(_)) => return Err("has both job and workflow; leave one out".into()),
        (None, None) => return Err("job is missing: the name of what it starts".into()),
    };
    let options = Options::read(&Value::Object(fields.clone()))
        .map_err(|error| error.to_string())?
        .to_value();
    params_text(&options["params"]).map_err(|error| error.to_string())?;
    Ok(NewSchedule {
        name,
        source: Source::Config,
        target,
        options,
    })
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a text in quotes")),
    }
}

/// TOML's times are texts in JSON: the options read them.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, json(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<NewSchedule>> {
        let table: toml::Table = text.parse().unwrap();
        let items = table["schedules"].as_array().unwrap().iter();
        let tables: Vec<toml::Table> = items.map(|item| item.as_table().unwrap().clone()).collect();
        schedules(&tables)
    }

    #[test]
    fn a_schedule_says_when_and_what() {
        let read = read(
            "[[schedules]]\nname = 'nightly'\njob = 'cleanup'\ncron = '0 3 * * *'\ntimezone = 'Europe/Berlin'\n\
             starts = 2026-01-01T00:00:00Z\nparams = { days = 30 }\n\
             [[schedules]]\nname = 'chain'\nworkflow = 'import'\nevery = '1h'\n",
        )
        .unwrap();
        assert_eq!(read[0].target, Target::Job("cleanup".into()));
        assert_eq!(read[0].options["params"], json!({"days": 30}));
        assert_eq!(read[0].options["starts"], "2026-01-01T00:00:00Z");
        assert_eq!(read[1].target, Target::Workflow("import".into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = "name = 'a'\njob = 'b'\ncron = '@daily'\n";
        for (text, named) in [
            (
                "job = 'b'\ncron = '@daily'\n".to_owned(),
                "number 1: name is missing",
            ),
            ("name = 'a'\ncron = '@daily'\n".into(), "a: job is missing"),
            (format!("{good}workflow = 'c'\n"), "both job and workflow"),
            ("name = 5\njob = 'b'\n".into(), "name must be a text"),
            (
                "name = 'a'\njob = 'b'\ncron = '61 * * * *'\n".into(),
                "cron",
            ),
            (format!("{good}timezon = 'UTC'\n"), "timezone"),
            (
                format!("{good}params = {{ a = \"\\u0000\" }}\n"),
                "[[schedules]] a: params hold the character NUL",
            ),
            (
                format!("{good}params = {{ a = '{}' }}\n", "x".repeat(1 << 20)),
                "[[schedules]] a: params have 1048584 bytes",
            ),
            (
                format!("{good}[[schedules]]\n{good}"),
                "name is that of another",
            ),
        ] {
            let refusal = read(&format!("[[schedules]]\n{text}"))
                .unwrap_err()
                .to_string();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
