//! A Postgres of its own, from the system's binaries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::NoTls;

use super::child::{Server, run_as};
use super::place::Place;
use super::{find_binary, progress};
use crate::cli::UnavailableError;

const DATABASE: &str = "tidegate";

pub struct Postgres {
    server: Server,
    port: u16,
}

impl Postgres {
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{DATABASE}", self.port)
    }

    pub fn stop(self) {
        progress("stopping Postgres");
        drop(self.server);
    }
}

/// Starts it on the data of the last run, or makes a new cluster.
pub async fn start(place: &Place) -> Result<Postgres> {
    let binaries = binaries()?;
    let folder = place.folder("postgres")?;
    let data = folder.join("data");
    if !data.join("PG_VERSION").exists() {
        progress("making a Postgres cluster in .tidegate/ (once; a few seconds)");
        initialise(&binaries, place, &data)?;
    }
    end_left_over(&data)?;
    let port = place.port("postgres-port")?;
    progress(&format!("starting Postgres on port {port}"));
    let mut command = Command::new(binaries.join("postgres"));
    command.arg("-D").arg(&data);
    let settings = [
        ("port", port.to_string()),
        ("listen_addresses", "127.0.0.1".into()),
        ("unix_socket_directories", String::new()),
        ("wal_level", "logical".into()),
        ("max_wal_senders", "10".into()),
        ("max_replication_slots", "10".into()),
        // A development machine that was left alone must not fill its disk.
        ("max_slot_wal_keep_size", "4GB".into()),
    ];
    for (name, value) in settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // SIGINT is Postgres's fast shutdown.
    let server = Server::start(
        command,
        place.user.as_ref(),
        Signal::SIGINT,
        &folder.join("log"),
    )?;
    let mut postgres = Postgres { server, port };
    wait_until_ready(&mut postgres, &folder.join("log")).await?;
    Ok(postgres)
}

/// `TIDEGATE_PG_BIN`, PATH, or the newest version that Debian's packages put beside it.
fn binaries() -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path().join("bin"))
                .collect()
        })
        .unwrap_or_default();
    let version = |folder: &PathBuf| -> u32 {
        let name = folder
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        name.and_then(|name| name.parse().ok()).unwrap_or(0)
    };
    folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    folders.extend(["/opt/homebrew/bin", "/usr/local/pgsql/bin"].map(PathBuf::from));
    let initdb = find_binary("TIDEGATE_PG_BIN", "initdb", &folders);
    let folder = initdb.as_deref().and_then(Path::parent);
    folder.map(Path::to_owned).ok_or_else(|| {
        UnavailableError(
            "there is no Postgres on this machine (initdb was not found). Install it, for example with \
             `apt-get install postgresql`; or name its folder in TIDEGATE_PG_BIN; or use a running one with DATABASE_URL"
                .into(),
        )
        .into()
    })
}

fn initialise(binaries: &Path, place: &Place, data: &Path) -> Result<()> {
    let half_made = data.with_extension("new");
    let _ = fs::remove_dir_all(&half_made);
    let mut command = Command::new(binaries.join("initdb"));
    command
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ])
        .arg(&half_made);
    command.current_dir("/");
    run_as(&mut command, place.user.as_ref());
    let output = command.output().context("cannot start initdb")?;
    if !output.status.success() {
        bail!(
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // Only a whole cluster gets the name that counts.
    fs::rename(&half_made, data)?;
    Ok(())
}

/// Ends a server that a killed run left behind.
fn end_left_over(data: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return Ok(());
    };
    let Some(pid) = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .map(Pid::from_raw)
    else {
        return Ok(());
    };
    let is_postgres = fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*data.to_string_lossy()));
    if !is_postgres {
        return Ok(());
    }
    progress(&format!(
        "ending the Postgres that an earlier run left behind (process {pid})"
    ));
    let _ = kill(pid, Signal::SIGINT);
    let begun = Instant::now();
    while kill(pid, None).is_ok() {
        if begun.elapsed() > Duration::from_secs(20) {
            bail!("process {pid} does not end: end it, then start again");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

async fn wait_until_ready(postgres: &mut Postgres, log: &Path) -> Result<()> {
    let begun = Instant::now();
    let admin = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port);
    let client = loop {
        match tokio_postgres::connect(&admin, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                break client;
            }
            Err(error) => {
                let log = || last_lines(log);
                if let Some(status) = postgres.server.has_ended() {
                    bail!("Postgres ended ({status}). Its log ends so:\n{}", log());
                }
                if begun.elapsed() > Duration::from_secs(60) {
                    bail!(
                        "Postgres does not answer ({error}). Its log ends so:\n{}",
                        log()
                    );
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let exists = client
        .query_opt("select from pg_database where datname = $1", &[&DATABASE])
        .await?;
    if exists.is_none() {
        client
            .batch_execute(&format!("create database {DATABASE}"))
            .await?;
    }
    Ok(())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
