//! NATS servers under test.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

use crate::port::free_port;
use crate::server::{Account, Launch, Server};
use crate::temp_dir::TempDir;

/// Another process may take the port between our look and the server's bind.
const START_ATTEMPTS: u32 = 3;

/// How long the server may take to say who it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Where Debian puts it; an ordinary user's PATH does not lead there.
const DEBIAN_PATH: &str = "/usr/sbin/nats-server";

/// A NATS server with JetStream. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Nats {
    server: Mutex<Server>,
    port: u16,
    url: String,
}

impl Nats {
    /// Starts a server whose streams are there after `kill9` and `restart`.
    ///
    /// # Panics
    /// When nats-server is not installed or does not start; the message has its log.
    pub fn start() -> Nats {
        let mut attempt = 1;
        loop {
            match launch() {
                Ok(nats) => return nats,
                Err(_) if attempt < START_ATTEMPTS => attempt += 1,
                Err(error) => panic!("cannot start NATS: {error:#}"),
            }
        }
    }

    /// `nats://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.url
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

    fn server(&self) -> MutexGuard<'_, Server> {
        // A test that panicked with the lock held leaves a server that can still be ended.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn launch() -> anyhow::Result<Nats> {
    let port = free_port();
    let dir = TempDir::in_memory("nats");
    let mut server = Server::supervise(Launch {
        account: Account {
            uid: Uid::effective(),
            gid: Gid::effective(),
        },
        directory: dir.path().to_owned(),
        command_line: command_line(dir.path(), port),
        end_signal: Signal::SIGKILL,
    })?;
    dir.keep();
    start(&mut server, port)?;
    Ok(Nats {
        server: Mutex::new(server),
        port,
        url: format!("nats://127.0.0.1:{port}"),
    })
}

fn command_line(dir: &Path, port: u16) -> Vec<OsString> {
    let program = match Path::new(DEBIAN_PATH).exists() {
        true => DEBIAN_PATH,
        false => "nats-server",
    };
    let mut line: Vec<OsString> = vec![program.into(), "--jetstream".into()];
    line.extend(["--addr".into(), "127.0.0.1".into()]);
    line.extend(["--port".into(), port.to_string().into()]);
    line.extend(["--store_dir".into(), dir.into()]);
    line
}

/// Ready when it says who it is, as it does to whoever connects.
fn start(server: &mut Server, port: u16) -> anyhow::Result<()> {
    server
        .start(|_| greeting(port).is_ok_and(|line| line.starts_with("INFO ")))
        .context("NATS (is nats-server installed? ops/setup does it)")
}

fn greeting(port: u16) -> std::io::Result<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}
