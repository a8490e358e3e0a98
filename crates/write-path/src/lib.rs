#![doc = include_str!("../README.md")]
//!
//! Layout, in the order of a request: `caller` (who asks), `execute` (what they ask),
//! `save` and `delete` (the path, each on one screen), `read`, `user`, `function`, `batch`; `after_trigger` is what
//! a worker runs; `host` is cloud code's way in; `wait` holds requests that wait for their after-triggers.

mod after_trigger;
mod answer;
mod authorize;
mod batch;
mod before_trigger;
pub mod caller;
mod commit;
mod delete;
mod error;
mod execute;
mod function;
mod host;
mod include;
pub mod metric_names;
mod password;
mod read;
mod save;
mod session;
mod user;
mod validate;
pub mod wait;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tidegate_cloud_code::CloudCode;
use tidegate_storage::Storage;

pub use answer::{Answer, Waited};
pub use caller::{Caller, Wait};
pub use error::Error;
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
    /// Whether a client without the master key may create a class by saving to it.
    pub client_class_creation: bool,
    /// Whether a client may choose objectIds.
    pub custom_object_ids: bool,
    pub session_lifetime: Duration,
}

/// The write path of one process.
pub struct WritePath {
    config: Config,
    storage: Storage,
    /// None until the first release is loaded; swapped as a whole by a reload.
    code: ArcSwapOption<CloudCode>,
    waiters: Arc<Waiters>,
}

impl WritePath {
    pub fn new(config: Config, storage: Storage, waiters: Arc<Waiters>) -> Arc<WritePath> {
        Arc::new(WritePath {
            config,
            storage,
            code: ArcSwapOption::empty(),
            waiters,
        })
    }

    /// Serves `code` from now on; returns what was served before, which the caller closes.
    pub fn replace_code(&self, code: Arc<CloudCode>) -> Option<Arc<CloudCode>> {
        self.code.swap(Some(code))
    }

    pub fn code(&self) -> Option<Arc<CloudCode>> {
        self.code.load_full()
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }
}
