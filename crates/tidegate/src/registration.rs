//! What a release registers to be run in the background: its jobs, workflows and schedules become rows that schedulers,
//! operators and other processes go by.

use anyhow::{Context, Result};
use tidegate_cloud_code::Manifest;
use tidegate_job::start::params_text;
use tidegate_job::{Graph, JobDefinition, JobOptions, WorkflowDefinition};
use tidegate_job_log::JobLog;
use tidegate_job_log::schedule::{NewSchedule, Source, Target};
use tidegate_schedule::Options;

/// Everything that the code of a release says about the background.
#[derive(Debug, PartialEq)]
pub struct Registration {
    jobs: Vec<JobDefinition>,
    workflows: Vec<WorkflowDefinition>,
    schedules: Vec<NewSchedule>,
}

impl Registration {
    /// Reads a manifest.
    ///
    /// # Errors
    /// An option that cannot be accepted: the message names the job, workflow or schedule, the field and the remedy.
    pub fn read(manifest: &Manifest) -> Result<Registration> {
        let jobs: Vec<JobDefinition> = manifest.jobs.iter().map(job).collect::<Result<_>>()?;
        let known = || jobs.iter().map(|job| job.name.as_str());
        let workflow = |workflow: &tidegate_cloud_code::WorkflowDefinition| {
            let name = workflow.name.clone();
            let checked = Graph::parse(&workflow.graph).and_then(|graph| {
                graph.check_jobs(known())?;
                Ok(graph)
            });
            let graph = checked.with_context(|| format!("workflow {name:?}"))?;
            Ok(WorkflowDefinition { name, graph })
        };
        let workflows: Vec<WorkflowDefinition> = manifest
            .workflows
            .iter()
            .map(workflow)
            .collect::<Result<_>>()?;
        let is_job = |name: &str| known().any(|job| job == name);
        let schedules = manifest
            .schedules
            .iter()
            .map(|schedule| read_schedule(schedule, is_job(&schedule.job)))
            .collect::<Result<_>>()?;
        Ok(Registration {
            jobs,
            workflows,
            schedules,
        })
    }

    /// Makes it known to every process. `configured`: the schedules of `tidegate.toml`.
    pub async fn announce(
        &self,
        log: &JobLog,
        release: &str,
        configured: &[NewSchedule],
    ) -> Result<()> {
        log.register(&self.jobs, &self.workflows, release).await?;
        let sources = [
            (Source::Code, self.schedules.as_slice()),
            (Source::Config, configured),
        ];
        for (source, schedules) in sources {
            let replaced = log.replace_schedules(source, schedules).await?;
            for name in replaced.taken {
                tracing::warn!(
                    schedule = name,
                    source = source.as_str(),
                    "not scheduled: another source has a schedule of this name; rename one of them"
                );
            }
        }
        Ok(())
    }
}

fn job(job: &tidegate_cloud_code::JobDefinition) -> Result<JobDefinition> {
    let what = format!("the options of job {:?}", job.name);
    let options = match job.options.is_null() {
        true => JobOptions::default(),
        false => JobOptions::parse(&what, &job.options)?,
    };
    tidegate_job::options::check_name("job", &job.name)?;
    Ok(JobDefinition {
        name: job.name.clone(),
        options,
    })
}

fn read_schedule(
    schedule: &tidegate_cloud_code::ScheduleDefinition,
    is_job: bool,
) -> Result<NewSchedule> {
    let name = schedule.name.clone();
    let what = || format!("schedule {name:?}");
    let options = Options::read(&schedule.options)
        .with_context(what)?
        .to_value();
    params_text(&options["params"]).with_context(what)?;
    let target = match is_job {
        true => Target::Job(schedule.job.clone()),
        // The runtime has checked that there is a workflow of this name.
        false => Target::Workflow(schedule.job.clone()),
    };
    Ok(NewSchedule {
        name,
        source: Source::Code,
        target,
        options,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_cloud_code::ScheduleDefinition;

    use super::*;

    fn read(params: Value) -> Result<Registration> {
        let schedule = ScheduleDefinition {
            name: "nightly".into(),
            options: json!({"cron": "@daily", "params": params}),
            job: "report".into(),
            params: params.clone(),
        };
        Registration::read(&Manifest {
            schedules: vec![schedule],
            ..Manifest::default()
        })
    }

    #[test]
    fn params_that_no_run_could_have_are_refused_with_the_schedule() {
        let registration = read(json!({"a": "\\u0000"})).unwrap();
        assert_eq!(
            registration.schedules[0].options["params"],
            json!({"a": "\\u0000"})
        );
        assert!(read(Value::Null).is_ok());
        for (params, problem) in [
            (json!({"a": "\0"}), "params hold the character NUL"),
            (
                json!({"a": "x".repeat(1 << 20)}),
                "params have 1048584 bytes",
            ),
            (json!([]), "params: is not an object"),
        ] {
            let refusal = format!("{:#}", read(params).unwrap_err());
            let expected = format!("schedule \"nightly\": {problem}");
            assert!(refusal.starts_with(&expected), "{refusal}");
        }
    }
}
