//! The child process: first a zygote that loads the runtime and the application once, then, in each fork, an isolate.
//!
//! ```text
//! executable isolate ─▶ settings ─▶ sandbox ─▶ runtime ─▶ application ─▶ manifest ─▶ ⟲ fork
//!                                                                                    └─▶ serve runs
//! ```
//!
//! Layout, in reading order:
//! - this file: the entry point and the zygote's life. `load`: the runtime and the application.
//! - `serve`: the isolate's loop: one entry into JavaScript, its jobs, the next.
//! - `state`: runs, calls, timers. `native`: the functions JavaScript is given.
//! - `engine`, `memory`, `timers`, `output`, `digest`, `random`, `socket`: what these stand on.
//! - [`sandbox`]: what the process can no longer do.
//!
//! Invariants: the process has one thread; it knows no path, no environment and no socket but its own; bytecode that
//! leaves it for the runtime was made before any user code was parsed.

mod burst;
pub(crate) mod digest;
mod engine;
mod load;
mod memory;
mod native;
mod output;
mod random;
pub mod sandbox;
mod serve;
mod socket;
mod state;
mod timers;

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

use rquickjs::{Context, Persistent, Runtime};
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::frame::{FromZygote, Reader, ToZygote};

use serve::Entries;
use state::State;

/// The first frame a zygote gets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    pub memory_limit_bytes: u64,
    pub max_output_bytes: usize,
    pub load_timeout_ms: u64,
    /// `__native.config`, JSON.
    pub config: String,
}

/// The body of [`FromZygote::LoadFailed`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoadFailure {
    pub message: String,
    pub stack: Option<String>,
}

/// Runs this process as a zygote and never returns. `control`: the socket that its server passed, standard input.
///
/// To be called before any thread is started, as the whole of `<executable> isolate`.
pub fn isolate_main(control: RawFd) -> ! {
    // SAFETY: SIG_IGN is a valid disposition. A server that is gone shows as EPIPE then, and the process ends.
    let _ = unsafe {
        nix::sys::signal::signal(
            nix::sys::signal::Signal::SIGPIPE,
            nix::sys::signal::SigHandler::SigIgn,
        )
    };
    let code = match Zygote::start(control) {
        Ok(mut zygote) => zygote.serve_forks(),
        Err(_) => 1,
    };
    std::process::exit(code)
}

struct Zygote {
    control: RawFd,
    reader: Reader,
    state: Rc<State>,
    settings: Settings,
    server: i32,
    engine: Engine,
}

/// Context before runtime: values must go before the heap they lie in.
struct Engine {
    context: Context,
    /// Set once the runtime is loaded.
    entries: Option<Persistent<Entries<'static>>>,
    _runtime: Runtime,
}

impl Zygote {
    fn start(control: RawFd) -> io::Result<Zygote> {
        let mut reader = Reader::default();
        let server = nix::unistd::getppid().as_raw();
        let settings = first_frame(control, &mut reader)?;
        let state = Rc::new(State::new(control, settings.max_output_bytes)?);
        if let Err(error) = sandbox::confine_zygote(settings.memory_limit_bytes) {
            state.output.put(|out| {
                FromZygote::Refused {
                    why: &error.to_string(),
                }
                .put(out)
            });
            state.output.flush();
            return Err(error);
        }
        let created = engine::create(settings.memory_limit_bytes as usize);
        let (runtime, context) = created.map_err(io::Error::other)?;
        watch(&runtime, &state);
        let engine = Engine {
            context,
            entries: None,
            _runtime: runtime,
        };
        Ok(Zygote {
            control,
            reader,
            state,
            settings,
            server,
            engine,
        })
    }

    /// Answers frames until the server is gone; returns the exit code.
    fn serve_forks(&mut self) -> i32 {
        let mut descriptors = Vec::new();
        loop {
            loop {
                let Ok(frame) = self.reader.next() else {
                    return 1;
                };
                let Some(frame) = frame else { break };
                match ToZygote::decode(frame) {
                    Ok(ToZygote::Script { name, form, bytes }) => {
                        if let Err(failure) = load::script(
                            &mut self.engine,
                            &self.state,
                            &self.settings,
                            name,
                            form,
                            bytes,
                        ) {
                            let json =
                                serde_json::to_string(&failure).expect("two strings make JSON");
                            self.state
                                .output
                                .put(|out| FromZygote::LoadFailed { json: &json }.put(out));
                        }
                    }
                    Ok(ToZygote::Fork) => self.fork(std::mem::take(&mut descriptors)),
                    _ => return 1,
                }
                self.state.output.flush();
            }
            match socket::read_with_descriptors(self.control, self.reader.space()) {
                Ok((0, _)) | Err(_) => return 0,
                Ok((bytes, received)) => {
                    self.reader.filled(bytes);
                    descriptors.extend(received);
                }
            }
        }
    }

    /// Forks an isolate, as a child of the server and not of this process, so that the server can wait for it.
    fn fork(&mut self, descriptors: Vec<OwnedFd>) {
        let flags = sandbox::FORK_FLAGS;
        // SAFETY: the process has one thread, so the copy is whole; a null stack means: go on with a copy of this one.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if pid == 0 {
            // In the isolate. Nothing of the zygote's frames may be sent twice: its output is flushed before each fork.
            let ended = become_isolate(&self.engine, &self.state, self.server, descriptors);
            std::process::exit(i32::from(ended.is_err()));
        }
        let pid = if pid < 0 { -1 } else { pid as i32 };
        self.state
            .output
            .put(|out| FromZygote::Forked { pid }.put(out));
    }
}

/// Has the engine ask whether it must stop, and report rejected promises.
fn watch(runtime: &Runtime, state: &Rc<State>) {
    let own = state.clone();
    runtime.set_interrupt_handler(Some(Box::new(move || own.must_stop())));
    let own = state.clone();
    runtime.set_host_promise_rejection_tracker(Some(Box::new(
        move |ctx, promise, reason, handled| {
            own.track_rejection(&ctx, promise, reason, handled);
        },
    )));
}

fn first_frame(control: RawFd, reader: &mut Reader) -> io::Result<Settings> {
    loop {
        if let Some(frame) = reader.next()? {
            let ToZygote::Settings { json } = ToZygote::decode(frame)? else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            return Ok(serde_json::from_str(json)?);
        }
        match socket::read(control, reader.space())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => reader.filled(bytes),
        }
    }
}

fn become_isolate(
    engine: &Engine,
    state: &Rc<State>,
    server: i32,
    descriptors: Vec<OwnedFd>,
) -> io::Result<()> {
    sandbox::die_with_parent()?;
    if nix::unistd::getppid().as_raw() != server {
        return Ok(()); // The server ended before the kernel knew that this process should end with it.
    }
    let [socket, memory] =
        <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidInput)?;
    let board = Board::map(&memory)?;
    nix::unistd::dup2_stdin(&socket)?; // This also closes the zygote's control socket in this process.
    drop((socket, memory));
    // SAFETY: plain system call; nobody owns a descriptor above standard error any more.
    nix::errno::Errno::result(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) })?;
    sandbox::confine_isolate()?;
    state.begin_serving(0)?;
    let entries = engine.entries.clone().ok_or(io::ErrorKind::InvalidInput)?;
    serve::serve(&engine.context, entries, state, &board, 0)
}
