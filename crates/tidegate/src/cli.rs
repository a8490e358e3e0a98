//! The command line, and the one table from what went wrong to an exit code.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command::events::EventsArguments;
use crate::command::jobs::JobsArguments;
use crate::command::operations::OperationsArguments;
use crate::command::schedules::SchedulesArguments;
use crate::command::slot::SlotArguments;
use crate::command::triggers::TriggersArguments;

/// Server-side JavaScript beside your Postgres data: functions, triggers, jobs.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything for development, with a Postgres and a Redis of its own
    Dev(DevArguments),
    /// Run one or more roles on a Postgres and a Redis that you run
    Serve(ServeArguments),
    /// Print the effective configuration and where each value comes from; secrets are not shown
    Config(Settings),
    /// Look at events, follow what they led to, deliver them again
    Events(EventsArguments),
    /// List and pause after-triggers, run them over existing rows
    Triggers(TriggersArguments),
    /// Run jobs and workflows, follow them, steer them
    Jobs(JobsArguments),
    /// Schedules: when jobs run by themselves, and what would become of it
    Schedules(Box<SchedulesArguments>),
    /// Replays and backfills under way
    Operations(OperationsArguments),
    /// The replication slot, and what it missed
    Slot(SlotArguments),
    /// Run as the parent of isolates; the server starts this itself
    #[command(hide = true)]
    Isolate,
}

#[derive(Debug, Args)]
pub struct DevArguments {
    /// Folder that holds `cloud/`
    #[arg(default_value = ".")]
    pub project: PathBuf,
    /// Run the project's `[[try]]` commands against the server, print their answers, and exit
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct ServeArguments {
    /// What this process does
    #[arg(long = "role", value_delimiter = ',', value_enum, default_values_t = Role::ALL)]
    pub roles: Vec<Role>,
    /// Folder that holds `cloud/`, served when no release is deployed
    #[arg(long)]
    pub project: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

/// Settings given on the command line; they go before environment and files.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Address for HTTP, such as 127.0.0.1:1337
    #[arg(long)]
    pub listen: Option<String>,
    /// Postgres, such as postgres://user:password@host/database
    #[arg(long)]
    pub database_url: Option<String>,
    /// Redis, such as redis://127.0.0.1:6379
    #[arg(long)]
    pub redis_url: Option<String>,
    /// Any setting by name, such as `--set worker_concurrency=128`; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The Parse API over HTTP
    Proxy,
    /// WAL to event log; one is active, others stand by
    Capture,
    /// Event log to queue; one is active, others stand by
    Dispatch,
    /// Due schedules and runs to queue; one is active, others stand by
    Scheduler,
    /// Runs after-triggers and jobs; as many as you like
    Worker,
    /// Event log to the sinks of tidegate.toml; for each, one is active, others stand by
    FanOut,
}

impl Role {
    pub const ALL: [Role; 6] = [
        Role::Proxy,
        Role::Capture,
        Role::Dispatch,
        Role::Scheduler,
        Role::Worker,
        Role::FanOut,
    ];
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no role is skipped");
        f.write_str(value.get_name())
    }
}

/// The configuration is wrong: exit code 2.
#[derive(Debug)]
pub struct UsageError(pub String);

/// Something that Tidegate needs is not there: exit code 6.
#[derive(Debug)]
pub struct UnavailableError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for UnavailableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
impl std::error::Error for UnavailableError {}

pub fn exit_code(error: &anyhow::Error) -> u8 {
    use tidegate_admin::Error;
    match error.downcast_ref::<Error>() {
        Some(Error::NotFound { .. }) => return 3,
        Some(Error::Invalid { .. } | Error::Conflict { .. }) => return 5,
        Some(Error::Unavailable { .. }) => return 6,
        Some(Error::Log { .. } | Error::Jobs { .. } | Error::Slot { .. }) => return 1,
        None => {}
    }
    match error {
        error if error.is::<UsageError>() => 2,
        error if error.is::<UnavailableError>() => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn roles_are_given_as_a_list() {
        let cli = Cli::parse_from(["tidegate", "serve", "--role", "capture,dispatch"]);
        let Command::Serve(arguments) = cli.command else {
            panic!("not serve")
        };
        assert_eq!(arguments.roles, [Role::Capture, Role::Dispatch]);
        let cli = Cli::parse_from(["tidegate", "serve"]);
        let Command::Serve(arguments) = cli.command else {
            panic!("not serve")
        };
        assert_eq!(arguments.roles, Role::ALL);
    }
}
