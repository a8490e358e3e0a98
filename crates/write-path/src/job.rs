//! Jobs as they are asked for: started, cancelled, named.
//!
//! ```text
//! startJob, POST jobs/NAME ─▶ master key? ─▶ options, params ─▶ run in the job log ─▶ X-Parse-Job-Status-Id
//! ```
//!
//! Invariant: a handler that is tried again starts nothing twice. The key of a start is its place among the attempt's
//! writes, unless its author chose one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidegate_event::failpoint;
use tidegate_job::fields::is_plain;
use tidegate_job::start::{MAX_KEY_CHARS, params_text};
use tidegate_job::{NewRun, RunId, Source, StartOptions, WorkflowId};
use tidegate_job_log::start_workflow::NewWorkflow;
use tidegate_parse_protocol::{ErrorCode, JobCall, Object};
use tidegate_storage::{Captured, Storage};

use crate::error::refuse;
use crate::{Answer, Caller, Error, WritePath};

/// Names the run that a start has made, which is also its `_JobStatus` object.
const RUN_HEADER: &str = "X-Parse-Job-Status-Id";
const WORKFLOW_HEADER: &str = "X-Tidegate-Workflow-Id";

/// Classes that the tables of jobs are shown in, and read from.
const CLASSES: [&str; 2] = ["_JobStatus", "_JobSchedule"];

/// Makes the classes that the job log writes and reads. To be called once, before anything else is asked of jobs.
pub async fn ensure_job_classes(storage: &Storage) -> Result<(), Error> {
    for class in CLASSES {
        let fields = BTreeMap::new();
        storage.ensure_fields(class, &fields, Captured::No).await?;
    }
    Ok(())
}

impl WritePath {
    /// Answers a call of the job routes; texts and codes as Parse Server has them (`FunctionsRouter.js`,
    /// `CloudCodeRouter.js`).
    pub(crate) async fn job(&self, caller: &Caller, call: JobCall) -> Result<Answer, Error> {
        if !caller.master {
            return Err(Error::MasterKeyRequired);
        }
        match call {
            JobCall::Start {
                job,
                params,
                options,
            } => self.start_job(caller, job, params, options).await,
            JobCall::StartWorkflow {
                workflow,
                params,
                options,
            } => self.start_workflow(caller, workflow, params, options).await,
            JobCall::Cancel { id } => self.cancel_job(&id).await,
            JobCall::ListSchedules => Ok(Answer::ok(Value::Array(self.schedule_rows().await?))),
            JobCall::Names => self.names_of_jobs().await,
            JobCall::CreateSchedule { schedule } => self.create_schedule(caller, schedule).await,
            JobCall::UpdateSchedule { id, schedule } => {
                self.update_schedule(caller, id, schedule).await
            }
            JobCall::DeleteSchedule { id } => self.delete(caller, "_JobSchedule", &id).await,
        }
    }

    async fn start_job(
        &self,
        caller: &Caller,
        job: String,
        params: Object,
        options: Option<Value>,
    ) -> Result<Answer, Error> {
        let run = NewRun {
            job,
            params: params_text(&Value::Object(params))?,
            options: start_options(caller, options)?,
            source: Source::Api,
        };
        let started = self.jobs.start(&[run]).await.map_err(not_started)?;
        failpoint::pass(failpoint::JOB_ASKED);
        let run = started.first().ok_or_else(|| Error::Internal {
            what: "a start has made no run".into(),
        })?;
        Ok(Answer::named(RUN_HEADER, run.id))
    }

    async fn start_workflow(
        &self,
        caller: &Caller,
        name: String,
        params: Object,
        options: Option<Value>,
    ) -> Result<Answer, Error> {
        let flow = NewWorkflow {
            name,
            params,
            options: start_options(caller, options)?,
            source: Source::Api,
        };
        let started = self.jobs.start_workflow(&flow).await;
        let started = started.map_err(workflow_not_started)?;
        failpoint::pass(failpoint::JOB_ASKED);
        Ok(Answer::named(WORKFLOW_HEADER, started.id))
    }

    /// Answers where the run or workflow stands now: `running` until its worker has ended it.
    async fn cancel_job(&self, id: &str) -> Result<Answer, Error> {
        let unreadable = |error: tidegate_job::ParseIdError| {
            refuse(ErrorCode::OBJECT_NOT_FOUND, error.to_string())
        };
        let state = if id.starts_with('W') {
            let workflow: WorkflowId = id.parse().map_err(unreadable)?;
            self.jobs.cancel_workflow(workflow).await?.as_str()
        } else {
            let run: RunId = id.parse().map_err(unreadable)?;
            self.jobs.cancel(run).await?.as_str()
        };
        Ok(Answer::ok(json!({"state": state})))
    }

    async fn names_of_jobs(&self) -> Result<Answer, Error> {
        let rows = self.schedule_rows().await?;
        let in_use: Vec<&Value> = rows.iter().filter_map(|row| row.get("jobName")).collect();
        let jobs = self.job_names().await?;
        Ok(Answer::ok(json!({"in_use": in_use, "jobs": jobs})))
    }

    /// Every job that can be started, by name: those of this process's release, and those that another has registered.
    pub(crate) async fn job_names(&self) -> Result<BTreeSet<String>, Error> {
        let registered = self.jobs.jobs().await?.into_iter();
        let mut names: BTreeSet<String> = registered
            .filter(|job| job.is_registered)
            .map(|job| job.name)
            .collect();
        if let Some(code) = self.code() {
            names.extend(code.manifest().jobs.iter().map(|job| job.name.clone()));
        }
        Ok(names)
    }
}

fn start_options(caller: &Caller, given: Option<Value>) -> Result<StartOptions, Error> {
    let mut options = StartOptions::parse(&given.unwrap_or_default())?;
    if options.idempotency_key.is_none() {
        options.idempotency_key = default_key(caller)?;
    }
    Ok(options)
}

/// What makes a start the same as an earlier one: its place in a handler that is tried again, or the id that a client
/// gave its request.
fn default_key(caller: &Caller) -> Result<Option<String>, Error> {
    if let Some(scope) = caller.recorded() {
        return Ok(Some(format!("{}:{}", scope.cause, scope.path)));
    }
    let Some(key) = &caller.request_key else {
        return Ok(None);
    };
    let key = format!("req:{key}");
    match is_plain(&key, MAX_KEY_CHARS) {
        true => Ok(Some(key)),
        false => {
            let message = format!(
                "X-Parse-Request-Id must have less than {} characters, none of them a control character",
                MAX_KEY_CHARS - 4
            );
            Err(refuse(ErrorCode::INVALID_JSON, message))
        }
    }
}

/// What is said of a start that names what does not exist.
fn not_started(error: tidegate_job_log::Error) -> Error {
    match &error {
        tidegate_job_log::Error::Unknown { kind: "job", .. } => {
            refuse(ErrorCode::SCRIPT_FAILED, "Invalid job.")
        }
        tidegate_job_log::Error::Unknown { .. } => {
            refuse(ErrorCode::INVALID_JSON, format!("after: {error}"))
        }
        _ => error.into(),
    }
}

fn workflow_not_started(error: tidegate_job_log::Error) -> Error {
    match &error {
        tidegate_job_log::Error::Unknown { kind: "run", .. } => not_started(error),
        tidegate_job_log::Error::Unknown { .. } => {
            refuse(ErrorCode::SCRIPT_FAILED, error.to_string())
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Map;
    use tidegate_cloud_code::Cause;
    use tidegate_event::EffectScope;

    use super::*;
    use crate::Wait;

    fn caller(effects: Option<EffectScope>, request_key: Option<&str>) -> Caller {
        Caller {
            master: true,
            session: None,
            cause: Arc::new(Cause {
                effects,
                ..Cause::default()
            }),
            context: Map::new(),
            wait: Wait::None,
            request_key: request_key.map(str::to_owned),
        }
    }

    fn scope(path: &str, is_recorded: bool) -> Option<EffectScope> {
        Some(EffectScope {
            cause: "run:R000000007".into(),
            log_offset: None,
            path: path.into(),
            is_recorded,
            earlier: Arc::default(),
        })
    }

    fn key(caller: &Caller, options: Value) -> Option<String> {
        start_options(caller, Some(options))
            .unwrap()
            .idempotency_key
    }

    #[test]
    fn a_start_is_known_again_by_its_place_or_by_what_was_chosen() {
        let in_handler = caller(scope("[load]/2", true), None);
        let place = "run:R000000007:[load]/2";
        assert_eq!(key(&in_handler, Value::Null).as_deref(), Some(place));
        let chosen = json!({"idempotencyKey": "today"});
        assert_eq!(key(&in_handler, chosen).as_deref(), Some("today"));
        // Who records nothing makes everything again.
        assert_eq!(key(&caller(scope("2", false), None), Value::Null), None);
        let http = caller(None, Some("abc"));
        assert_eq!(key(&http, Value::Null).as_deref(), Some("req:abc"));
        let second = key(&http.of_item(2), Value::Null);
        assert_eq!(second.as_deref(), Some("req:abc.2"));
        assert_eq!(key(&caller(None, None), json!({"delay": 5})), None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        let message = |caller: &Caller, options| {
            let told = start_options(caller, Some(options)).unwrap_err().to_parse();
            assert_eq!(told.code, ErrorCode::INVALID_JSON);
            told.message
        };
        let plain = caller(None, None);
        assert!(message(&plain, json!({"retries": -1})).contains("retries"));
        assert!(message(&plain, json!([])).contains("the start options"));
        let long = caller(None, Some(&"x".repeat(600)));
        assert!(message(&long, Value::Null).contains("X-Parse-Request-Id"));
    }

    #[test]
    fn errors_of_names_are_those_of_parse() {
        let unknown = |kind| tidegate_job_log::Error::Unknown {
            kind,
            name: "x".into(),
            hint: String::new(),
        };
        let told = |error: Error| (error.to_parse().code, error.to_parse().message);
        assert_eq!(
            told(not_started(unknown("job"))),
            (ErrorCode::SCRIPT_FAILED, "Invalid job.".into())
        );
        let (code, message) = told(workflow_not_started(unknown("run")));
        assert_eq!(code, ErrorCode::INVALID_JSON);
        assert!(message.starts_with("after: "), "{message}");
        let (code, _) = told(workflow_not_started(unknown("workflow")));
        assert_eq!(code, ErrorCode::SCRIPT_FAILED);
    }
}
