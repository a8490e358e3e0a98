//! What operators ask and do from a shell: thin faces of `tidegate-admin`.
//!
//! They connect to Postgres alone. Data goes to stdout, as text for people or with `--json` as one JSON value.

pub mod events;
mod follow;
mod follow_run;
mod job_text;
pub mod jobs;
pub mod operations;
pub mod output;
mod run_arguments;
mod schedule_options;
mod schedule_text;
pub mod schedules;
pub mod slot;
mod trace;
pub mod triggers;
mod workflow_text;

use anyhow::Result;
use clap::Args;
use tidegate_admin::Admin;
use tidegate_event_log::EventLog;
use tidegate_job_log::JobLog;

use crate::cli::Settings;
use crate::config::Layers;
use crate::serve::run_to_end;
use output::Output;

/// What every such command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Postgres, such as postgres://user:password@host/database
    #[arg(long, global = true)]
    pub database_url: Option<String>,
    /// Any setting by name, such as `--set slot=other`; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", global = true)]
    pub set: Vec<String>,
}

/// Connects, and runs one command to its end.
fn run<F>(common: &Common, command: impl FnOnce(Admin, Output) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let settings = Settings {
        database_url: common.database_url.clone(),
        set: common.set.clone(),
        ..Settings::default()
    };
    let layers = Layers::read(&settings, None)?;
    let database_url = layers.required("database_url")?;
    let capture = tidegate_capture::Config {
        database_url: database_url.clone(),
        slot: layers.required("slot")?,
        publication: layers.required("publication")?,
        standby_interval: std::time::Duration::from_secs(1),
        heartbeat_interval: std::time::Duration::from_secs(10),
    };
    let output = Output { json: common.json };
    run_to_end(async {
        let log = EventLog::open(tidegate_event_log::Config {
            database_url: database_url.clone(),
            max_connections: 4,
        });
        let log = log.await.map_err(tidegate_admin::Error::from)?;
        let jobs = JobLog::connect(tidegate_job_log::Config {
            database_url,
            max_connections: 4,
        });
        let jobs = jobs.await.map_err(tidegate_admin::Error::from)?;
        command(Admin::new(log, jobs, capture), output).await
    })
}
