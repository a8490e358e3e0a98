//! What people do about runs: cancel, run again, delete.

use tidegate_job::{RunId, RunState, WorkflowId, WorkflowState};

use crate::text::bigints;
use crate::{Error, JobLog};

impl JobLog {
    /// Cancels a run that has not ended, and returns its state: `running` for one whose worker has to end it first.
    pub async fn cancel(&self, run: RunId) -> Result<RunState, Error> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                "select state from tidegate.cancel_runs($1)",
                &[&bigints(&[run])],
            )
            .await?;
        match row {
            Some(row) => Ok(state(row.get(0))),
            None => Err(Error::unknown_run(run)),
        }
    }

    /// Cancels all runs of a workflow that have not ended. Nothing is compensated.
    pub async fn cancel_workflow(&self, workflow: WorkflowId) -> Result<WorkflowState, Error> {
        let client = self.client().await?;
        let WorkflowId(id) = workflow;
        let row = client
            .query_one("select tidegate.cancel_workflow($1)", &[&(id as i64)])
            .await?;
        row.get::<_, Option<&str>>(0)
            .map(crate::list::workflow_state)
            .ok_or_else(|| unknown_workflow(workflow))
    }

    /// Runs a run again that has failed, was cancelled or skipped: its attempts begin anew, its steps and effects stay
    /// unless `afresh`, and then what it starts is made anew. What was skipped for its sake waits for it again.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it has succeeded or not ended, or its workflow has been undone.
    pub async fn retry(&self, run: RunId, afresh: bool) -> Result<(), Error> {
        let client = self.client().await?;
        let RunId(id) = run;
        let row = client
            .query_one(
                "select tidegate.retry_run($1, $2)",
                &[&(id as i64), &afresh],
            )
            .await?;
        let reason = match row.get::<_, Option<&str>>(0) {
            None => return Err(Error::unknown_run(run)),
            Some("failed" | "cancelled" | "skipped") => return Ok(()),
            Some("compensated") => format!("the workflow of {run} has been undone: start it anew"),
            Some("succeeded") => format!("{run} has succeeded: start the job anew"),
            Some(state) => format!("{run} is {state}: only what has ended can run again"),
        };
        Err(Error::Invalid { reason })
    }

    /// Deletes a run with its history, steps and effects. One that others need counts as cancelled.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it runs, and this is not by `force`. By force its worker is told to end it.
    pub async fn delete(&self, run: RunId, force: bool) -> Result<(), Error> {
        let client = self.client().await?;
        let RunId(id) = run;
        let row = client
            .query_one(
                "select tidegate.delete_run($1, $2)",
                &[&(id as i64), &force],
            )
            .await?;
        match row.get::<_, Option<&str>>(0) {
            None => Err(Error::unknown_run(run)),
            Some("running") if !force => Err(Error::Invalid {
                reason: format!("{run} is running: cancel it first, or delete it by force"),
            }),
            Some(_) => Ok(()),
        }
    }
}

pub(crate) fn state(text: &str) -> RunState {
    text.parse().expect("the table has a check of these")
}

pub(crate) fn unknown_workflow(workflow: WorkflowId) -> Error {
    Error::Unknown {
        kind: "workflow",
        name: workflow.to_string(),
        hint: String::new(),
    }
}
