//! Postgres servers under test.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::database::{Coordinates, Database};
use crate::port::free_port;
use crate::server::{Launch, Server};
use crate::small_disk::SmallDisk;
use crate::temp_dir::TempDir;
use crate::template::{self, Installation};

/// Another process may take the port between our look and the server's bind.
const START_ATTEMPTS: u32 = 3;

const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "wal_level=logical",
    "max_replication_slots=64",
    "max_wal_senders=64",
    "max_connections=200",
    // An operating system that does not crash needs neither; a killed server loses nothing without them.
    "fsync=off",
    "full_page_writes=off",
    // Room for a benchmark's writes without a checkpoint in the middle.
    "max_wal_size=1GB",
    "min_wal_size=32MB",
    "shared_buffers=64MB",
    // Nothing may be left in /dev/shm by a killed server.
    "dynamic_shared_memory_type=mmap",
    "autovacuum=off",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// A Postgres server with `wal_level = logical`. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    server: Mutex<Server>,
    coordinates: Coordinates,
}

impl Postgres {
    /// The server that the tests of this process share; started by the first call, ended with the process.
    ///
    /// Do not kill, pause or restart it.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// Starts a server of the caller's own. Blocks for a fraction of a second.
    ///
    /// # Panics
    /// When Postgres is not installed or does not start; the message has its log.
    pub fn start() -> Postgres {
        Postgres::start_with(&[])
    }

    /// Starts a server of the caller's own with further settings, each as `name=value`.
    pub fn start_with(settings: &[&str]) -> Postgres {
        Postgres::start_in(settings, || TempDir::in_memory("postgres"))
    }

    /// Starts a server whose data is on this disk.
    pub fn start_on(disk: &SmallDisk, settings: &[&str]) -> Postgres {
        Postgres::start_in(settings, || TempDir::below(disk.path(), "postgres"))
    }

    fn start_in(settings: &[&str], directory: impl Fn() -> TempDir) -> Postgres {
        let mut attempt = 1;
        loop {
            match launch(settings, directory()) {
                Ok(postgres) => return postgres,
                Err(_) if attempt < START_ATTEMPTS => attempt += 1,
                Err(error) => panic!("cannot start Postgres: {error:#}"),
            }
        }
    }

    /// Creates an empty database owned by an ordinary role with REPLICATION.
    pub async fn create_database(&self) -> Database {
        Database::create(self.coordinates.clone()).await
    }

    /// Kills all of the server's processes at one instant: a crash. Connections break, nothing is flushed.
    pub fn kill9(&self) {
        self.server().kill9().expect("the server runs");
    }

    /// Stops the server as `pg_ctl stop -m fast` does: clients are disconnected, a checkpoint is written.
    pub fn stop(&self) {
        self.server().stop(Signal::SIGINT).expect("the server runs");
    }

    /// Starts the server again on its port and data, and waits until it takes connections. Stops it first if it runs.
    pub fn restart(&self) {
        let mut server = self.server();
        if server.pid().is_some() {
            server.stop(Signal::SIGINT).expect("the server runs");
        }
        start(&mut server).expect("the server starts again");
    }

    /// Freezes the server: connections stay open, nothing is answered. [`Postgres::resume`] ends it.
    pub fn pause(&self) {
        self.server().freeze().expect("the server runs");
    }

    pub fn resume(&self) {
        self.server().thaw().expect("the server runs");
    }

    pub fn port(&self) -> u16 {
        self.coordinates.port
    }

    /// Where the unix socket is. Also the data directory's parent, and of the server's `log`.
    pub fn directory(&self) -> &Path {
        &self.coordinates.directory
    }

    /// Of the postmaster; `None` while it is down.
    pub fn pid(&self) -> Option<i32> {
        self.server().pid().map(|pid| pid.as_raw())
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        // A test that panicked with the lock held leaves a server that can still be ended.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn launch(settings: &[&str], dir: TempDir) -> Result<Postgres> {
    let installation = Installation::find()?;
    let account = template::server_account()?;
    let port = free_port();
    template::give_to(dir.path(), account)?;
    let mut server = Server::supervise(Launch {
        account,
        directory: dir.path().to_owned(),
        command_line: command_line(&installation, dir.path(), port, settings),
        // An immediate shutdown: unlike SIGKILL it takes its shared memory and its children with it.
        end_signal: Signal::SIGQUIT,
    })?;
    let directory = dir.keep();
    template::copy_to(&directory.join("data"), &installation, account)?;
    start(&mut server)?;
    Ok(Postgres {
        server: Mutex::new(server),
        coordinates: Coordinates { directory, port },
    })
}

fn command_line(
    installation: &Installation,
    dir: &Path,
    port: u16,
    more: &[&str],
) -> Vec<OsString> {
    let mut line = vec![
        installation.program("postgres").into(),
        "-D".into(),
        dir.join("data").into(),
    ];
    let mut set = |setting: OsString| line.extend(["-c".into(), setting]);
    set(format!("port={port}").into());
    let mut socket = OsString::from("unix_socket_directories=");
    socket.push(dir);
    set(socket);
    SETTINGS
        .iter()
        .chain(more)
        .for_each(|setting| set(setting.into()));
    line
}

/// Ready when its pid file, which a dead predecessor may have left, has this process's id and says so:
/// the test that `pg_ctl` makes.
fn start(server: &mut Server) -> Result<()> {
    let pid_file = server.directory().join("data/postmaster.pid");
    server
        .start(|pid| {
            let content = fs::read_to_string(&pid_file).unwrap_or_default();
            let mut lines = content.lines();
            lines.next() == Some(pid.to_string().as_str())
                && lines
                    .nth(6)
                    .is_some_and(|status| status.trim_end() == "ready")
        })
        .context("Postgres")
}
