//! One loaded release.

use std::sync::Arc;

use tidegate_event::TriggerSet;

use crate::bundle::Bundle;
use crate::child::Services;
use crate::fetch::Fetcher;
use crate::job::{Job, Place, Reply};
use crate::pool::Pool;
use crate::request_text::request_text;
use crate::run::{OutcomeJson, ThrewJson};
use crate::source_map::Stacks;
use crate::zygote::Zygote;
use crate::{Config, Error, Handler, Host, Isolation, Manifest, Outcome, Ran, Run};

/// The longest request a handler is given, in bytes of JSON.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// The longest that a handler can put off its next attempt: a week. The runtime has the same limit.
const MAX_RETRY_AFTER_MS: u64 = 7 * 24 * 3_600_000;

/// Parse's code for a script that failed.
const SCRIPT_FAILED: u16 = 141;

/// One release of cloud code, loaded and ready to run. Dropping it ends its processes.
pub struct CloudCode {
    id: String,
    manifest: Manifest,
    stacks: Arc<Stacks>,
    isolation: Isolation,
    pool: Arc<Pool>,
}

impl CloudCode {
    /// Loads a bundle: starts its processes, runs main once, and learns what it registers.
    ///
    /// # Errors
    /// [`Error::Load`]: the code threw or did not finish; its author must act.
    /// [`Error::Isolate`]: this machine cannot run isolates, or not now.
    pub async fn load(
        config: &Config,
        bundle: Bundle,
        host: Arc<dyn Host>,
    ) -> Result<Arc<CloudCode>, Error> {
        let stacks = Arc::new(Stacks::new(bundle.source_map.as_deref()));
        let fetcher = Fetcher::new(&config.egress).map_err(|error| Error::Io {
            action: "prepare outbound HTTP",
            source: std::io::Error::other(error),
        })?;
        let (zygote, manifest) = Zygote::start(config, &bundle.code, stacks.clone()).await?;
        let pool = Pool::new(config, zygote, Services { host, fetcher });
        let isolation = config.isolation;
        let code = CloudCode {
            id: bundle.id,
            manifest,
            stacks,
            isolation,
            pool,
        };
        code.pool.start().await?;
        Ok(Arc::new(code))
    }

    /// What the release registers.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn triggers(&self) -> &TriggerSet {
        &self.manifest.triggers
    }

    /// The bundle's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs a handler and returns what came of it; always, and at the latest shortly after the soft deadline.
    ///
    /// Dropping the future does not stop the run.
    pub async fn run(&self, run: Run) -> Outcome {
        self.run_logged(run).await.outcome
    }

    /// As [`CloudCode::run`], and gives what a failed run printed besides.
    pub async fn run_logged(&self, run: Run) -> Ran {
        let ran = match self.refusal(&run) {
            Some(refusal) => refusal.into(),
            None => self.dispatch(run).await,
        };
        metrics::counter!(crate::metrics::RUNS_TOTAL, "outcome" => kind(&ran.outcome)).increment(1);
        ran
    }

    async fn dispatch(&self, run: Run) -> Ran {
        let request = request_text(&run.handler, &run.request);
        if request.len() > MAX_REQUEST_BYTES {
            return threw(
                SCRIPT_FAILED,
                format!(
                    "The request is too large: {} bytes of at most {MAX_REQUEST_BYTES}.",
                    request.len()
                ),
            )
            .into();
        }
        let place = match (self.isolation, &run.handler) {
            (Isolation::PerRun, _) => Place::Fresh,
            (Isolation::Shared, Handler::Job(_)) => Place::Alone,
            (Isolation::Shared, _) => Place::Shared,
        };
        let (job, reply) = Job::new(&run, request, place);
        self.pool.dispatch(job);
        let closed = || (Reply::Crashed("the release was closed".into()), None);
        let (reply, logs) = reply.await.unwrap_or_else(|_| closed());
        let outcome = match reply {
            Reply::Outcome(json) => self.outcome(&json),
            Reply::OutOfMemory => threw(SCRIPT_FAILED, "out of memory".into()),
            Reply::TimedOut => Outcome::TimedOut {
                after: run.soft_deadline,
            },
            Reply::Crashed(reason) => Outcome::Crashed { reason },
            Reply::Killed => Outcome::Killed,
            Reply::Suspended(until_ms) => Outcome::Suspended { until_ms },
        };
        let logs = logs.filter(|_| !matches!(kind(&outcome), "returned" | "suspended"));
        Ran { outcome, logs }
    }

    /// The answer to a run that names no handler of this release; texts as Parse Server has them (`FunctionsRouter.js`).
    fn refusal(&self, run: &Run) -> Option<Outcome> {
        if self.manifest.has(&run.handler) {
            return None;
        }
        let message = match &run.handler {
            Handler::Function(name) => format!("Invalid function: \"{name}\""),
            Handler::Job(_) => "Invalid job.".into(),
            Handler::Trigger(trigger) => {
                format!("There is no {} for {}.", trigger.kind, trigger.class)
            }
        };
        Some(threw(SCRIPT_FAILED, message))
    }

    fn outcome(&self, json: &str) -> Outcome {
        match serde_json::from_str(json) {
            Ok(OutcomeJson {
                threw:
                    Some(ThrewJson {
                        code,
                        message,
                        stack,
                        is_parse_error,
                        retry_after_ms,
                        no_retry,
                    }),
                ..
            }) => {
                let stack = stack
                    .map(|stack| self.stacks.map(&stack))
                    .filter(|stack| !stack.is_empty());
                Outcome::Threw {
                    code,
                    message,
                    stack,
                    is_parse_error,
                    retry_after_ms: retry_after_ms.map(|ms| ms.min(MAX_RETRY_AFTER_MS)),
                    no_retry,
                }
            }
            Ok(OutcomeJson {
                is_undefined: true, ..
            }) => Outcome::ReturnedNothing,
            Ok(OutcomeJson { returned, .. }) => Outcome::Returned(returned),
            // For example a string with half a surrogate pair, which JSON.stringify lets through as an escape.
            Err(error) => threw(
                SCRIPT_FAILED,
                format!("The result cannot be sent as JSON: {error}"),
            ),
        }
    }

    /// Finishes what is running, then ends all processes. New runs are refused from now on.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The processes of this release, for tests and for people who look for them.
    pub async fn pids(&self) -> Vec<i32> {
        self.pool.pids().await
    }
}

impl Drop for CloudCode {
    fn drop(&mut self) {
        self.pool.kill_all();
    }
}

fn threw(code: u16, message: String) -> Outcome {
    Outcome::Threw {
        code,
        message,
        stack: None,
        is_parse_error: false,
        retry_after_ms: None,
        no_retry: false,
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Returned(_) | Outcome::ReturnedNothing => "returned",
        Outcome::Threw { .. } => "threw",
        Outcome::TimedOut { .. } => "timed_out",
        Outcome::Crashed { .. } => "crashed",
        Outcome::Killed => "killed",
        Outcome::Suspended { .. } => "suspended",
    }
}
