//! Child processes that end with this one, are reaped, and are never confused with another by a reused pid.
//!
//! ```text
//! keeper thread ── starts ──▶ zygote ── clone(CLONE_PARENT) ──▶ isolate
//!      └────────────── parent of both: the kernel kills them when it ends ──┘
//! ```
//!
//! PR_SET_PDEATHSIG goes by the parent *thread*: a child started from a pool thread would be killed when the pool
//! shrinks. So one thread that lives as long as the process starts every zygote, and isolates inherit it as parent.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

/// The nice value of a process that was told to give way: a tenth of the ordinary share.
const LOW_PRIORITY: i32 = 10;

/// The argument that makes the executable an isolate process.
pub(crate) const ISOLATE_ARGUMENT: &str = "isolate";

/// A child process of this one. Dropping it kills it.
pub(crate) struct Process {
    pid: i32,
    /// None only while this is being dropped.
    handle: Option<AsyncFd<OwnedFd>>,
    reaped: AtomicBool,
}

/// What to start: `executable isolate`, with `control` as its standard input.
pub(crate) struct Launch {
    pub executable: PathBuf,
    pub control: OwnedFd,
    pub stderr: OwnedFd,
}

enum Errand {
    Start(Launch, oneshot::Sender<io::Result<i32>>),
    Reap(OwnedFd),
}

impl Process {
    /// Starts a child on the keeper thread.
    pub(crate) async fn start(launch: Launch) -> io::Result<Process> {
        let (reply, started) = oneshot::channel();
        keeper()
            .send(Errand::Start(launch, reply))
            .expect("the keeper thread never ends");
        Process::adopt(started.await.expect("the keeper answers every errand")?)
    }

    /// Takes charge of a child that a zygote says it forked for this process.
    ///
    /// The zygote has run user code and may lie: a pid that is not a new child of ours with the same command line is
    /// refused, or it could have this process kill another.
    pub(crate) fn adopt_fork_of(zygote: &Process, pid: i32) -> io::Result<Process> {
        let claimed = Process::adopt(pid)?;
        let is_child = reap(
            claimed.handle().get_ref(),
            WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT,
        )
        .is_ok();
        let is_alike = command_line(pid).is_some_and(|line| Some(line) == command_line(zygote.pid));
        if is_child && is_alike {
            return Ok(claimed);
        }
        claimed.disown();
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the zygote named a process that is not its fork",
        ))
    }

    fn adopt(pid: i32) -> io::Result<Process> {
        if !known().lock().expect(UNPOISONED).insert(pid) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Process::open(pid).inspect_err(|_| forget(pid))
    }

    fn open(pid: i32) -> io::Result<Process> {
        // SAFETY: plain system call; the result is checked before it is owned.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let descriptor = Errno::result(descriptor)? as i32;
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        let handle = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: an owned descriptor stays open and the same until it is dropped.
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?;
        Ok(Process {
            pid,
            handle: Some(handle),
            reaped: AtomicBool::new(false),
        })
    }

    /// Lets go of a process that turned out not to be ours.
    fn disown(self) {
        self.reaped.store(true, Ordering::Release);
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends SIGKILL. A process that has already ended stays ended.
    pub(crate) fn kill(&self) {
        kill_by_handle(self.handle().get_ref());
    }

    /// Lets every other process of this machine go first. It cannot be undone without privileges.
    pub(crate) fn give_way(&self) {
        // SAFETY: plain system call; until it is reaped the pid names this child and no other.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, self.pid.cast_unsigned(), LOW_PRIORITY) };
    }

    /// Waits until the process has ended, reaps it, and says how it ended. Cancel-safe; one waiter at a time.
    pub(crate) async fn ended(&self) -> String {
        let handle = self.handle();
        loop {
            let mut ready = match handle.readable().await {
                Ok(ready) => ready,
                Err(error) => return format!("cannot be watched: {error}"),
            };
            match reap(handle.get_ref(), WaitPidFlag::WNOHANG) {
                Ok(WaitStatus::StillAlive) => ready.clear_ready(),
                status => {
                    self.reaped.store(true, Ordering::Release);
                    return describe(status);
                }
            }
        }
    }

    fn handle(&self) -> &AsyncFd<OwnedFd> {
        self.handle.as_ref().expect("only drop takes it")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        forget(self.pid);
        if !self.reaped.load(Ordering::Acquire) {
            let handle = handle.into_inner();
            kill_by_handle(&handle);
            let _ = keeper().send(Errand::Reap(handle));
        }
    }
}

const UNPOISONED: &str = "no thread panics while it holds this lock";

/// The pids of every `Process` there is.
fn known() -> &'static Mutex<HashSet<i32>> {
    static KNOWN: OnceLock<Mutex<HashSet<i32>>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

fn forget(pid: i32) {
    known().lock().expect(UNPOISONED).remove(&pid);
}

fn command_line(pid: i32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .ok()
        .filter(|line| !line.is_empty())
}

fn keeper() -> &'static mpsc::Sender<Errand> {
    static KEEPER: OnceLock<mpsc::Sender<Errand>> = OnceLock::new();
    KEEPER.get_or_init(|| {
        let (errands, inbox) = mpsc::channel::<Errand>();
        let keep = move || {
            for errand in inbox {
                match errand {
                    Errand::Start(launch, reply) => drop(reply.send(start(launch))),
                    // Killed already, so this wait is short.
                    Errand::Reap(handle) => drop(reap(&handle, WaitPidFlag::empty())),
                }
            }
        };
        std::thread::Builder::new()
            .name("isolate-keeper".into())
            .spawn(keep)
            .expect("a thread can be started");
        errands
    })
}

fn start(launch: Launch) -> io::Result<i32> {
    let child = Command::new(&launch.executable)
        .arg(ISOLATE_ARGUMENT)
        .env_clear()
        // Spelled out so that the C library needs no time zone file, which the sandbox would not give it.
        .env("TZ", "UTC0")
        .current_dir("/")
        .stdin(launch.control)
        .stdout(Stdio::null())
        .stderr(launch.stderr)
        .spawn()?;
    Ok(child.id().cast_signed())
}

fn kill_by_handle(handle: &OwnedFd) {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: plain system call on a descriptor we own; it fails harmlessly when the process has ended.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            libc::SIGKILL,
            no_info,
            0,
        )
    };
}

fn reap(handle: &OwnedFd, flags: WaitPidFlag) -> nix::Result<WaitStatus> {
    loop {
        match waitid(Id::PIDFd(handle.as_fd()), WaitPidFlag::WEXITED | flags) {
            Err(Errno::EINTR) => continue,
            status => return status,
        }
    }
}

fn describe(status: nix::Result<WaitStatus>) -> String {
    match status {
        Ok(WaitStatus::Exited(_, code)) => format!("ended with exit code {code}"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("was ended by signal {signal}"),
        Ok(status) => format!("ended ({status:?})"),
        Err(error) => format!("ended ({error})"),
    }
}
