//! Makes schedules of `_JobSchedule` rows: what a stock dashboard or Back4app's form has stored just runs.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tidegate_job_log::JobLog;
use tidegate_job_log::schedule::{NewSchedule, Source, Target};
use tidegate_schedule::parse_form;

use crate::Error;
use crate::lead::{LOOK_INTERVAL, Words, word};

/// Mirrors until an error. A trigger on the table says when to look; a row that was read before is not read again.
pub(crate) async fn mirror(log: &JobLog, mut words: Words) -> Result<(), Error> {
    log.announce_parse_schedules().await?;
    // None: what the leader before has left is not known.
    let mut known: Option<HashMap<String, Value>> = None;
    loop {
        words.mark_unchanged();
        let rows: HashMap<String, Value> = log.parse_schedule_rows().await?.into_iter().collect();
        if known.as_ref() != Some(&rows) {
            let schedules: Vec<NewSchedule> = rows.iter().filter_map(schedule).collect();
            log.replace_schedules(Source::Parse, &schedules).await?;
            known = Some(rows);
        }
        word(&mut words, LOOK_INTERVAL).await;
    }
}

/// The schedule of a row; None, with a warning, for one that cannot be read: nobody checked what SQL wrote.
fn schedule((id, row): (&String, &Value)) -> Option<NewSchedule> {
    let read = || {
        let row = row.as_object().ok_or("it is no row")?;
        let job = row.get("jobName").and_then(Value::as_str).unwrap_or("");
        if job.is_empty() {
            return Err("jobName is missing; write the name of a job".into());
        }
        let options = parse_form::job_schedule(row, created(row));
        let options = options.map_err(|error| error.to_string())?;
        Ok::<_, String>(NewSchedule {
            name: format!("parse:{id}"),
            source: Source::Parse,
            target: Target::Job(job.to_owned()),
            options: options.to_value(),
        })
    };
    read()
        .inspect_err(|error| {
            tracing::warn!(object.id = id, error, "a row of _JobSchedule does not run")
        })
        .ok()
}

fn created(row: &Map<String, Value>) -> Timestamp {
    let text = row.get("createdAt").and_then(Value::as_str);
    let parsed = text.and_then(|text| text.replacen(' ', "T", 1).parse().ok());
    parsed.unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_is_a_schedule_of_its_job_or_nothing() {
        let id = "a1".to_owned();
        let row = json!({"objectId": "a1", "createdAt": "2026-01-01T00:00:00+00:00", "jobName": "report",
            "startAfter": "2026-01-01T00:00:00.000Z", "repeatMinutes": 1440, "timeOfDay": "09:00:00.000Z",
            "daysOfWeek": [1, 1, 1, 1, 1, 1, 1], "params": "{\"a\": 1}"});
        let made = schedule((&id, &row)).unwrap();
        assert_eq!(
            (made.name.as_str(), made.target),
            ("parse:a1", Target::Job("report".into()))
        );
        assert_eq!(made.options["params"], json!({"a": 1}));
        for (column, value) in [
            ("jobName", Value::Null),
            ("timeOfDay", json!("noon")),
            ("params", json!("[")),
        ] {
            let mut bad = row.clone();
            bad[column] = value;
            assert_eq!(schedule((&id, &bad)), None, "{column}");
        }
        assert_eq!(schedule((&id, &json!(5))), None);
    }
}
