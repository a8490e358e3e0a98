//! The path: find the job → run it under supervision → its logs → its end recorded.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tidegate_cloud_code::{CloudCode, Control, LogLine, Outcome, Ran};
use tidegate_event::failpoint;
use tidegate_job::JobOptions;
use tidegate_job_log::{Claimed, Ending, Finished, JobLog};
use tidegate_write_path::WritePath;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::claims::Taken;
use super::ending::{Ended, Verdict, unbegun};
use super::finish::Recorder;
use super::log_sink::LogSink;
use super::plan::Plan;
use super::report;
use super::running::Held;
use super::supervise::supervise;
use crate::missing::{self, Advice, Missing};

/// Lines of one attempt that may wait for the sink; what is more is left out.
const LOG_BUFFER: usize = 4_096;

/// Performs runs one by one, many at once.
pub(crate) struct Performer {
    pub log: JobLog,
    pub write_path: Arc<WritePath>,
    pub recorder: Recorder,
    pub sink: LogSink,
    pub missing: Missing,
    /// No attempt takes longer.
    pub job_timeout: Duration,
    pub shutdown: CancellationToken,
}

impl Performer {
    /// Performs one attempt of a run that is held, up to its recorded end.
    pub async fn perform(&self, taken: Taken) {
        let claimed = &taken.claimed;
        let span = tracing::info_span!(
            "job",
            job.id = %claimed.lease.run,
            job.name = claimed.job,
            job.attempt = claimed.attempt,
        );
        self.take(taken).instrument(span).await;
    }

    async fn take(&self, Taken { claimed, held }: Taken) {
        failpoint::pass(failpoint::JOB_CLAIMED);
        report::started(&claimed);
        let begun = Instant::now();
        let verdict = match (held.reason(), self.find(&claimed.job)) {
            (Some(reason), _) => unbegun(reason),
            (None, Some((code, options))) => self.attempt(&code, &options, &claimed, &held).await,
            (None, None) => self.miss(&claimed),
        };
        failpoint::pass(failpoint::JOB_RAN);
        report::ended(&claimed, &verdict, begun.elapsed());
        self.settle(&claimed, verdict).await;
    }

    /// The job in the release that is served now, with what its author chose.
    fn find(&self, job: &str) -> Option<(Arc<CloudCode>, JobOptions)> {
        let code = self.write_path.code()?;
        let found = code.manifest().jobs.iter().find(|found| found.name == job);
        let what = format!("the options of job {job:?}");
        // A release whose options cannot be read is not served.
        let options = JobOptions::parse(&what, &found?.options).unwrap_or_default();
        Some((code, options))
    }

    async fn attempt(
        &self,
        code: &CloudCode,
        options: &JobOptions,
        claimed: &Claimed,
        held: &Held,
    ) -> Verdict {
        let plan = Plan::of(options, claimed, self.job_timeout);
        failpoint::pass_with(failpoint::JOB_POISON, [claimed.job.as_str()]);
        let (lines, received) = mpsc::channel(LOG_BUFFER);
        let control = Control {
            abort: CancellationToken::new(),
            kill: CancellationToken::new(),
            logs: Some(lines.clone()),
        };
        let ended = CancellationToken::new();
        let begun = Instant::now();
        let running = async {
            let running = self.write_path.run_job(
                code,
                claimed,
                plan.max_attempts,
                plan.limit,
                control.clone(),
            );
            let ran = tokio::select! {
                ran = running => ran,
                never = supervise(held, &plan, &control, &self.log, &claimed.lease) => match never {},
            };
            let took = begun.elapsed();
            if let Some(line) = stack_of(&ran) {
                let _ = lines.send(line).await;
            }
            ended.cancel();
            (ran, took)
        };
        let pump = self.sink.pump(&claimed.lease, received, ended.clone());
        let ((ran, took), ()) = tokio::join!(running, pump);
        let ended = Ended {
            outcome: ran.outcome,
            reason: held.reason(),
            was_shutting_down: self.shutdown.is_cancelled(),
            was_out_of_time: took >= plan.abort_after(),
            attempt: claimed.attempt,
            crashes: claimed.crashes,
            plan: &plan,
            jitter: rand::random(),
        };
        ended.verdict()
    }

    /// While releases change, workers differ in what they have: the run waits, uncounted, until one has its job.
    fn miss(&self, claimed: &Claimed) -> Verdict {
        let job = &claimed.job;
        let id = (claimed.lease.run.0, job.clone());
        match self.missing.advise(id, Instant::now()) {
            Advice::Wait { say } => {
                if say {
                    tracing::warn!("this worker's release has no job {job}; its runs wait");
                }
                let until = SystemTime::now() + missing::PAUSE;
                Verdict::Suspend(Timestamp::try_from(until).unwrap_or(Timestamp::MAX))
            }
            Advice::GiveUp => Verdict::End(Ending::Failed {
                error: missing::error_of_job(job),
            }),
        }
    }

    async fn settle(&self, claimed: &Claimed, verdict: Verdict) {
        let lease = claimed.lease.clone();
        let state = match verdict {
            Verdict::End(ending) => {
                let state = self.recorder.finish(Finished { lease, ending }).await;
                failpoint::pass(failpoint::JOB_FINISHED);
                state
            }
            Verdict::Suspend(until) => {
                let state = self.recorder.suspend(&lease, until).await;
                failpoint::pass(failpoint::JOB_SUSPENDED);
                state
            }
            Verdict::Nothing => None,
        };
        report::recorded(state);
    }
}

/// Where a failed attempt threw: people look for it in its log. The error itself is the message alone, as Parse has it.
fn stack_of(ran: &Ran) -> Option<LogLine> {
    let Outcome::Threw {
        message,
        stack: Some(stack),
        ..
    } = &ran.outcome
    else {
        return None;
    };
    Some(LogLine {
        at_ms: Timestamp::now().as_millisecond(),
        level: "error",
        text: format!("{message}\n{stack}"),
    })
}
