//! `tidegate dev`: everything in one command, on a Postgres and a Redis of its own.
//!
//! `postgres` and `redis` are child processes from the system's binaries; `place` is where they keep their data;
//! `check` runs the project's commands. With `DATABASE_URL` or `REDIS_URL` that service is used instead.

mod check;
mod child;
mod place;
mod postgres;
mod redis;

use std::path::Path;

use anyhow::Result;

use crate::cli::{DevArguments, Role, UsageError};
use crate::config::{Config, Layers};
use crate::serve::{self, Server};
use crate::telemetry;
use place::Place;

pub fn main(arguments: DevArguments) -> Result<()> {
    // The children end with the thread that starts them: this one, which lives as long as the process.
    serve::run_to_end(dev(arguments))
}

async fn dev(arguments: DevArguments) -> Result<()> {
    let project = arguments.project.canonicalize().map_err(|_| {
        UsageError(format!(
            "there is no folder {}",
            arguments.project.display()
        ))
    })?;
    let mut layers = Layers::read(&arguments.settings, Some(&project))?;
    let place = Place::open(&project)?;
    layers.set_unless_chosen("app_id", "dev".into());
    layers.set_unless_chosen("master_key", place.master_key()?);
    // On a developer's machine the services that cloud code calls are often on it too.
    layers.set_unless_chosen("egress_private", "true".into());
    let postgres = match layers.is_chosen("database_url") {
        true => None,
        false => Some(postgres::start(&place).await?),
    };
    let redis = match layers.is_chosen("redis_url") {
        true => None,
        false => Some(redis::start(&place).await?),
    };
    if let Some(postgres) = &postgres {
        layers.set_unless_chosen("database_url", postgres.url());
    }
    if let Some(redis) = &redis {
        layers.set_unless_chosen("redis_url", redis.url());
    }
    let config = Config::from_layers(&layers)?;
    telemetry::start_logging(&config)?;
    let served = run(&config, arguments.check).await;
    // Redis first, Postgres last: nobody writes any more.
    drop(redis);
    if let Some(postgres) = postgres {
        postgres.stop();
    }
    served
}

async fn run(config: &Config, check: bool) -> Result<()> {
    let shutdown = serve::shutdown_on_signal()?;
    progress(&format!(
        "bundling and loading {}",
        config.project.join("cloud").display()
    ));
    let mut server = Server::start(config.clone(), &Role::ALL, shutdown.clone()).await?;
    let config = server.config.clone();
    introduce(&config);
    if !check {
        server.watch_project();
        return server.run_until_shutdown().await;
    }
    let checked = check::run(&config).await;
    shutdown.cancel();
    server.run_until_shutdown().await?;
    checked
}

fn introduce(config: &Config) {
    eprintln!();
    eprintln!("  Parse API       {}", config.public_url());
    eprintln!("  application id  {}", config.app_id);
    eprintln!("  master key      {}", config.master_key.expose());
    eprintln!("  Postgres        {}", config.database_url.expose());
    eprintln!("  Redis           {}", config.redis_url.expose());
    if !config.try_commands.is_empty() {
        eprintln!("\n  Try, in another terminal:");
    }
    for command in &config.try_commands {
        eprintln!(
            "\n  # {}\n  {}",
            command.title,
            check::filled_in(config, &command.command)
        );
    }
    eprintln!("\n  Ctrl-C ends everything. The log follows.\n");
}

/// Says what a newcomer is waiting for.
pub fn progress(what: &str) {
    eprintln!("tidegate: {what}");
}

/// The first of `names` in `variable`'s folder, on PATH, or in one of `folders`.
fn find_binary(
    variable: &str,
    name: &str,
    folders: &[std::path::PathBuf],
) -> Option<std::path::PathBuf> {
    let chosen = std::env::var_os(variable).map(std::path::PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = chosen
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(folders.iter().cloned());
    candidates
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
