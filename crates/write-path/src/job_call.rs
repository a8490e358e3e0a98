//! What a run of a job says to the server while it runs: its message, its progress, its steps, its sleeps.
//!
//! Invariant: only the run's own handler is heard, and only while its lease holds. Who has lost it is told so, and its
//! isolate is killed: whatever it does after that is nobody's work.

use std::time::Duration;

use tidegate_cloud_code::{Cause, JobAnswer, JobCall, RunScope};
use tidegate_event::failpoint;
use tidegate_job::{Lease, RunId};
use tidegate_job_log::attempt::Progress;
use tidegate_parse_protocol::ErrorCode;

use crate::error::refuse;
use crate::session::now_ms;
use crate::{Error, WritePath};

/// A run that was woken up may find that this machine's clock is behind that of Postgres, which woke it. That much is
/// waited for here, because going to sleep again would end at once.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

impl WritePath {
    pub(crate) async fn answer_job(
        &self,
        cause: &Cause,
        call: JobCall,
    ) -> Result<JobAnswer, Error> {
        let Some(scope) = &cause.run else {
            let message = "only the handler of a job has messages, progress, steps and sleeps";
            return Err(refuse(ErrorCode::SCRIPT_FAILED, message));
        };
        let lease = lease_of(scope);
        let written = self.write_job_call(&lease, call).await;
        written.map_err(|error| match error {
            tidegate_job_log::Error::Lost { .. } => {
                self.job_runs.kill(&lease);
                refuse(ErrorCode::SCRIPT_FAILED, error.to_string())
            }
            error => error.into(),
        })
    }

    async fn write_job_call(
        &self,
        lease: &Lease,
        call: JobCall,
    ) -> Result<JobAnswer, tidegate_job_log::Error> {
        match call {
            JobCall::Message(text) => self.jobs.message(lease, &text).await?,
            JobCall::Progress {
                done,
                total,
                message,
            } => {
                let progress = Progress {
                    done,
                    total,
                    message,
                };
                self.jobs.progress(lease, &progress).await?;
            }
            JobCall::Step { name, value } => {
                self.jobs.step(lease, &name, &value).await?;
                failpoint::pass(failpoint::JOB_STEPPED);
            }
            JobCall::Sleep { name, until_ms } => {
                let until_ms = self.jobs.sleep(lease, &name, until_ms).await?;
                return Ok(self.wait_or_suspend(lease, until_ms).await);
            }
        }
        Ok(JobAnswer::Done)
    }

    async fn wait_or_suspend(&self, lease: &Lease, until_ms: i64) -> JobAnswer {
        let left = u64::try_from(until_ms - now_ms()).map_or(Duration::ZERO, Duration::from_millis);
        if left > CLOCK_SKEW || !self.job_runs.was_woken(lease) {
            return JobAnswer::Suspend { until_ms };
        }
        tokio::time::sleep(left).await;
        JobAnswer::Done
    }
}

fn lease_of(scope: &RunScope) -> Lease {
    Lease {
        run: RunId(scope.id),
        worker: scope.worker.clone(),
        fence: scope.fence,
    }
}
