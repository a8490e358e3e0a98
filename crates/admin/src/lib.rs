#![doc = include_str!("../README.md")]
//!
//! Layout: `events`, `triggers`, `operations` and `slot` are what can be asked and done; `parse` reads what people
//! write; `near` finds the name that was meant.

mod error;
mod events;
mod near;
mod operations;
mod parse;
mod slot;
mod triggers;

use tidegate_event::{Trigger, TriggerSet};
use tidegate_event_log::EventLog;

pub use error::Error;
pub use events::{EventFilter, ReplayRequest, ShownEvent};
pub use operations::Started;
pub use slot::{GapLine, Resynced, SlotLine, TableLine};
pub use tidegate_capture::resync::Progress;
pub use tidegate_event_log::inspect::{DeliveryLine, EventLine};
pub use tidegate_event_log::operation::{Command, Operation, Specification, State};
pub use tidegate_event_log::replay::{Planned, ReplayPlan};
pub use tidegate_event_log::trace::{Trace, TracedEvent, TracedRun};
pub use triggers::{BackfillPlan, BackfillRequest, TriggerLine};

/// Everything that can be asked and done, on one database.
#[derive(Clone)]
pub struct Admin {
    log: EventLog,
    capture: tidegate_capture::Config,
}

impl Admin {
    /// `capture`: as the servers of this database are configured.
    pub fn new(log: EventLog, capture: tidegate_capture::Config) -> Admin {
        Admin { log, capture }
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
