//! Rows of `_JobSchedule`, as the stock dashboard and Back4app's form write them.
//!
//! ```text
//! form ─▶ row ─▶ can it be read as a schedule? ─▶ save as any object ─▶ the scheduler mirrors it
//! ```
//!
//! Invariant: what these routes store, the scheduler can run. What SQL or `classes/_JobSchedule` store is not checked
//! here; the scheduler says what it cannot read.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_job::start::params_text;
use tidegate_parse_protocol::{
    Access, Changes, ErrorCode, Filter, Object, Query, ScheduleForm, date,
};
use tidegate_schedule::{TimeOfDay, Timing, parse_form};

use crate::error::{not_found, refuse};
use crate::save::Save;
use crate::session::{first, now_ms};
use crate::{Answer, Caller, Error, WritePath};

const CLASS: &str = "_JobSchedule";

/// Minutes of a day: what `repeatMinutes` is of a daily schedule.
const DAILY: u64 = 1440;

impl WritePath {
    pub(crate) async fn schedule_rows(&self) -> Result<Vec<Value>, Error> {
        let all = Query::filtered(Filter::all());
        let rows = self.objects(CLASS, &all, &Access::Master).await?;
        Ok(rows.into_iter().map(Value::Object).collect())
    }

    pub(crate) async fn create_schedule(
        &self,
        caller: &Caller,
        form: ScheduleForm,
    ) -> Result<Answer, Error> {
        let mut row = row_of(form)?;
        if !is_given(&row, "startAfter") {
            row.insert("startAfter".into(), now().into());
        }
        let changes = Changes::from_rest(&row)?;
        let whole = changes.apply(&Object::new())?;
        self.check_schedule(&whole).await?;
        self.save_schedule(caller, None, changes).await
    }

    /// Fields that the form does not name stay.
    pub(crate) async fn update_schedule(
        &self,
        caller: &Caller,
        id: String,
        form: ScheduleForm,
    ) -> Result<Answer, Error> {
        let query = first(Filter::equal("objectId", id.as_str()));
        let found = self.objects(CLASS, &query, &Access::Master).await?;
        let row = found.into_iter().next().ok_or_else(not_found)?;
        let changes = Changes::from_rest(&row_of(form)?)?;
        self.check_schedule(&changes.apply(&row)?).await?;
        self.save_schedule(caller, Some(id), changes).await
    }

    async fn save_schedule(
        &self,
        caller: &Caller,
        id: Option<String>,
        changes: Changes,
    ) -> Result<Answer, Error> {
        let class = CLASS.to_owned();
        self.save(caller, Save { class, id, changes }).await
    }

    async fn check_schedule(&self, row: &Object) -> Result<(), Error> {
        let job = row.get("jobName").and_then(Value::as_str);
        let is_deployed = match job {
            Some(job) => self.job_names().await?.contains(job),
            None => false,
        };
        if !is_deployed {
            let message = "Cannot Schedule a job that is not deployed";
            return Err(refuse(ErrorCode::INTERNAL, message));
        }
        let options = parse_form::job_schedule(row, Timestamp::now()).map_err(wrong)?;
        // Else each of its runs would be refused.
        let checked = params_text(&options.params.map_or(Value::Null, Value::Object));
        checked.map_err(|error| refuse(ErrorCode::INVALID_JSON, error.to_string()))?;
        Ok(())
    }
}

/// The row that a form means.
fn row_of(form: ScheduleForm) -> Result<Object, Error> {
    let mut row = match form {
        ScheduleForm::Parse(row) => row,
        ScheduleForm::Back4app(form) => row_of_back4app(&form)?,
    };
    // The column is a text.
    if let Some(params) = row.get_mut("params")
        && params.is_object()
        && params.get("__op").is_none()
    {
        *params = params.to_string().into();
    }
    Ok(row)
}

/// `{name, cloudCodeFunction, parameter, schedule: {start, dailyRun, intervalRun}}` as a row. The times of day are UTC.
fn row_of_back4app(form: &Object) -> Result<Object, Error> {
    let nothing = Object::new();
    let schedule = form.get("schedule").and_then(Value::as_object);
    let schedule = schedule.unwrap_or(&nothing);
    let options = parse_form::back4app(schedule, Timestamp::now()).map_err(wrong)?;
    let (time, repeat) = match options.timing {
        Timing::Daily(times) => (Some(time_of_day(times.at)), DAILY),
        Timing::Every(interval) if interval.as_secs() % 60 != 0 => {
            let message = "intervalRun: has seconds; write HH:MM";
            return Err(refuse(ErrorCode::INVALID_JSON, message));
        }
        Timing::Every(interval) => (None, interval.as_secs() / 60),
        _ => (None, 0),
    };
    let fields = [
        ("jobName", form.get("cloudCodeFunction").cloned()),
        ("description", form.get("name").cloned()),
        ("params", form.get("parameter").cloned()),
        ("startAfter", schedule.get("start").cloned()),
        ("timeOfDay", time.map(Value::from)),
        ("repeatMinutes", Some(repeat.into())),
        ("daysOfWeek", Some(json!([1, 1, 1, 1, 1, 1, 1]))),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|one| !one.is_null())?)));
    Ok(given.collect())
}

/// As the stock dashboard writes it.
fn time_of_day(TimeOfDay { second }: TimeOfDay) -> String {
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02}.000Z", second % 60)
}

fn is_given(row: &Object, field: &str) -> bool {
    row.get(field).is_some_and(|value| !value.is_null())
}

fn now() -> String {
    let now = date::format_iso(now_ms());
    now.expect("the year has four digits")
}

fn wrong(error: tidegate_schedule::Error) -> Error {
    refuse(ErrorCode::INVALID_JSON, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn back4app(schedule: Value) -> Result<Object, Error> {
        row_of(ScheduleForm::Back4app(object(json!({
            "name": "nightly", "cloudCodeFunction": "cleanup", "parameter": {"days": 7}, "schedule": schedule,
        }))))
    }

    #[test]
    fn back4apps_form_means_the_row_that_means_the_same() {
        let created = "2027-03-27T06:30:00Z".parse().unwrap();
        for form in [
            json!({"start": "2027-03-27T05:00:00.000Z", "dailyRun": "04:15", "intervalRun": null}),
            json!({"start": "2027-03-27T05:00:00.000Z", "dailyRun": null, "intervalRun": "01:30"}),
            json!({"start": "2027-03-27T05:00:00.000Z"}),
        ] {
            let row = back4app(form.clone()).unwrap();
            let by_row = parse_form::job_schedule(&row, created).unwrap();
            let by_form = parse_form::back4app(&object(form.clone()), created).unwrap();
            assert_eq!(by_row.timing, by_form.timing, "{form}");
            assert_eq!(by_row.starts, by_form.starts, "{form}");
            assert_eq!(by_row.params, Some(object(json!({"days": 7}))));
            assert_eq!(row["jobName"], "cleanup");
        }
    }

    #[test]
    fn a_form_that_cannot_be_read_is_refused_with_the_field() {
        for (field, form) in [
            ("dailyRun", json!({"dailyRun": "25:00"})),
            ("intervalRun", json!({"intervalRun": "00:00"})),
            ("intervalRun", json!({"intervalRun": "00:01:30"})),
            ("start", json!({"start": "tomorrow"})),
        ] {
            let told = back4app(form).unwrap_err().to_parse();
            assert_eq!(told.code, ErrorCode::INVALID_JSON);
            assert!(told.message.starts_with(field), "{}", told.message);
        }
    }

    #[test]
    fn params_are_stored_as_text_and_operations_stay() {
        let row = |params: Value| {
            row_of(ScheduleForm::Parse(object(json!({"params": params})))).unwrap()["params"]
                .clone()
        };
        assert_eq!(row(json!({"a": 1})), json!("{\"a\":1}"));
        assert_eq!(row(json!("{}")), json!("{}"));
        let deletion = json!({"__op": "Delete"});
        assert_eq!(row(deletion.clone()), deletion);
    }
}
