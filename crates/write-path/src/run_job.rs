//! What a worker runs: one attempt of a job's run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_cloud_code::{Cause, CloudCode, Control, Handler, Outcome, Ran, Run, RunScope};
use tidegate_event::report::chain;
use tidegate_event::{EffectScope, Source};
use tidegate_job::Lease;
use tidegate_job_log::Claimed;
use tokio_util::sync::CancellationToken;

use crate::before_trigger::KILL_GRACE;
use crate::{Error, WritePath};

impl WritePath {
    /// Runs one attempt of `claimed` with the job of `code`. Nothing is open in Postgres meanwhile.
    ///
    /// `max_attempts`: for the handler to know. `timeout`: after it the outcome is [`Outcome::TimedOut`]. A run whose
    /// lease turns out to be lost is killed.
    pub async fn run_job(
        &self,
        code: &CloudCode,
        claimed: &Claimed,
        max_attempts: u32,
        timeout: Duration,
        control: Control,
    ) -> Ran {
        let request = match request(claimed, max_attempts) {
            Ok(request) => request,
            Err(error) => return not_begun(format!("the params cannot be read: {error}")),
        };
        let effects = match self.effects_of_run(claimed).await {
            Ok(effects) => effects,
            Err(error) => return not_begun(chain(&error)),
        };
        let _listed = self.job_runs.list(claimed, control.kill.clone());
        let run = Run {
            handler: Handler::Job(claimed.job.clone()),
            request: Value::Object(request),
            soft_deadline: timeout,
            hard_deadline: timeout + KILL_GRACE,
            cause: Arc::new(cause(claimed, effects)),
            control: Some(control),
        };
        code.run_logged(run).await
    }

    /// Where the run's writes are recorded. A first claim can have no earlier writes; every other one may.
    async fn effects_of_run(&self, claimed: &Claimed) -> Result<EffectScope, Error> {
        let cause = claimed.lease.run.cause();
        let earlier = match claimed.lease.fence > 1 {
            true => self.log.effects_of(&cause).await?,
            false => Default::default(),
        };
        Ok(EffectScope {
            cause: cause.into(),
            log_offset: None,
            path: String::new(),
            is_recorded: true,
            earlier: Arc::new(earlier),
        })
    }
}

/// The request object of the job, as JSON.
fn request(claimed: &Claimed, max_attempts: u32) -> serde_json::Result<Map<String, Value>> {
    let params: Value = serde_json::from_str(&claimed.params)?;
    let workflow = claimed.workflow.as_ref().map(|workflow| {
        json!({
            "id": workflow.id, "name": workflow.name, "node": workflow.node,
            "isCompensation": workflow.is_compensation,
        })
    });
    let schedule = claimed
        .schedule
        .as_ref()
        .map(|schedule| json!({"name": schedule.name, "dueAt": format!("{:.3}", schedule.due_at)}));
    let fields = [
        ("jobName", json!(claimed.job)),
        ("jobId", json!(claimed.lease.run)),
        ("params", params),
        ("attempt", json!(claimed.attempt)),
        ("maxAttempts", json!(max_attempts)),
        ("steps", json!(claimed.steps)),
        ("sleeps", json!(claimed.sleeps)),
        ("inputs", json!(claimed.inputs)),
        ("workflow", json!(workflow)),
        ("schedule", json!(schedule)),
        ("context", json!({})),
        ("headers", json!({})),
        ("master", json!(true)),
    ];
    let owned = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Ok(owned.collect())
}

/// What the job's own writes will name as their cause.
fn cause(claimed: &Claimed, effects: EffectScope) -> Cause {
    let Lease { run, worker, fence } = &claimed.lease;
    Cause {
        request_id: run.to_string(),
        source: Source::Job,
        depth: 1,
        chain: vec![format!("job:{} {run}", claimed.job)],
        effects: Some(effects),
        run: Some(RunScope {
            id: run.0,
            fence: *fence,
            worker: worker.clone(),
        }),
        ..Cause::default()
    }
}

/// An attempt whose handler did not begin. No process ended, so that this is no crash.
fn not_begun(message: String) -> Ran {
    Outcome::Threw {
        code: tidegate_parse_protocol::ErrorCode::INTERNAL.0,
        message,
        stack: None,
        is_parse_error: false,
        retry_after_ms: None,
        no_retry: false,
    }
    .into()
}

/// Runs of jobs in this process, by their leases.
#[derive(Default)]
pub(crate) struct JobRuns(Mutex<HashMap<Lease, JobRun>>);

struct JobRun {
    kill: CancellationToken,
    claimed_at: Timestamp,
}

impl JobRuns {
    fn list(&self, claimed: &Claimed, kill: CancellationToken) -> Listed<'_> {
        let run = JobRun {
            kill,
            claimed_at: claimed.claimed_at,
        };
        self.lock().insert(claimed.lease.clone(), run);
        Listed {
            runs: self,
            lease: claimed.lease.clone(),
        }
    }

    /// Ends the run of a lease at once.
    pub fn kill(&self, lease: &Lease) {
        if let Some(run) = self.lock().get(lease) {
            run.kill.cancel();
        }
    }

    /// When a listed lease began, by Postgres's clock.
    pub fn claimed_at(&self, lease: &Lease) -> Option<Timestamp> {
        self.lock().get(lease).map(|run| run.claimed_at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Lease, JobRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes its run off the list when dropped.
struct Listed<'a> {
    runs: &'a JobRuns,
    lease: Lease,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.lease);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_job::{RunId, WorkflowId};
    use tidegate_job_log::claim::{FiredBy, InWorkflow};

    use super::*;

    fn claimed() -> Claimed {
        Claimed {
            lease: Lease {
                run: RunId(7),
                worker: "w".into(),
                fence: 3,
            },
            job: "report".into(),
            params: r#"{"day":{"__type":"Date","iso":"2027-03-27T00:00:00.000Z"}}"#.into(),
            attempt: 2,
            crashes: 0,
            is_resumed: true,
            retries: None,
            backoff: None,
            timeout_ms: None,
            steps: [("load".to_owned(), json!(5))].into(),
            sleeps: [("sleep 1".to_owned(), 9)].into(),
            inputs: [("fetch".to_owned(), Value::Null)].into(),
            workflow: Some(InWorkflow {
                id: WorkflowId(4),
                name: "import".into(),
                node: "sum".into(),
                is_compensation: false,
            }),
            schedule: Some(FiredBy {
                name: "nightly".into(),
                due_at: "2027-03-27T02:00:00Z".parse().unwrap(),
            }),
            source: "api".into(),
            created_at: "2027-03-27T01:00:00Z".parse().unwrap(),
            claimed_at: "2027-03-27T01:00:00Z".parse().unwrap(),
            waited: Duration::ZERO,
        }
    }

    #[test]
    fn a_job_is_told_all_that_its_run_knows() {
        let expected = json!({
            "jobName": "report", "jobId": "R000000007", "attempt": 2, "maxAttempts": 4,
            "params": {"day": {"__type": "Date", "iso": "2027-03-27T00:00:00.000Z"}},
            "steps": {"load": 5}, "sleeps": {"sleep 1": 9}, "inputs": {"fetch": null},
            "workflow": {"id": "W000000004", "name": "import", "node": "sum", "isCompensation": false},
            "schedule": {"name": "nightly", "dueAt": "2027-03-27T02:00:00.000Z"},
            "context": {}, "headers": {}, "master": true,
        });
        assert_eq!(Value::Object(request(&claimed(), 4).unwrap()), expected);
        let cause = cause(
            &claimed(),
            EffectScope {
                cause: "run:R000000007".into(),
                log_offset: None,
                path: String::new(),
                is_recorded: true,
                earlier: Arc::default(),
            },
        );
        assert_eq!(cause.chain, ["job:report R000000007"]);
        assert_eq!((cause.source, cause.depth), (Source::Job, 1));
    }

    #[test]
    fn only_the_lease_that_is_listed_is_killed() {
        let runs = JobRuns::default();
        let kill = CancellationToken::new();
        let listed = runs.list(&claimed(), kill.clone());
        let former = Lease {
            fence: 2,
            ..claimed().lease
        };
        runs.kill(&former);
        assert!(!kill.is_cancelled());
        runs.kill(&claimed().lease);
        assert!(kill.is_cancelled());
        let listed_at = [&former, &claimed().lease].map(|lease| runs.claimed_at(lease));
        assert_eq!(listed_at, [None, Some(claimed().claimed_at)]);
        drop(listed);
        assert_eq!(runs.claimed_at(&claimed().lease), None);
    }
}
