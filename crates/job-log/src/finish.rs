//! Records how attempts ended.
//!
//! ```text
//! finished ─▶ still its holder's? ─▶ run + history + _JobStatus ─▶ those that need it, its workflow, whom it blocked
//!                                └▶ no: nothing; somebody else runs it, or has
//! ```
//!
//! Invariant: of one claim one ending counts, because the fence is compared while the run is held.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_job::{Lease, RunId, RunState};

use crate::text::{bigints, run_id, storable};
use crate::{Error, JobLog};

/// One attempt's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub lease: Lease,
    pub ending: Ending,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// JSON text of what the handler returned; None: nothing.
    Succeeded {
        value: Option<String>,
    },
    /// It failed, and is tried again after that time.
    Retry {
        after: Duration,
        error: String,
    },
    /// As [`Ending::Retry`]: its process ended. This counts, with workers that are lost, as a crash in a row; the caller
    /// knows how many there were, and fails the last one.
    Crashed {
        after: Duration,
        error: String,
    },
    /// It failed for the last time.
    Failed {
        error: String,
    },
    Cancelled,
    /// It goes on elsewhere: this worker ends. No attempt is lost.
    HandedBack,
}

impl Ending {
    fn as_str(&self) -> &'static str {
        match self {
            Ending::Succeeded { .. } => "succeeded",
            Ending::Retry { .. } => "retry",
            Ending::Crashed { .. } => "crashed",
            Ending::Failed { .. } => "failed",
            Ending::Cancelled => "cancelled",
            Ending::HandedBack => "handed_back",
        }
    }

    fn value(&self) -> Option<&str> {
        match self {
            Ending::Succeeded { value } => value.as_deref(),
            _ => None,
        }
    }

    fn error(&self) -> Option<String> {
        match self {
            Ending::Retry { error, .. }
            | Ending::Crashed { error, .. }
            | Ending::Failed { error } => Some(storable(error)),
            _ => None,
        }
    }

    /// A text that is returned becomes the message that `_JobStatus` shows, as in Parse Server.
    fn message(&self) -> Option<String> {
        let text: String = serde_json::from_str(self.value()?).ok()?;
        Some(storable(&text))
    }

    fn wait_ms(&self) -> Option<i64> {
        match self {
            Ending::Retry { after, .. } | Ending::Crashed { after, .. } => {
                Some(after.as_millis() as i64)
            }
            _ => None,
        }
    }
}

impl JobLog {
    /// Records how attempts ended and what follows from it, in one transaction. Returns the state of each run whose ending
    /// counts: the others are not their holder's any more. A retry of a run that is to be cancelled ends it.
    ///
    /// `finished`: at most one a run. To do it again, after an answer that was lost, changes nothing.
    pub async fn finish(&self, finished: &[Finished]) -> Result<HashMap<RunId, RunState>, Error> {
        if finished.is_empty() {
            return Ok(HashMap::new());
        }
        let endings = || finished.iter().map(|one| &one.ending);
        let runs: Vec<RunId> = finished.iter().map(|one| one.lease.run).collect();
        let workers: Vec<&str> = finished.iter().map(|one| &*one.lease.worker).collect();
        let fences: Vec<i64> = finished.iter().map(|one| one.lease.fence as i64).collect();
        let results: Vec<&str> = endings().map(Ending::as_str).collect();
        let values: Vec<Option<&str>> = endings().map(Ending::value).collect();
        let errors: Vec<Option<String>> = endings().map(Ending::error).collect();
        let messages: Vec<Option<String>> = endings().map(Ending::message).collect();
        let waits: Vec<Option<i64>> = endings().map(Ending::wait_ms).collect();
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select id, state from tidegate.finish_runs($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .await?;
        let rows = client
            .query(
                &statement,
                &[
                    &bigints(&runs),
                    &workers,
                    &fences,
                    &results,
                    &values,
                    &errors,
                    &messages,
                    &waits,
                ],
            )
            .await?;
        let counted = rows.iter().map(|row| {
            let state = row.get::<_, &str>(1).parse();
            (
                run_id(row.get(0)),
                state.expect("the table has a check of these"),
            )
        });
        Ok(counted.collect())
    }
}
