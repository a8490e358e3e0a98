#![doc = include_str!("../README.md")]
//!
//! Layout: `follow` is the path, on one screen; `translate` turns messages into events, without I/O;
//! `slot` opens or creates the slot; `publication` keeps the published tables in step with the triggers.

mod error;
mod follow;
pub mod metric_names;
mod publication;
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

/// What capture needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub database_url: String,
    pub slot: String,
    pub publication: String,
    /// How long to wait before trying again for a slot that another capture holds.
    pub standby_interval: Duration,
}

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

/// Follows the slot until `shutdown`, through every fault that time can mend.
///
/// `triggers`: of the active release; the publication follows them.
///
/// # Errors
/// Only what a human must decide, such as a slot that is gone: see [`Error::directive`].
pub async fn run(
    config: Config,
    log: EventLog,
    triggers: watch::Receiver<TriggerSet>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut standing_by = false;
    while !shutdown.is_cancelled() {
        let Err(error) = follow::follow(&config, &log, &triggers, &shutdown).await else {
            return Ok(());
        };
        match error.directive() {
            Directive::Stop => return Err(error),
            Directive::StandBy => {
                if !std::mem::replace(&mut standing_by, true) {
                    let slot = config.slot.as_str();
                    tracing::info!(slot, "another capture is active; standing by");
                }
                pause(config.standby_interval, &shutdown).await;
            }
            Directive::Retry { after } => {
                standing_by = false;
                let error = chain(&error);
                tracing::warn!(error, "capture was interrupted; trying again");
                pause(after, &shutdown).await;
            }
        }
    }
    Ok(())
}

async fn pause(duration: Duration, shutdown: &CancellationToken) {
    let _ = tokio::time::timeout(duration, shutdown.cancelled()).await;
}
