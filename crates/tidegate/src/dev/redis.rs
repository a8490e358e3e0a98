//! A Redis of its own, from the system's binary.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::child::Server;
use super::place::Place;
use super::{find_binary, progress};
use crate::cli::UnavailableError;

pub struct Redis {
    _server: Server,
    port: u16,
}

impl Redis {
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// It keeps nothing: what it held is in Postgres too, and is queued again.
pub async fn start(place: &Place) -> Result<Redis> {
    let binary = find_binary("TIDEGATE_REDIS_BIN", "redis-server", &[]).ok_or_else(|| {
        UnavailableError(
            "there is no Redis on this machine (redis-server was not found). Install it, for example with \
             `apt-get install redis-server`; or name its folder in TIDEGATE_REDIS_BIN; or use a running one with REDIS_URL"
                .into(),
        )
    })?;
    let folder = place.folder("redis")?;
    let port = place.port("redis-port")?;
    progress(&format!("starting Redis on port {port}"));
    let mut command = Command::new(binary);
    command.current_dir(&folder);
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
        ])
        .arg(port.to_string());
    let mut server = Server::start(
        command,
        place.user.as_ref(),
        Signal::SIGTERM,
        &folder.join("log"),
    )?;
    let begun = Instant::now();
    while !answers(port) {
        if let Some(status) = server.has_ended() {
            bail!(
                "Redis ended ({status}); see {}",
                folder.join("log").display()
            );
        }
        if begun.elapsed() > Duration::from_secs(20) {
            bail!(
                "Redis does not answer; see {}",
                folder.join("log").display()
            );
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Redis {
        _server: server,
        port,
    })
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply)?;
        Ok(&reply == b"+PONG")
    };
    ping().unwrap_or(false)
}
