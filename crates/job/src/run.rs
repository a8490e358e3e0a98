//! A run that is to be made.

use serde::{Deserialize, Serialize};

use crate::StartOptions;

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
