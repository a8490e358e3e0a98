#![doc = include_str!("../README.md")]
//!
//! Layout: `follow` is the path, on one screen; `translate` turns messages into events, `row` one change's tuples, with
//! what `relation` finds in the catalog and `fill` in the table; `slot` opens or creates the slot; `publication` keeps the
//! published tables in step with the triggers, `identity` how much of an old row they send, each change of a table an
//! `edit`. `guardian` decides whether the slot can be followed, `memory` is what it remembers, `heartbeat` keeps it
//! moving; `resync` fills a gap, by `compare` (SQL) and `difference` (one row).

mod compare;
mod difference;
mod edit;
mod error;
mod fill;
mod follow;
pub mod guardian;
mod heartbeat;
mod identity;
mod memory;
pub mod metric_names;
mod publication;
mod relation;
pub mod resync;
mod row;
mod secret;
mod slot;
mod translate;

use std::time::Duration;

use tidegate_event::TriggerSet;
use tidegate_event::report::chain;
use tidegate_event_log::EventLog;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use error::{Directive, Error};
pub use resync::{Resynced, SlotStatus, resync, slot_status};

/// What capture needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub database_url: String,
    pub slot: String,
    pub publication: String,
    /// How long to wait before trying again for a slot that another capture holds.
    pub standby_interval: Duration,
    /// How often a message of our own goes through the slot, so that an idle database's position moves on.
    pub heartbeat_interval: Duration,
}

/// How often to look whether a gap was resolved or what stopped capture went away.
const GAP_INTERVAL: Duration = Duration::from_secs(2);

/// Makes sure that what is committed from now on will be captured: the publication has the tables that have
/// after-triggers, and the slot exists. To be called before the process takes requests.
///
/// # Errors
/// As [`run`]; and what time may mend.
pub async fn prepare(config: &Config, log: &EventLog, triggers: &TriggerSet) -> Result<(), Error> {
    let mut connection = slot::connect(config).await?;
    slot::ensure(config, log, &mut connection).await?;
    publication::bring_in_step(config, triggers, publication::Change::Add).await;
    Ok(())
}

/// Follows the slot until `shutdown`, through every fault that time or a person can mend.
///
/// What only a person can mend, such as a slot that is gone, is recorded as a gap and said once; then this looks every
/// two seconds whether the gap was resolved. The process serves on meanwhile: see [`guardian`].
///
/// `triggers`: of the active release; the publication follows them.
pub async fn run(
    config: Config,
    log: EventLog,
    triggers: watch::Receiver<TriggerSet>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut standing_by = false;
    let mut memory = memory::Memory::default();
    let mut said = String::new();
    while !shutdown.is_cancelled() {
        let followed = follow::follow(&config, &log, &triggers, &mut memory, &shutdown).await;
        let Err(error) = followed else {
            return Ok(());
        };
        let directive = error.directive();
        let is_news = directive != Directive::StandBy || !standing_by;
        standing_by = directive == Directive::StandBy;
        match directive {
            Directive::Stop => {
                match &error {
                    Error::Stopped { stopped } => memory.report(&log, stopped).await,
                    error => say_once(error, &mut said),
                }
                pause(GAP_INTERVAL, &shutdown).await;
            }
            Directive::StandBy => {
                if is_news {
                    let slot = config.slot.as_str();
                    tracing::info!(slot, "another capture is active; standing by");
                }
                pause(config.standby_interval, &shutdown).await;
            }
            Directive::Retry { after } => {
                let error = chain(&error);
                tracing::warn!(error, "capture was interrupted; trying again");
                pause(after, &shutdown).await;
            }
        }
    }
    Ok(())
}

fn say_once(error: &Error, said: &mut String) {
    let error = chain(error);
    if *said != error {
        tracing::error!(
            error,
            "capture cannot go on; looking again every two seconds"
        );
        *said = error;
    }
}

async fn pause(duration: Duration, shutdown: &CancellationToken) {
    let _ = tokio::time::timeout(duration, shutdown.cancelled()).await;
}
