#![doc = include_str!("../README.md")]
//!
//! Layout, in the order of a request: `caller` (who asks), `execute` (what they ask),
//! `save` and `delete` (the path, each on one screen), `read`, `user`, `function`, `batch`; `after_trigger` is what
//! a worker runs, `effect` keeps it from writing twice and `depth` from setting itself off for ever; `host` is cloud code's way in; `wait` holds requests that wait for their after-triggers.
//! Of jobs: `job` starts and cancels them, `job_schedule` keeps the dashboard's schedules, `run_job` is what a worker
//! runs, and `job_call` is what a run says while it runs.

mod after_fields;
mod after_trigger;
mod answer;
mod authorize;
mod batch;
mod before_trigger;
pub mod caller;
mod commit;
mod delete;
mod depth;
mod effect;
mod error;
mod execute;
mod function;
mod hooks;
mod host;
mod include;
mod job;
mod job_call;
mod job_schedule;
pub mod metric_names;
mod password;
mod read;
mod run_job;
mod save;
mod session;
mod user;
mod validate;
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tidegate_cloud_code::CloudCode;
use tidegate_event::{TriggerSet, WaitToken};
use tidegate_event_log::{EventLog, TokenWaits};
use tidegate_job_log::JobLog;
use tidegate_storage::Storage;

pub use answer::{Answer, Waited};
pub use caller::{Caller, Wait};
pub use error::Error;
pub use job::ensure_job_classes;
pub use wait::Waiters;

/// What the write path needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach the Parse API: `/parse`. Batch items carry it.
    pub mount: String,
    /// Names this process to the workers that answer its waiting requests.
    pub process: String,
    pub function_timeout: Duration,
    pub trigger_timeout: Duration,
    /// How long a save waits for its after-triggers before it answers all the same.
    pub wait_timeout: Duration,
    /// How many triggers in a row may lead to a write; more are taken for a loop.
    pub max_trigger_depth: u32,
    /// Whether a client without the master key may create a class by saving to it.
    pub client_class_creation: bool,
    /// Whether a client may choose objectIds.
    pub custom_object_ids: bool,
    pub session_lifetime: Duration,
}

/// The longest that a request may wait for the after-triggers of earlier writes. A client that wants more asks again.
pub const MAX_TOKEN_WAIT: Duration = Duration::from_secs(30);

/// The write path of one process.
pub struct WritePath {
    config: Config,
    storage: Storage,
    log: EventLog,
    token_waits: TokenWaits,
    /// None until the first release is loaded; swapped as a whole by a reload.
    code: ArcSwapOption<CloudCode>,
    /// Those of the code, and webhooks.
    triggers: ArcSwap<TriggerSet>,
    waiters: Arc<Waiters>,
    jobs: JobLog,
    /// Runs of jobs in this process.
    job_runs: run_job::JobRuns,
}

impl WritePath {
    /// `log`: where handlers' writes are recorded, and outcomes to wait for are found. `jobs`: where runs are asked for.
    pub fn new(
        config: Config,
        storage: Storage,
        log: EventLog,
        jobs: JobLog,
        waiters: Arc<Waiters>,
    ) -> Arc<WritePath> {
        Arc::new(WritePath {
            config,
            storage,
            token_waits: TokenWaits::new(log.clone()),
            log,
            code: ArcSwapOption::empty(),
            triggers: ArcSwap::default(),
            waiters,
            jobs,
            job_runs: run_job::JobRuns::default(),
        })
    }

    /// Serves `code` from now on; returns what was served before, which the caller closes.
    pub fn replace_code(&self, code: Arc<CloudCode>) -> Option<Arc<CloudCode>> {
        self.code.swap(Some(code))
    }

    /// Says which after-triggers there are from now on, those outside the code among them.
    pub fn replace_triggers(&self, triggers: TriggerSet) {
        self.triggers.store(Arc::new(triggers));
    }

    pub fn code(&self) -> Option<Arc<CloudCode>> {
        self.code.load_full()
    }

    /// Waits until the after-triggers of these writes have had their first attempt, whoever made the writes.
    ///
    /// `at_most`: never longer than [`MAX_TOKEN_WAIT`]; None: as long as a save waits for its own.
    pub async fn wait_for_tokens(
        &self,
        tokens: &[WaitToken],
        at_most: Option<Duration>,
    ) -> Result<Waited, Error> {
        let at_most = at_most.unwrap_or(self.config.wait_timeout);
        let at_most = at_most.min(MAX_TOKEN_WAIT);
        match self.token_waits.wait_for(tokens, at_most).await {
            Ok(true) => Ok(Waited::Done),
            Ok(false) => {
                metrics::counter!(metric_names::WAITS_TIMED_OUT).increment(1);
                Ok(Waited::TimedOut)
            }
            Err(source) => Err(source.into()),
        }
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }
}
