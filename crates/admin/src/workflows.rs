//! Workflows: what is registered, starting one, and where each stands.

use serde::Serialize;
use serde_json::{Map, Value};
use tidegate_job::start::params_text;
use tidegate_job::{Source, StartOptions, WorkflowId, WorkflowState};
use tidegate_job_log::list::WorkflowView;
use tidegate_job_log::register::Workflow;
use tidegate_job_log::start_workflow::NewWorkflow;

use crate::{Admin, Error, MAX_RUNS};

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedWorkflow {
    #[serde(flatten)]
    pub workflow: WorkflowView,
    /// False: its idempotency key has been used, and this is the workflow that it made.
    pub is_new: bool,
    /// False: no process schedules at the moment; it begins when one does.
    pub is_scheduled: bool,
}

/// Which workflows are listed; each part as a person wrote it.
#[derive(Clone, Debug, Default)]
pub struct WorkflowFilter {
    pub name: Option<String>,
    /// Only those older than this one: `next` of the page before.
    pub before: Option<String>,
    /// 1 to [`MAX_RUNS`].
    pub limit: u32,
}

/// Some workflows, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowPage {
    pub workflows: Vec<WorkflowView>,
    /// Where the next page begins; null: there is none.
    pub next: Option<WorkflowId>,
}

impl Admin {
    /// Every graph that was ever registered, by name.
    pub async fn workflow_definitions(&self) -> Result<Vec<Workflow>, Error> {
        Ok(self.jobs.workflow_definitions().await?)
    }

    /// Starts a workflow. `params`: an object or null. `options`: as `Parse.Cloud.startWorkflow` takes them, or null.
    pub async fn start_workflow(
        &self,
        name: &str,
        params: &Value,
        options: &Value,
        source: Source,
    ) -> Result<StartedWorkflow, Error> {
        params_text(params)?;
        let new = NewWorkflow {
            name: name.to_owned(),
            params: match params {
                Value::Object(params) => params.clone(),
                _ => Map::new(),
            },
            options: StartOptions::parse(options)?,
            source,
        };
        let started = self.jobs.start_workflow(&new).await?;
        Ok(StartedWorkflow {
            workflow: self.jobs.workflow(started.id).await?,
            is_new: started.is_new,
            is_scheduled: self.jobs.is_led().await?,
        })
    }

    /// Workflows that were started, the newest first.
    pub async fn list_workflows(&self, filter: &WorkflowFilter) -> Result<WorkflowPage, Error> {
        if !(1..=MAX_RUNS).contains(&filter.limit) {
            return Err(Error::invalid("limit", format!("must be 1 to {MAX_RUNS}")));
        }
        if let Some(name) = &filter.name {
            let known = self.jobs.workflow_definitions().await?;
            if !known.iter().any(|one| one.name == *name) {
                let known = known.into_iter().map(|one| one.name);
                return Err(Error::not_found("workflow", name, known));
            }
        }
        let before = filter.before.as_deref();
        let before = before.map(|text| workflow_id("before", text)).transpose()?;
        let name = filter.name.as_deref();
        let workflows = self.jobs.workflows(name, before, filter.limit).await?;
        let is_full = workflows.len() == filter.limit as usize;
        let next = workflows.last().map(|one| one.id).filter(|_| is_full);
        Ok(WorkflowPage { workflows, next })
    }

    pub async fn workflow(&self, workflow: &str) -> Result<WorkflowView, Error> {
        let id = workflow_id("workflow", workflow)?;
        Ok(self.jobs.workflow(id).await?)
    }

    /// Cancels all runs of a workflow that have not ended, and returns it as it is then. Nothing is compensated.
    pub async fn cancel_workflow(&self, workflow: &str) -> Result<WorkflowView, Error> {
        let id = workflow_id("workflow", workflow)?;
        let state = self.jobs.cancel_workflow(id).await?;
        // Asked twice is done once.
        if state.is_final() && state != WorkflowState::Cancelled {
            let problem = format!("{id} has {}: there is nothing to cancel", state.as_str());
            return Err(Error::Conflict { problem });
        }
        Ok(self.jobs.workflow(id).await?)
    }
}

fn workflow_id(argument: &str, text: &str) -> Result<WorkflowId, Error> {
    text.parse()
        .map_err(|error| Error::invalid(argument, error))
}
