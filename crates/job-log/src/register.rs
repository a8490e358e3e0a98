//! What there is to run, and whether it may.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_job::{Graph, JobDefinition, JobOptions, WorkflowDefinition, near};
use tokio_postgres::Row;

use crate::text::{from_postgres, json};
use crate::{Error, JobLog};

/// A job as it is registered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub name: String,
    pub options: JobOptions,
    /// False: the current release does not have it.
    pub is_registered: bool,
    pub release: String,
    pub registered_at: Timestamp,
    pub paused_at: Option<Timestamp>,
    pub paused_by: Option<String>,
}

/// A workflow as it is registered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workflow {
    pub name: String,
    pub graph: Graph,
    pub is_registered: bool,
    pub release: String,
}

const REGISTER_JOBS: &str = "
with given as (
    select * from unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $7::text[])
        as given (name, options, retries, concurrency, key_concurrency, key_param)
), gone as (
    update tidegate.job set is_registered = false where is_registered and not name = any($1)
)
insert into tidegate.job (name, options, retries, concurrency, key_concurrency, key_param, release)
select name, options, retries, concurrency, key_concurrency, key_param, $6 from given order by name
on conflict (name) do update
   set options = excluded.options, retries = excluded.retries, concurrency = excluded.concurrency,
       key_concurrency = excluded.key_concurrency, key_param = excluded.key_param, release = excluded.release, is_registered = true,
       registered_at = clock_timestamp()";

const REGISTER_WORKFLOWS: &str = "
with gone as (
    update tidegate.workflow_definition set is_registered = false where is_registered and not name = any($1)
)
insert into tidegate.workflow_definition (name, graph, release)
select name, graph, $3 from unnest($1::text[], $2::text[]) as given (name, graph) order by name
on conflict (name) do update
   set graph = excluded.graph, release = excluded.release, is_registered = true, registered_at = clock_timestamp()";

impl JobLog {
    /// Registers all jobs and workflows of a release, each name once; others are not started any more. Runs of theirs
    /// that were asked for stay.
    pub async fn register(
        &self,
        jobs: &[JobDefinition],
        workflows: &[WorkflowDefinition],
        release: &str,
    ) -> Result<(), Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        let options: Vec<String> = jobs.iter().map(|job| stored(&job.options)).collect();
        let number = |pick: fn(&JobOptions) -> Option<u32>| -> Vec<Option<i32>> {
            let numbers = jobs.iter().map(|job| pick(&job.options));
            numbers
                .map(|number| number.map(|number| number as i32))
                .collect()
        };
        let retries = number(|options| options.retries);
        let concurrency = number(|options| options.concurrency);
        let key_concurrency = number(|options| options.key_concurrency);
        let key_params: Vec<Option<&str>> = jobs
            .iter()
            .map(|job| job.options.concurrency_key.as_deref())
            .collect();
        tx.execute(
            REGISTER_JOBS,
            &[
                &names,
                &options,
                &retries,
                &concurrency,
                &key_concurrency,
                &release,
                &key_params,
            ],
        )
        .await?;
        let names: Vec<&str> = workflows.iter().map(|flow| flow.name.as_str()).collect();
        let graphs: Vec<String> = workflows.iter().map(|flow| stored(&flow.graph)).collect();
        tx.execute(REGISTER_WORKFLOWS, &[&names, &graphs, &release])
            .await?;
        // A limit may have been raised.
        tx.batch_execute("notify tidegate_job").await?;
        Ok(tx.commit().await?)
    }

    /// All jobs that were ever registered, by name.
    pub async fn jobs(&self) -> Result<Vec<Job>, Error> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select name, options, is_registered, release, registered_at, paused_at, paused_by
                   from tidegate.job order by name",
                &[],
            )
            .await?;
        rows.iter().map(job).collect()
    }

    /// All workflows that were ever registered, by name.
    pub async fn workflow_definitions(&self) -> Result<Vec<Workflow>, Error> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select name, graph, is_registered, release from tidegate.workflow_definition order by name",
                &[],
            )
            .await?;
        let workflow = |row: &Row| {
            let name: String = row.get(0);
            Ok(Workflow {
                graph: json(|| format!("workflow {name}"), row.get(1))?,
                name,
                is_registered: row.get(2),
                release: row.get(3),
            })
        };
        rows.iter().map(workflow).collect()
    }

    /// Keeps runs of a job from beginning; those that run go on.
    pub async fn pause_job(&self, name: &str, by: &str) -> Result<(), Error> {
        let update = "update tidegate.job set paused_at = coalesce(paused_at, clock_timestamp()), paused_by = $2
                       where name = $1";
        let client = self.client().await?;
        match client.execute(update, &[&name, &by]).await? {
            0 => Err(self.unknown_job(name).await?),
            _ => Ok(()),
        }
    }

    pub async fn resume_job(&self, name: &str) -> Result<(), Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let update = "update tidegate.job set paused_at = null, paused_by = null where name = $1";
        if tx.execute(update, &[&name]).await? == 0 {
            return Err(self.unknown_job(name).await?);
        }
        // The job's row is held: nobody parks a run of it meanwhile.
        tx.execute(
            "update tidegate.run set is_parked = false where is_parked and job = $1",
            &[&name],
        )
        .await?;
        tx.batch_execute("notify tidegate_job").await?;
        Ok(tx.commit().await?)
    }

    /// Keeps runs of all jobs from beginning.
    pub async fn pause_all(&self, by: &str) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "update tidegate.job_control set paused_at = coalesce(paused_at, clock_timestamp()), paused_by = $1",
                &[&by],
            )
            .await?;
        Ok(())
    }

    pub async fn resume_all(&self) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .batch_execute("update tidegate.job_control set paused_at = null, paused_by = null; notify tidegate_job")
            .await?;
        Ok(())
    }

    /// Since when all jobs are paused, and by whom.
    pub async fn paused_all(&self) -> Result<Option<(Timestamp, Option<String>)>, Error> {
        let client = self.client().await?;
        let row = client
            .query_one("select paused_at, paused_by from tidegate.job_control", &[])
            .await?;
        Ok(row
            .get::<_, Option<_>>(0)
            .map(|at| (from_postgres(at), row.get(1))))
    }

    pub(crate) async fn unknown_job(&self, name: &str) -> Result<Error, Error> {
        let client = self.client().await?;
        let rows = client
            .query("select name from tidegate.job where is_registered", &[])
            .await?;
        Ok(Error::Unknown {
            kind: "job",
            name: name.to_owned(),
            hint: near::hint(name, rows.iter().map(|row| row.get(0))),
        })
    }
}

pub(crate) fn stored(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it has only text keys")
}

fn job(row: &Row) -> Result<Job, Error> {
    let name: String = row.get(0);
    Ok(Job {
        options: json(|| format!("job {name}"), row.get(1))?,
        name,
        is_registered: row.get(2),
        release: row.get(3),
        registered_at: from_postgres(row.get(4)),
        paused_at: row.get::<_, Option<_>>(5).map(from_postgres),
        paused_by: row.get(6),
    })
}
