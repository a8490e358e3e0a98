//! Redis servers under test.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

use crate::port::free_port;
use crate::server::{Account, Launch, Server};
use crate::small_disk::SmallDisk;
use crate::temp_dir::TempDir;

/// Another process may take the port between our look and the server's bind.
const START_ATTEMPTS: u32 = 3;

/// How long one command of ours may take, so that a paused server fails the test instead of hanging it.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// A Redis server. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Redis {
    server: Mutex<Server>,
    port: u16,
    url: String,
    directory: PathBuf,
}

impl Redis {
    /// Starts a server that keeps nothing on disk: a restart is empty.
    ///
    /// # Panics
    /// When redis-server is not installed or does not start; the message has its log.
    pub fn start() -> Redis {
        Redis::start_with(&["--appendonly", "no"])
    }

    /// Starts a server with an append-only file: what it acknowledged is there after `kill9` and `restart`.
    pub fn durable() -> Redis {
        Redis::start_with(&["--appendonly", "yes", "--appendfsync", "no"])
    }

    /// Starts a server with further options, as on its command line.
    pub fn start_with(options: &[&str]) -> Redis {
        Redis::start_in(options, || TempDir::in_memory("redis"))
    }

    /// Starts a server with an append-only file on this disk, synced with every write.
    pub fn durable_on(disk: &SmallDisk) -> Redis {
        let options = ["--appendonly", "yes", "--appendfsync", "always"];
        Redis::start_in(&options, || TempDir::below(disk.path(), "redis"))
    }

    fn start_in(options: &[&str], directory: impl Fn() -> TempDir) -> Redis {
        let mut attempt = 1;
        loop {
            match launch(options, directory()) {
                Ok(redis) => return redis,
                Err(_) if attempt < START_ATTEMPTS => attempt += 1,
                Err(error) => panic!("cannot start Redis: {error:#}"),
            }
        }
    }

    /// `redis://127.0.0.1:<port>/`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same server over its unix socket.
    pub fn socket_url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("socket").display())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds the server's `log`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `None` while it is down.
    pub fn pid(&self) -> Option<i32> {
        self.server().pid().map(|pid| pid.as_raw())
    }

    /// Kills the server: a crash.
    pub fn kill9(&self) {
        self.server().kill9().expect("the server runs");
    }

    /// Starts the server again on its port, and waits until it answers. Kills it first if it runs.
    pub fn restart(&self) {
        let mut server = self.server();
        if server.pid().is_some() {
            server.kill9().expect("the server runs");
        }
        start(&mut server, self.port).expect("the server starts again");
    }

    /// Freezes the server: connections stay open, nothing is answered. [`Redis::resume`] ends it.
    pub fn pause(&self) {
        self.server().freeze().expect("the server runs");
    }

    pub fn resume(&self) {
        self.server().thaw().expect("the server runs");
    }

    /// Removes every key, on a connection of its own.
    pub fn flushall(&self) {
        let answer = command(self.port, "FLUSHALL").expect("the server answers");
        assert_eq!(answer, "+OK");
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        // A test that panicked with the lock held leaves a server that can still be ended.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn launch(options: &[&str], dir: TempDir) -> anyhow::Result<Redis> {
    let port = free_port();
    let mut server = Server::supervise(Launch {
        account: Account {
            uid: Uid::effective(),
            gid: Gid::effective(),
        },
        directory: dir.path().to_owned(),
        command_line: command_line(dir.path(), port, options),
        end_signal: Signal::SIGKILL,
    })?;
    let directory = dir.keep();
    start(&mut server, port)?;
    let url = format!("redis://127.0.0.1:{port}/");
    Ok(Redis {
        server: Mutex::new(server),
        port,
        url,
        directory,
    })
}

fn command_line(dir: &Path, port: u16, options: &[&str]) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["redis-server".into()];
    line.extend(["--port".into(), port.to_string().into()]);
    line.extend(["--bind".into(), "127.0.0.1".into()]);
    line.extend(["--dir".into(), dir.into()]);
    line.extend(["--unixsocket".into(), dir.join("socket").into()]);
    line.extend(["--save".into(), "".into()]);
    line.extend(options.iter().map(OsString::from));
    line
}

/// Ready when it answers; while it loads its file it answers with an error.
fn start(server: &mut Server, port: u16) -> anyhow::Result<()> {
    server
        .start(|_| command(port, "PING").is_ok_and(|answer| answer == "+PONG"))
        .context("Redis (is redis-server installed? ops/setup does it)")
}

/// Sends a command of one word, and returns the answer's first line.
fn command(port: u16, command: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(COMMAND_LIMIT))?;
    write!(stream, "{command}\r\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}
