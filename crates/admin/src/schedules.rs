//! Schedules: what there is, when each is due, and changing them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tidegate_job::options::check_name;
use tidegate_job::start::params_text;
use tidegate_job_log::fire::{Fire, Made};
use tidegate_job_log::schedule::{NewSchedule, Schedule as Row, Source, Target};
use tidegate_schedule::{Options, Schedule, describe};

use crate::preview::local;
use crate::{Admin, Error, parse};

/// Most schedules or fires of one page.
pub const MAX_SCHEDULES: u32 = 1_000;

/// The options of which a schedule has exactly one.
const FORMS: [&str; 6] = ["cron", "every", "daily", "weekly", "monthly", "once"];

/// One schedule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleLine {
    pub name: String,
    /// Where it comes from; only there it can be changed.
    pub source: Source,
    /// `job` or `workflow`, and its name.
    #[serde(flatten)]
    pub target: Target,
    /// When it fires, in words.
    pub timing: String,
    pub options: Value,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub paused_at: Option<Timestamp>,
    pub paused_by: Option<String>,
    /// Null: paused, or never again.
    pub next_due: Option<Timestamp>,
    /// The same in the schedule's zone: `2027-03-28T03:00:00+02:00`.
    pub next_due_local: Option<String>,
    pub last_fire: Option<Fire>,
    /// Why it cannot fire; null: it can.
    pub problem: Option<String>,
}

/// Some schedules, by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePage {
    pub schedules: Vec<ScheduleLine>,
    /// After which name the next page begins; null: there is none.
    pub next: Option<String>,
}

/// What a trigger started.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Triggered {
    pub schedule: String,
    /// `run` or `workflow`, and its id.
    #[serde(flatten)]
    pub made: Made,
    /// False: no process schedules at the moment; it begins when one does.
    pub is_scheduled: bool,
}

impl Admin {
    /// Schedules by name, at most `limit`. `after`: `next` of the page before.
    pub async fn list_schedules(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<SchedulePage, Error> {
        check_limit(limit)?;
        let mut rows = self.jobs.schedules().await?;
        // As strings compare here, whatever the database's collation is.
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows.retain(|row| after.is_none_or(|after| row.name.as_str() > after));
        let goes_on = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let schedules = self.lines(rows).await?;
        let next = schedules.last().map(|line| line.name.clone());
        Ok(SchedulePage {
            next: next.filter(|_| goes_on),
            schedules,
        })
    }

    pub async fn schedule(&self, name: &str) -> Result<ScheduleLine, Error> {
        let row = self.jobs.schedule(name).await?;
        let mut lines = self.lines(vec![row]).await?;
        Ok(lines.remove(0))
    }

    /// Makes a schedule. `options`: as `Parse.Cloud.schedule` takes them.
    pub async fn create_schedule(
        &self,
        name: &str,
        target: Target,
        options: &Value,
    ) -> Result<ScheduleLine, Error> {
        check_name("schedule", name)?;
        // Such names are those of _JobSchedule rows.
        if name.starts_with("parse:") {
            return Err(Error::invalid(
                "name",
                "parse: begins the names of _JobSchedule rows",
            ));
        }
        self.put_schedule(name, target, options, true).await
    }

    /// Changes a schedule. `target`: None leaves it. `changes`: options that replace those of the same name; null takes one
    /// away; a timing takes the place of the one before.
    pub async fn edit_schedule(
        &self,
        name: &str,
        target: Option<Target>,
        changes: &Value,
    ) -> Result<ScheduleLine, Error> {
        let row = self.jobs.schedule(name).await?;
        let options = merged(&row.options, changes)?;
        let target = target.unwrap_or(row.target);
        self.put_schedule(name, target, &options, false).await
    }

    async fn put_schedule(
        &self,
        name: &str,
        target: Target,
        options: &Value,
        is_new: bool,
    ) -> Result<ScheduleLine, Error> {
        let options = Options::read(options)?;
        params_text(&options.params.clone().map_or(Value::Null, Value::Object))?;
        let new = NewSchedule {
            name: name.to_owned(),
            source: Source::Api,
            target,
            options: options.to_value(),
        };
        let put = self.jobs.put_schedule(&new, is_new).await;
        let row = put.map_err(Error::by_state)?;
        let mut lines = self.lines(vec![row]).await?;
        Ok(lines.remove(0))
    }

    /// Keeps a schedule from firing. `by`: who asks, as others are shown it.
    pub async fn pause_schedule(&self, name: &str, by: &str) -> Result<ScheduleLine, Error> {
        self.jobs.pause_schedule(name, by).await?;
        self.schedule(name).await
    }

    /// Lets it fire again. What was due meanwhile is not made up for.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleLine, Error> {
        self.jobs.resume_schedule(name).await?;
        self.schedule(name).await
    }

    /// Fires a schedule now, paused or not and whatever runs; its own times stay as they are.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Triggered, Error> {
        let made = self.jobs.trigger_schedule(name).await;
        Ok(Triggered {
            schedule: name.to_owned(),
            made: made.map_err(Error::by_state)?,
            is_scheduled: self.jobs.is_led().await?,
        })
    }

    /// Deletes a schedule, and returns it as it was. What it started goes on.
    pub async fn delete_schedule(&self, name: &str) -> Result<ScheduleLine, Error> {
        let line = self.schedule(name).await?;
        let deleted = self.jobs.delete_schedule(name, Source::Api).await;
        deleted.map_err(Error::by_state)?;
        Ok(line)
    }

    /// What became of its due times, the latest first, at most `limit`. `before`: the due time of the last of the page
    /// before.
    pub async fn schedule_history(
        &self,
        name: &str,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Fire>, Error> {
        check_limit(limit)?;
        let before = before
            .map(|text| parse::past("before", text, Timestamp::now()))
            .transpose()?;
        Ok(self.jobs.fires(name, before, limit).await?)
    }

    async fn lines(&self, rows: Vec<Row>) -> Result<Vec<ScheduleLine>, Error> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let mut last = self.jobs.last_fires(&ids).await?;
        let now = Timestamp::now();
        let line = |row: Row| {
            let last_fire = last.remove(&row.id);
            line(row, last_fire, now)
        };
        Ok(rows.into_iter().map(line).collect())
    }
}

fn line(row: Row, last_fire: Option<Fire>, now: Timestamp) -> ScheduleLine {
    let (timing, next_due, next_due_local, problem) = match compiled(&row) {
        Ok((options, schedule)) => {
            // None also says that the scheduler has not looked at a change yet.
            let planned = row.next_due.or_else(|| schedule.next_after(now));
            let next = planned.filter(|_| row.paused_at.is_none());
            let next_local = next.map(|due| local(due, &schedule.zone));
            (describe(&options), next, next_local, None)
        }
        Err(error) => (String::new(), None, None, Some(error.to_string())),
    };
    ScheduleLine {
        name: row.name,
        source: row.source,
        target: row.target,
        timing,
        options: row.options,
        created_at: row.created_at,
        updated_at: row.updated_at,
        paused_at: row.paused_at,
        paused_by: row.paused_by,
        next_due,
        next_due_local,
        last_fire,
        problem,
    }
}

/// The options of a row, and the schedule that they make.
pub(crate) fn compiled(row: &Row) -> Result<(Options, Schedule), Error> {
    let options = Options::read(&row.options)?;
    let schedule = Schedule::new(&row.name, &options, row.created_at)?;
    Ok((options, schedule))
}

/// `options` with `changes` over them.
pub(crate) fn merged(options: &Value, changes: &Value) -> Result<Value, Error> {
    let empty = Map::new();
    let changes = match changes {
        Value::Null => &empty,
        Value::Object(changes) => changes,
        _ => return Err(Error::invalid("options", "must be an object")),
    };
    let mut merged = options.as_object().cloned().unwrap_or_default();
    let is_form =
        |(name, value): (&String, &Value)| FORMS.contains(&name.as_str()) && !value.is_null();
    if changes.iter().any(is_form) {
        merged.retain(|name, _| !FORMS.contains(&name.as_str()));
    }
    for (name, value) in changes {
        match value.is_null() {
            true => merged.remove(name),
            false => merged.insert(name.clone(), value.clone()),
        };
    }
    Ok(merged.into())
}

fn check_limit(limit: u32) -> Result<(), Error> {
    match (1..=MAX_SCHEDULES).contains(&limit) {
        true => Ok(()),
        false => Err(Error::invalid(
            "limit",
            format!("must be 1 to {MAX_SCHEDULES}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_replace_options_of_their_name_and_a_timing_the_timing() {
        let options =
            json!({ "cron": "0 9 * * *", "timezone": "Europe/Berlin", "params": { "a": 1 } });
        for (changes, expected) in [
            (json!(null), options.clone()),
            (json!({}), options.clone()),
            (
                json!({ "every": "10m" }),
                json!({ "every": "10m", "timezone": "Europe/Berlin", "params": { "a": 1 } }),
            ),
            (
                json!({ "params": null, "timezone": "UTC" }),
                json!({ "cron": "0 9 * * *", "timezone": "UTC" }),
            ),
            // To take the only timing away leaves none, which is refused when it is read.
            (
                json!({ "cron": null }),
                json!({ "timezone": "Europe/Berlin", "params": { "a": 1 } }),
            ),
        ] {
            assert_eq!(merged(&options, &changes).unwrap(), expected, "{changes}");
        }
        assert!(merged(&options, &json!([])).is_err());
    }

    #[test]
    fn a_line_says_in_words_when_it_is_due_also_before_the_scheduler_has_looked() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut row = Row {
            id: 1,
            name: "report".into(),
            source: Source::Api,
            target: Target::Job("report".into()),
            options: json!({ "cron": "30 2 * * *", "timezone": "Europe/Berlin" }),
            version: 1,
            created_at: at("2027-03-01T00:00:00Z"),
            updated_at: at("2027-03-01T00:00:00Z"),
            paused_at: None,
            paused_by: None,
            handled_at: None,
            next_due: None,
        };
        let now = at("2027-03-27T12:00:00Z");
        let shown = line(row.clone(), None, now);
        assert_eq!(shown.next_due, Some(at("2027-03-28T01:00:00Z")));
        assert_eq!(
            shown.next_due_local.as_deref(),
            Some("2027-03-28T03:00:00+02:00")
        );
        assert!(shown.timing.contains("02:30 every day"), "{}", shown.timing);
        row.paused_at = Some(now);
        assert_eq!(line(row.clone(), None, now).next_due, None);
        row.options = json!({ "cron": "30 2 * * *", "timezone": "Europe/Berln" });
        let problem = line(row, None, now).problem.unwrap();
        assert!(problem.contains("did you mean Europe/Berlin?"), "{problem}");
    }
}
