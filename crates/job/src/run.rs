//! A run that is to be made.

use serde::{Deserialize, Serialize};

use crate::StartOptions;

/// Bytes of a run's result, and of a step's, as JSON text: what a request may carry anyway.
pub const MAX_RESULT_BYTES: usize = 1_048_576;

/// Steps and sleeps of one run: all of them travel with each attempt.
pub const MAX_STEPS: usize = 1000;

/// Workers in a row that may be lost while a run runs; then it is quarantined.
pub const MAX_CRASHES: u32 = 3;

/// Who asked for a run; `_JobStatus` shows it as `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// REST, with Parse's routes or ours, and `Parse.Cloud.startJob`.
    Api,
    Cli,
    Schedule,
    Workflow,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::Cli => "cli",
            Source::Schedule => "schedule",
            Source::Workflow => "workflow",
        }
    }
}

/// What `start` takes.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    pub job: String,
    /// JSON text of an object, from [`crate::start::params_text`].
    pub params: String,
    pub options: StartOptions,
    pub source: Source,
}
