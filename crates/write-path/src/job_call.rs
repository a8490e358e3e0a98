//! What a run of a job says to the server while it runs: its message, its progress, its steps, its sleeps.
//!
//! Invariant: only the run's own handler is heard, and only while its lease holds. Who has lost it is told so, and its
//! isolate is killed: whatever it does after that is nobody's work.

use jiff::Timestamp;
use tidegate_cloud_code::{Cause, JobAnswer, JobCall, RunScope};
use tidegate_event::failpoint;
use tidegate_job::{Lease, RunId};
use tidegate_job_log::attempt::Progress;
use tidegate_parse_protocol::ErrorCode;

use crate::error::refuse;
use crate::{Error, WritePath};

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
                return Ok(over_or_suspend(until_ms, self.job_runs.claimed_at(lease)));
            }
        }
        Ok(JobAnswer::Done)
    }
}

/// Whether a sleep was over when the run was claimed. That is for the clock that wakes runs to say, Postgres's: by another
/// that is behind it, a run that was woken would sleep again, be woken at once, and so on.
fn over_or_suspend(until_ms: i64, claimed_at: Option<Timestamp>) -> JobAnswer {
    match claimed_at {
        Some(claimed_at) if until_ms <= claimed_at.as_millisecond() => JobAnswer::Done,
        _ => JobAnswer::Suspend { until_ms },
    }
}

fn lease_of(scope: &RunScope) -> Lease {
    Lease {
        run: RunId(scope.id),
        worker: scope.worker.clone(),
        fence: scope.fence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::now_ms;

    #[test]
    fn a_sleep_is_over_when_postgres_says_so() {
        let claimed_at = |ms| Some(Timestamp::from_millisecond(ms).unwrap());
        let suspended = |until_ms| JobAnswer::Suspend { until_ms };
        assert_eq!(over_or_suspend(1000, claimed_at(1000)), JobAnswer::Done);
        assert_eq!(over_or_suspend(1001, claimed_at(1000)), suspended(1001));
        assert_eq!(over_or_suspend(1000, None), suspended(1000));
        // This process's clock is a minute behind, or ahead.
        let until_ms = now_ms() + 30_000;
        let answer = over_or_suspend(until_ms, claimed_at(now_ms() + 60_000));
        assert_eq!(answer, JobAnswer::Done);
        let until_ms = now_ms() - 30_000;
        let answer = over_or_suspend(until_ms, claimed_at(now_ms() - 60_000));
        assert_eq!(answer, suspended(until_ms));
    }
}
