//! `tidegate`: one executable, one subcommand per role and per operator's action.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 not found,
//! 5 validation, 6 unavailable.

mod cli;
mod command;
mod config;
mod connect;
mod dev;
mod health;
mod registration;
mod release;
mod serve;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        // Before anything else: an isolate has one thread and no runtime.
        Command::Isolate => tidegate_cloud_code::isolate_main(0),
        Command::Dev(arguments) => dev::main(arguments),
        Command::Serve(arguments) => serve::main(arguments),
        Command::Config(arguments) => config::show(arguments),
        Command::Events(arguments) => command::events::main(arguments),
        Command::Triggers(arguments) => command::triggers::main(arguments),
        Command::Jobs(arguments) => command::jobs::main(arguments),
        Command::Schedules(arguments) => command::schedules::main(*arguments),
        Command::Operations(arguments) => command::operations::main(arguments),
        Command::Slot(arguments) => command::slot::main(arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
