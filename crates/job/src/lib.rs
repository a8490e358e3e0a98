#![doc = include_str!("../README.md")]
//!
//! Layout, in reading order:
//! - [`id`]: the names of runs and workflows; [`state`]: where a run stands.
//! - [`lease`]: the right to write for a run.
//! - [`options`]: how a job is to be run; [`backoff`]: when it is tried again.
//! - [`start`]: what one start asks for; [`run`]: a run that is to be made.
//! - [`workflow`]: graphs of jobs; [`order`]: in which order they can run.
//! - [`log_line`]: what an attempt writes, and how much.
//! - [`fields`]: reading JSON that people wrote, with errors that help; [`near`]: the name that was meant.

pub mod backoff;
pub mod fields;
pub mod id;
pub mod lease;
pub mod log_line;
pub mod near;
pub mod options;
pub mod order;
pub mod run;
pub mod start;
pub mod state;
pub mod workflow;

pub use backoff::Backoff;
pub use fields::Invalid;
pub use id::{ParseIdError, RunId, WorkflowId};
pub use lease::Lease;
pub use log_line::{LogBudget, LogLevel, LogLine};
pub use options::{JobDefinition, JobOptions};
pub use run::{NewRun, Source};
pub use start::{OnFailure, StartOptions};
pub use state::{Band, RunState, WorkflowState};
pub use workflow::{Graph, Node, Policy, WorkflowDefinition};
