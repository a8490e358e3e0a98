#![doc = include_str!("../README.md")]
//!
//! Layout: `events`, `triggers`, `operations` and `slot` are what can be asked and done about events; `jobs`, `runs`,
//! `run_view` and `workflows` about jobs; `schedules` and `preview` about schedules. `parse` reads what people write; `near`
//! finds the name that was meant.

mod error;
mod events;
mod jobs;
mod near;
mod operations;
mod parse;
mod preview;
mod run_view;
mod runs;
mod schedules;
mod slot;
mod triggers;
mod workflows;

use tidegate_event::{Trigger, TriggerSet};
use tidegate_event_log::EventLog;
use tidegate_job_log::JobLog;

pub use error::Error;
pub use events::{EventFilter, ReplayRequest, ShownEvent};
pub use jobs::{JobLine, QueueLine};
pub use operations::Started;
pub use preview::{
    FateCounts, MAX_PREVIEW_ROWS, Preview, SimulateRequest, SimulatedRow, SimulationView,
    expression, preview_options, simulate_options,
};
pub use run_view::{AttemptLine, MAX_HISTORY_EVENTS, ShownRun, log_time};
pub use runs::{MAX_RUNS, RetriedRuns, RunFilter, RunPage, StartedRun};
pub use schedules::{MAX_SCHEDULES, ScheduleLine, SchedulePage, Triggered};
pub use slot::{GapLine, Resynced, SlotLine, TableLine};
pub use tidegate_capture::resync::Progress;
pub use tidegate_event_log::inspect::{DeliveryLine, EventLine};
pub use tidegate_event_log::operation::{Command, Operation, Specification, State};
pub use tidegate_event_log::replay::{Planned, ReplayPlan};
pub use tidegate_event_log::trace::{Trace, TracedEvent, TracedRun};
pub use tidegate_job::{
    JobOptions, LogLevel, LogLine, RunId, RunState, Source, WorkflowId, WorkflowState,
};
pub use tidegate_job_log::fire::{Fire, Made};
pub use tidegate_job_log::history::{Event as RunEvent, LoggedLine};
pub use tidegate_job_log::list::{Detail as RunDetail, Summary as RunLine, WorkflowView};
pub use tidegate_job_log::register::Workflow as WorkflowDefinition;
pub use tidegate_job_log::schedule::{Source as ScheduleSource, Target};
pub use tidegate_schedule::{Fate, Row as DueRow};
pub use triggers::{BackfillPlan, BackfillRequest, TriggerLine};
pub use workflows::{StartedWorkflow, WorkflowFilter, WorkflowPage};

/// A length of time as people write it (`90s`, `5m`, `1h30m`), in milliseconds; `argument` names it in the error.
pub fn duration_ms(argument: &str, text: &str) -> Result<u64, Error> {
    parse::duration_ms(argument, text)
}

/// Everything that can be asked and done, on one database.
#[derive(Clone)]
pub struct Admin {
    log: EventLog,
    jobs: JobLog,
    capture: tidegate_capture::Config,
}

impl Admin {
    /// `capture`: as the servers of this database are configured.
    pub fn new(log: EventLog, jobs: JobLog, capture: tidegate_capture::Config) -> Admin {
        Admin { log, jobs, capture }
    }

    /// The after-triggers of the current release: those by which dispatch works.
    async fn triggers(&self) -> Result<TriggerSet, Error> {
        let names = self.log.dispatch_state().await?.triggers;
        let is_mark = |name: &String| {
            (name.strip_suffix(" limited"))
                .is_some_and(|plain| names.iter().any(|one| one == plain))
        };
        let triggers = names.iter().filter(|name| !is_mark(name));
        Ok(triggers
            .filter_map(|name| name.parse::<Trigger>().ok())
            .filter(|trigger| trigger.kind.is_after_commit())
            .collect())
    }

    /// Schema and table of a class that exists.
    async fn table(&self, class: &str) -> Result<(String, String), Error> {
        let (schema, table) = parse::table(class)?;
        let tables = self.log.tables().await?;
        if tables.contains(&(schema.clone(), table.clone())) {
            return Ok((schema, table));
        }
        let names = tables.iter().map(|(schema, table)| match schema.as_str() {
            "public" => table.clone(),
            _ => format!("{schema}.{table}"),
        });
        Err(Error::not_found("class", class, names))
    }
}
