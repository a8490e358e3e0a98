//! Schedules as rows: who made them, what they start, and when each is to be looked at next.
//!
//! A changed row is to be planned: whoever changes it needs no clock law. The leading scheduler reads it as due, computes
//! its next time and writes that with [`JobLog::fire`].

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_job::near;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use crate::text::{from_postgres, json};
use crate::{Error, JobLog};

/// Where a schedule comes from. Only there it can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Code,
    /// `tidegate.toml`
    Config,
    /// REST, CLI
    Api,
    /// A `_JobSchedule` row; its name is `parse:` and the row's objectId.
    Parse,
}

/// What a schedule starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    Job(String),
    Workflow(String),
}

/// A schedule as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSchedule {
    pub name: String,
    pub source: Source,
    pub target: Target,
    /// As `tidegate_schedule::Options` writes them.
    pub options: Value,
}

/// A schedule as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    pub id: i64,
    pub name: String,
    pub source: Source,
    pub target: Target,
    pub options: Value,
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub paused_at: Option<Timestamp>,
    pub paused_by: Option<String>,
    /// All due times up to here are decided; None: it is new.
    pub handled_at: Option<Timestamp>,
    /// None: never again, or to be planned.
    pub next_due: Option<Timestamp>,
}

/// What is due, by Postgres's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct DueSchedules {
    pub now: Timestamp,
    pub schedules: Vec<Schedule>,
}

/// What [`JobLog::replace_schedules`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    pub changed: u64,
    pub deleted: u64,
    /// Names that another source has; their schedules stay that one's.
    pub taken: Vec<String>,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Code => "code",
            Source::Config => "config",
            Source::Api => "api",
            Source::Parse => "parse",
        }
    }

    fn from_stored(text: &str) -> Source {
        match text {
            "code" => Source::Code,
            "config" => Source::Config,
            "parse" => Source::Parse,
            _ => Source::Api,
        }
    }
}

impl Target {
    pub(crate) fn columns(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Target::Job(name) => (Some(name), None),
            Target::Workflow(name) => (None, Some(name)),
        }
    }
}

pub(crate) const COLUMNS: &str = "id, name, source, job, workflow, options, version, created_at, updated_at, paused_at, \
    paused_by, handled_at, nullif(next_due, '-infinity')";

/// Heard as [`crate::Notice::Schedules`].
const NOTIFY: &str = "notify tidegate_job, 'schedules'";

// What does not change keeps its next time. A new one, and one that comes back, has no past.
const PUT: &str = "
insert into tidegate.schedule as existing (name, source, job, workflow, options, next_due)
select name, source, job, workflow, options, '-infinity'
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as given (name, source, job, workflow, options)
 order by name
on conflict (name) do update
   set source = excluded.source, job = excluded.job, workflow = excluded.workflow, options = excluded.options,
       version = existing.version + 1, updated_at = clock_timestamp(), deleted_at = null, next_due = '-infinity',
       created_at = case when existing.deleted_at is null then existing.created_at else clock_timestamp() end,
       paused_at = case when existing.deleted_at is null then existing.paused_at end,
       paused_by = case when existing.deleted_at is null then existing.paused_by end,
       handled_at = case when existing.deleted_at is null and existing.handled_at is not null then clock_timestamp() end
 where existing.deleted_at is not null
    or (existing.source = excluded.source
        and (existing.job, existing.workflow, existing.options) is distinct from (excluded.job, excluded.workflow, excluded.options))";

impl JobLog {
    /// Makes or changes one schedule.
    ///
    /// `is_new`: one of that name must not exist yet.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the name is taken, or belongs to another source. [`Error::Unknown`]: its job or workflow is
    /// not registered.
    pub async fn put_schedule(
        &self,
        schedule: &NewSchedule,
        is_new: bool,
    ) -> Result<Schedule, Error> {
        tidegate_job::options::check_name("schedule", &schedule.name)?;
        match &schedule.target {
            Target::Workflow(name) => {
                self.graph(name).await?;
            }
            Target::Job(name) => {
                let client = self.client().await?;
                self.check_jobs(&client, std::iter::once(name.as_str()))
                    .await?;
            }
        }
        if let Some(found) = self.find_schedule(&schedule.name).await? {
            let name = &schedule.name;
            if is_new {
                let reason =
                    format!("there is a schedule {name:?} already: edit it, or take another name");
                return Err(Error::Invalid { reason });
            }
            check_source(&found, schedule.source)?;
        }
        self.put(std::slice::from_ref(schedule)).await?;
        self.schedule(&schedule.name).await
    }

    /// Makes the schedules of a source these: others of it are deleted.
    ///
    /// `schedules`: each name once, all of `source`.
    pub async fn replace_schedules(
        &self,
        source: Source,
        schedules: &[NewSchedule],
    ) -> Result<Replaced, Error> {
        let names: Vec<&str> = schedules.iter().map(|one| one.name.as_str()).collect();
        let client = self.client().await?;
        let taken = client
            .query(
                "select name from tidegate.schedule
                  where name = any($1) and source <> $2 and deleted_at is null order by name",
                &[&names, &source.as_str()],
            )
            .await?;
        let changed = self.put(schedules).await?;
        let deleted = client
            .execute(
                "update tidegate.schedule set deleted_at = clock_timestamp(), version = version + 1
                  where source = $2 and deleted_at is null and not name = any($1)",
                &[&names, &source.as_str()],
            )
            .await?;
        if deleted > 0 {
            client.batch_execute(NOTIFY).await?;
        }
        Ok(Replaced {
            changed,
            deleted,
            taken: taken.iter().map(|row| row.get(0)).collect(),
        })
    }

    async fn put(&self, schedules: &[NewSchedule]) -> Result<u64, Error> {
        let names: Vec<&str> = schedules.iter().map(|one| one.name.as_str()).collect();
        let sources: Vec<&str> = schedules.iter().map(|one| one.source.as_str()).collect();
        let targets = || schedules.iter().map(|one| one.target.columns());
        let jobs: Vec<Option<&str>> = targets().map(|(job, _)| job).collect();
        let workflows: Vec<Option<&str>> = targets().map(|(_, workflow)| workflow).collect();
        let options: Vec<String> = schedules
            .iter()
            .map(|one| one.options.to_string())
            .collect();
        let client = self.client().await?;
        let changed = client
            .execute(PUT, &[&names, &sources, &jobs, &workflows, &options])
            .await
            .map_err(twice)?;
        if changed > 0 {
            client.batch_execute(NOTIFY).await?;
        }
        Ok(changed)
    }

    /// Keeps a schedule from firing. What is due meanwhile is not made up for.
    pub async fn pause_schedule(&self, name: &str, by: &str) -> Result<(), Error> {
        let update = "update tidegate.schedule
                         set paused_at = coalesce(paused_at, clock_timestamp()), paused_by = $2, version = version + 1
                       where name = $1 and deleted_at is null";
        let client = self.client().await?;
        let changed = client.execute(update, &[&name, &by]).await?;
        self.found(name, changed).await
    }

    pub async fn resume_schedule(&self, name: &str) -> Result<(), Error> {
        let update = "update tidegate.schedule
                         set paused_at = null, paused_by = null, handled_at = clock_timestamp(), next_due = '-infinity',
                             version = version + 1
                       where name = $1 and deleted_at is null and paused_at is not null";
        self.schedule(name).await?;
        let client = self.client().await?;
        client.execute(update, &[&name]).await?;
        Ok(client.batch_execute(NOTIFY).await?)
    }

    /// Deletes a schedule; its fires stay as long as fires are kept.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it comes from somewhere else, and would come back.
    pub async fn delete_schedule(&self, name: &str, source: Source) -> Result<(), Error> {
        check_source(&self.schedule(name).await?, source)?;
        let update =
            "update tidegate.schedule set deleted_at = clock_timestamp(), version = version + 1
                       where name = $1 and deleted_at is null";
        let client = self.client().await?;
        let changed = client.execute(update, &[&name]).await?;
        self.found(name, changed).await
    }

    /// All schedules, by name.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        let client = self.client().await?;
        let query = format!(
            "select {COLUMNS} from tidegate.schedule where deleted_at is null order by name"
        );
        let rows = client.query(&query, &[]).await?;
        rows.iter().map(schedule).collect()
    }

    pub async fn schedule(&self, name: &str) -> Result<Schedule, Error> {
        match self.find_schedule(name).await? {
            Some(schedule) => Ok(schedule),
            None => Err(self.unknown_schedule(name).await?),
        }
    }

    async fn find_schedule(&self, name: &str) -> Result<Option<Schedule>, Error> {
        let client = self.client().await?;
        let query = format!(
            "select {COLUMNS} from tidegate.schedule where name = $1 and deleted_at is null"
        );
        let row = client.query_opt(&query, &[&name]).await?;
        row.as_ref().map(schedule).transpose()
    }

    async fn found(&self, name: &str, changed: u64) -> Result<(), Error> {
        match changed {
            0 => Err(self.unknown_schedule(name).await?),
            _ => Ok(self.client().await?.batch_execute(NOTIFY).await?),
        }
    }

    async fn unknown_schedule(&self, name: &str) -> Result<Error, Error> {
        let client = self.client().await?;
        let query = "select name from tidegate.schedule where deleted_at is null";
        let rows = client.query(query, &[]).await?;
        Ok(Error::Unknown {
            kind: "schedule",
            name: name.to_owned(),
            hint: near::hint(name, rows.iter().map(|row| row.get(0))),
        })
    }
}

/// Only its own source may change a schedule.
fn check_source(schedule: &Schedule, source: Source) -> Result<(), Error> {
    let place = match schedule.source {
        own if own == source => return Ok(()),
        Source::Code => "the project's code",
        Source::Config => "tidegate.toml",
        Source::Parse => "a _JobSchedule row",
        Source::Api => "the API",
    };
    Err(Error::Invalid {
        reason: format!(
            "schedule {:?} comes from {place}: change it there",
            schedule.name
        ),
    })
}

/// One statement cannot put the same row twice.
fn twice(error: tokio_postgres::Error) -> Error {
    match error.code() == Some(&SqlState::CARDINALITY_VIOLATION) {
        true => Error::Invalid {
            reason: "two schedules have the same name".to_owned(),
        },
        false => error.into(),
    }
}

pub(crate) fn schedule(row: &Row) -> Result<Schedule, Error> {
    let name: String = row.get(1);
    let job: Option<String> = row.get(3);
    let workflow: Option<String> = row.get(4);
    let time = |column| row.get::<_, Option<_>>(column).map(from_postgres);
    Ok(Schedule {
        id: row.get(0),
        source: Source::from_stored(row.get(2)),
        target: match job {
            Some(job) => Target::Job(job),
            None => Target::Workflow(workflow.unwrap_or_default()),
        },
        options: json(|| format!("schedule {name}"), row.get(5))?,
        name,
        version: row.get(6),
        created_at: from_postgres(row.get(7)),
        updated_at: from_postgres(row.get(8)),
        paused_at: time(9),
        paused_by: row.get(10),
        handled_at: time(11),
        next_due: time(12),
    })
}
