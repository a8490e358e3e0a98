//! The routes of jobs: Parse's own, and what Tidegate adds to them.
//!
//! ```text
//! POST jobs/NAME {params, _jobOptions?}     start a run; the options are Tidegate's
//! POST jobs      {jobName, …}               the same; all of the body are params
//! POST workflows/NAME {params, _jobOptions?}
//! POST cloud_code/runs/ID/cancel
//! cloud_code/jobs…                          schedules, as the stock dashboard and Back4app's form send them
//! ```

use serde_json::Value;

use super::Request;
use crate::{ErrorCode, Object, ParseError, value};

/// What is asked of the jobs.
#[derive(Clone, Debug, PartialEq)]
pub enum JobCall {
    Start {
        job: String,
        params: Object,
        /// `_jobOptions` as it was sent: when, how often, under which key.
        options: Option<Value>,
    },
    StartWorkflow {
        workflow: String,
        params: Object,
        options: Option<Value>,
    },
    /// Of a run or a workflow, by its id.
    Cancel {
        id: String,
    },
    /// `cloud_code/jobs`: every schedule, as a bare array.
    ListSchedules,
    /// `cloud_code/jobs/data`: the names that can be scheduled, and those that are.
    Names,
    CreateSchedule {
        schedule: ScheduleForm,
    },
    UpdateSchedule {
        id: String,
        schedule: ScheduleForm,
    },
    DeleteSchedule {
        id: String,
    },
}

/// A schedule as it was sent, unwrapped.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleForm {
    /// `{job_schedule: {jobName, startAfter, …}}`: fields of `_JobSchedule`.
    Parse(Object),
    /// `{job: {name, cloudCodeFunction, parameter, schedule: {start, dailyRun, intervalRun}}}`.
    Back4app(Object),
}

/// The call of a path below `jobs`, `workflows` or `cloud_code`; None when there is no such route.
pub(super) fn parse(
    method: &str,
    segments: &[&str],
    body: &Object,
) -> Result<Option<Request>, ParseError> {
    let call = match (method, segments) {
        ("POST", ["jobs"]) => {
            let job = body.get("jobName").and_then(Value::as_str).unwrap_or("");
            let (params, options) = params(body)?;
            let job = job.to_owned();
            JobCall::Start {
                job,
                params,
                options,
            }
        }
        ("POST", ["jobs", name]) => {
            let (params, options) = params(body)?;
            let job = (*name).to_owned();
            JobCall::Start {
                job,
                params,
                options,
            }
        }
        ("POST", ["workflows", name]) => {
            let (params, options) = params(body)?;
            let workflow = (*name).to_owned();
            JobCall::StartWorkflow {
                workflow,
                params,
                options,
            }
        }
        ("POST", ["cloud_code", "runs", id, "cancel"]) => JobCall::Cancel {
            id: (*id).to_owned(),
        },
        ("GET", ["cloud_code", "jobs"]) => JobCall::ListSchedules,
        ("GET", ["cloud_code", "jobs", "data"]) => JobCall::Names,
        ("POST", ["cloud_code", "jobs"]) => JobCall::CreateSchedule {
            schedule: form(body)?,
        },
        ("PUT", ["cloud_code", "jobs", id]) => JobCall::UpdateSchedule {
            id: (*id).to_owned(),
            schedule: form(body)?,
        },
        ("DELETE", ["cloud_code", "jobs", id]) => JobCall::DeleteSchedule {
            id: (*id).to_owned(),
        },
        _ => return Ok(None),
    };
    Ok(Some(Request::Job(call)))
}

/// What the handler gets, and Tidegate's options, which a stock SDK never sends.
fn params(body: &Object) -> Result<(Object, Option<Value>), ParseError> {
    let mut params = body.clone();
    let options = params.remove("_jobOptions");
    for (key, param) in &params {
        value::check_key("params", key, param)?;
        value::check(key, param)?;
    }
    Ok((params, options))
}

fn form(body: &Object) -> Result<ScheduleForm, ParseError> {
    let wrapped = |name: &str| body.get(name).and_then(Value::as_object).cloned();
    if let Some(fields) = wrapped("job_schedule") {
        return Ok(ScheduleForm::Parse(fields));
    }
    if let Some(fields) = wrapped("job") {
        return Ok(ScheduleForm::Back4app(fields));
    }
    Err(ParseError::new(
        ErrorCode::INVALID_JSON,
        "the body must have job_schedule (as the Parse Dashboard sends it) or job (as Back4app's form does): an object",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(method: &str, path: &str, body: Value) -> JobCall {
        match Request::parse(method, path, &body) {
            Ok(Request::Job(call)) => call,
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    #[test]
    fn options_are_told_from_params() {
        let body = json!({"day": 3, "_jobOptions": {"delay": 5}});
        let JobCall::Start {
            job,
            params,
            options,
        } = call("POST", "jobs/daily%20report", body)
        else {
            panic!("not a start")
        };
        assert_eq!(job, "daily report");
        assert_eq!(Value::Object(params), json!({"day": 3}));
        assert_eq!(options, Some(json!({"delay": 5})));
    }

    #[test]
    fn the_dashboards_run_now_keeps_its_whole_body_as_params() {
        let body = json!({"description": "", "input": {"a": 1}, "jobName": "report", "when": 0});
        let JobCall::Start { job, params, .. } = call("POST", "jobs", body.clone()) else {
            panic!("not a start")
        };
        assert_eq!((job.as_str(), Value::Object(params)), ("report", body));
    }

    #[test]
    fn a_schedule_comes_in_two_wrappings_and_never_bare() {
        let fields = json!({"jobName": "report"}).as_object().unwrap().clone();
        let parse = call("POST", "cloud_code/jobs", json!({"job_schedule": fields}));
        let schedule = ScheduleForm::Parse(fields.clone());
        assert_eq!(parse, JobCall::CreateSchedule { schedule });
        let back4app = call("PUT", "cloud_code/jobs/x", json!({"job": fields}));
        let schedule = ScheduleForm::Back4app(fields.clone());
        let id = "x".to_owned();
        assert_eq!(back4app, JobCall::UpdateSchedule { id, schedule });
        for bare in [Value::Object(fields), json!({"job_schedule": 5}), json!({})] {
            let error = Request::parse("POST", "cloud_code/jobs", &bare).unwrap_err();
            assert_eq!(error.code, ErrorCode::INVALID_JSON, "{bare}");
        }
    }

    #[test]
    fn params_have_the_limits_of_all_values() {
        let nul = json!({"a": "\0"});
        assert!(Request::parse("POST", "jobs/report", &nul).is_err());
    }
}
