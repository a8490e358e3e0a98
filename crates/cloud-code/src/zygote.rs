//! The server's side of a zygote: starts it, has it load the code, and orders forks.
//!
//! ```text
//! settings, runtime, application ─▶ zygote ─▶ bytecode (kept for the next start), manifest
//!                  fork + two descriptors ─▶ zygote ─▶ pid
//! ```
//!
//! A zygote that died is started again by the next fork, from bytecode.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::board::Board;
use crate::frame::{FromZygote, Reader, ScriptForm, ScriptName, ToZygote};
use crate::isolate::{LoadFailure, Settings};
use crate::process::{Launch, Process};
use crate::source_map::Stacks;
use crate::{Config, Error, Manifest, logs};

/// The JavaScript runtime: Node's modules and the Parse SDK, bundled from `js/`.
const RUNTIME: &str = include_str!(concat!(env!("OUT_DIR"), "/runtime.js"));

/// Compiled once per server process; made before any user code was parsed (see `isolate`).
static RUNTIME_BYTECODE: OnceLock<Arc<[u8]>> = OnceLock::new();

/// How much longer than the code itself the server waits for a load.
const LOAD_GRACE: Duration = Duration::from_secs(1);

/// How long a fork may take; it takes half a millisecond.
const FORK_TIMEOUT: Duration = Duration::from_secs(5);

/// A line that a child prints to standard error is cut here.
const MAX_STDERR_LINE_BYTES: u64 = 4096;

/// So many lines of one zygote and its forks are logged.
const MAX_STDERR_LINES: u32 = 1000;

/// What a zygote is started with, again and again.
pub(crate) struct Zygote {
    executable: PathBuf,
    settings: String,
    runtime: Option<Arc<str>>,
    code: Arc<str>,
    stacks: Arc<Stacks>,
    load_timeout: Duration,
    app_bytecode: Mutex<Option<Arc<[u8]>>>,
    live: tokio::sync::Mutex<Option<Live>>,
}

struct Live {
    process: Process,
    control: UnixStream,
    reader: Reader,
}

/// A fresh isolate process and what the server needs to talk to it.
pub(crate) struct Forked {
    pub process: Process,
    pub socket: UnixStream,
    pub board: Board,
}

impl Zygote {
    /// Starts a zygote and loads the code.
    pub(crate) async fn start(
        config: &Config,
        code: &str,
        stacks: Arc<Stacks>,
    ) -> Result<(Zygote, Manifest), Error> {
        let config_json = serde_json::json!({
            "serverUrl": config.server_url,
            "applicationId": config.application_id,
            "javascriptKey": config.javascript_key,
            "env": config.env,
        });
        let settings = Settings {
            memory_limit_bytes: config.memory_limit_bytes,
            max_output_bytes: config.max_output_bytes,
            load_timeout_ms: config.load_timeout.as_millis() as u64,
            config: config_json.to_string(),
        };
        let zygote = Zygote {
            executable: config.executable.clone(),
            settings: serde_json::to_string(&settings).expect("settings are JSON"),
            runtime: config.runtime.clone(),
            code: code.into(),
            stacks,
            load_timeout: config.load_timeout,
            app_bytecode: Mutex::default(),
            live: tokio::sync::Mutex::new(None),
        };
        let (live, manifest) = zygote.spawn().await?;
        *zygote.live.lock().await = Some(live);
        Ok((zygote, manifest))
    }

    /// Forks an isolate, starting the zygote again if it died.
    pub(crate) async fn fork(&self) -> Result<Forked, Error> {
        let mut slot = self.live.lock().await;
        let mut live = match slot.take() {
            Some(live) => live,
            None => self.spawn().await?.0,
        };
        let forked = tokio::time::timeout(FORK_TIMEOUT, live.fork()).await;
        let forked = forked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let forked = forked.map_err(|error| self.failed(format!("cannot fork: {error}")))?;
        *slot = Some(live); // One that failed is dropped, which kills it.
        Ok(forked)
    }

    /// Ends the zygote.
    pub(crate) async fn end(&self) {
        if let Some(live) = self.live.lock().await.take() {
            live.process.kill();
            live.process.ended().await;
        }
    }

    pub(crate) async fn pid(&self) -> Option<i32> {
        self.live
            .lock()
            .await
            .as_ref()
            .map(|live| live.process.pid())
    }

    async fn spawn(&self) -> Result<(Live, Manifest), Error> {
        let started = self
            .launch()
            .await
            .map_err(|error| self.failed(format!("cannot be started: {error}")));
        let (process, mut control) = started?;
        let frames = self.opening_frames();
        let mut reader = Reader::default();
        let limit = self.load_timeout + LOAD_GRACE;
        let load = tokio::time::timeout(limit, async {
            let (mut incoming, mut outgoing) = control.split();
            // Both at once: the zygote sends bytecode while it has not yet read all of this.
            let send = async {
                outgoing
                    .write_all(&frames)
                    .await
                    .map_err(|error| self.failed(error.to_string()))
            };
            let (_, manifest) = tokio::join!(send, self.load(&mut incoming, &mut reader));
            manifest
        });
        let too_late = || Error::Load {
            message: format!("it did not finish within {limit:?}"),
            stack: None,
        };
        match load.await.unwrap_or_else(|_| Err(too_late())) {
            Ok(manifest) => Ok((
                Live {
                    process,
                    control,
                    reader,
                },
                manifest,
            )),
            Err(Error::Isolate { message, .. }) => {
                process.kill();
                let how = process.ended().await;
                Err(self.failed(format!("{message}; it {how}")))
            }
            Err(error) => Err(error),
        }
    }

    async fn launch(&self) -> io::Result<(Process, UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (complaints, stderr) = io::pipe()?;
        let complaints = pipe::Receiver::from_owned_fd(complaints.into())?;
        let control = OwnedFd::from(theirs);
        let launch = Launch {
            executable: self.executable.clone(),
            control,
            stderr: stderr.into(),
        };
        let process = Process::start(launch).await?;
        tokio::spawn(log_stderr(complaints));
        Ok((process, UnixStream::from_std(ours)?))
    }

    fn opening_frames(&self) -> Vec<u8> {
        let mut out = Vec::new();
        ToZygote::Settings {
            json: &self.settings,
        }
        .put(&mut out);
        let built_in = if self.runtime.is_none() {
            RUNTIME_BYTECODE.get()
        } else {
            None
        };
        let runtime = self.runtime.as_deref().unwrap_or(RUNTIME);
        put_script(
            &mut out,
            ScriptName::Runtime,
            runtime,
            built_in.map(|bytecode| &**bytecode),
        );
        let app = self
            .app_bytecode
            .lock()
            .expect("nothing panics under this lock")
            .clone();
        put_script(&mut out, ScriptName::App, &self.code, app.as_deref());
        out
    }

    /// Reads until the code is loaded or has failed to load.
    async fn load(
        &self,
        incoming: &mut (impl AsyncReadExt + Unpin),
        reader: &mut Reader,
    ) -> Result<Manifest, Error> {
        loop {
            while let Some(frame) = reader
                .next()
                .map_err(|error| self.failed(error.to_string()))?
            {
                match FromZygote::decode(frame).map_err(|error| self.failed(error.to_string()))? {
                    FromZygote::Log { level, text } => logs::module(level, text),
                    FromZygote::Compiled { name, bytecode } => self.keep(name, bytecode),
                    FromZygote::Loaded { manifest } => {
                        let manifest = Manifest::from_json(manifest);
                        return manifest.map_err(|error| {
                            self.failed(format!("its manifest cannot be read: {error}"))
                        });
                    }
                    FromZygote::LoadFailed { json } => return Err(self.load_failed(json)),
                    FromZygote::Refused { why } => {
                        return Err(self.failed(format!("cannot be sandboxed: {why}")));
                    }
                    FromZygote::Forked { .. } => return Err(self.failed("forked unasked".into())),
                }
            }
            match incoming.read(reader.space()).await {
                Ok(bytes) if bytes > 0 => reader.filled(bytes),
                _ => return Err(self.failed("ended while it was loading the code".into())),
            }
        }
    }

    fn keep(&self, name: ScriptName, bytecode: &[u8]) {
        match name {
            ScriptName::Runtime if self.runtime.is_none() => {
                drop(RUNTIME_BYTECODE.set(bytecode.into()))
            }
            ScriptName::Runtime => {}
            ScriptName::App => {
                *self
                    .app_bytecode
                    .lock()
                    .expect("nothing panics under this lock") = Some(bytecode.into());
            }
        }
    }

    fn load_failed(&self, json: &str) -> Error {
        match serde_json::from_str::<LoadFailure>(json) {
            Ok(LoadFailure { message, stack }) => Error::Load {
                message,
                stack: stack.map(|stack| self.stacks.map(&stack)),
            },
            Err(error) => self.failed(format!("it failed to load and cannot say why: {error}")),
        }
    }

    fn failed(&self, message: String) -> Error {
        Error::Isolate {
            executable: self.executable.clone(),
            message,
        }
    }
}

fn put_script(out: &mut Vec<u8>, name: ScriptName, source: &str, bytecode: Option<&[u8]>) {
    let (form, bytes) = match bytecode {
        Some(bytecode) => (ScriptForm::Bytecode, bytecode),
        None => (ScriptForm::Source, source.as_bytes()),
    };
    ToZygote::Script { name, form, bytes }.put(out);
}

impl Live {
    async fn fork(&mut self) -> io::Result<Forked> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (board, memory) = Board::create()?;
        let mut order = Vec::new();
        ToZygote::Fork.put(&mut order);
        let descriptors = [theirs.as_raw_fd(), memory.as_raw_fd()];
        let send = || {
            let rights = [ControlMessage::ScmRights(&descriptors)];
            let parts = [IoSlice::new(&order)];
            let sent = sendmsg::<()>(
                self.control.as_raw_fd(),
                &parts,
                &rights,
                MsgFlags::MSG_NOSIGNAL,
                None,
            );
            sent.map_err(io::Error::from)
        };
        self.control.async_io(Interest::WRITABLE, send).await?;
        let pid = self.forked().await?;
        let process = Process::adopt_fork_of(&self.process, pid)?;
        Ok(Forked {
            process,
            socket: UnixStream::from_std(ours)?,
            board,
        })
    }

    async fn forked(&mut self) -> io::Result<i32> {
        loop {
            if let Some(frame) = self.reader.next()? {
                return match FromZygote::decode(frame)? {
                    FromZygote::Forked { pid } if pid > 0 => Ok(pid),
                    _ => Err(io::Error::other("no process can be made")),
                };
            }
            match self.control.read(self.reader.space()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => self.reader.filled(bytes),
            }
        }
    }
}

/// Child processes print nothing unless something is badly wrong in them: a failed assertion of the engine, a panic.
async fn log_stderr(complaints: pipe::Receiver) {
    let mut lines = BufReader::new(complaints);
    for number in 0_u32.. {
        let mut line = Vec::new();
        match (&mut lines)
            .take(MAX_STDERR_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(bytes) if bytes > 0 => {}
            _ => return,
        }
        // The rest is read all the same: a full pipe would block them.
        if number < MAX_STDERR_LINES {
            let line = logs::printable(&String::from_utf8_lossy(&line));
            tracing::warn!(line, "an isolate process printed to standard error");
        }
    }
}
