//! A server process under test, and the supervisor that ends it with the test process.
//!
//! The supervisor is a shell that starts the server, and waits for commands on its standard input. The test process
//! holds the other end of that pipe, close-on-exec, so it ends when the test process does, whatever ended it. The
//! parent-death signal would not do: it is bound to the spawning thread, lost on a change of user, and removes no
//! directory.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, iter, thread};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};

/// A loaded machine of two cores needs seconds; a server that takes longer than this hangs.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Of the server's log, shown when it does not start.
const SHOWN_LOG_BYTES: usize = 4096;

/// `$1`: the directory to remove at the end. `$2`: the signal that ends the server. The rest: its command line.
const SUPERVISOR: &str = r#"
directory=$1
signal=$2
shift 2
server=
while read -r command; do
    case $command in
    start)
        "$@" </dev/null >>"$directory/log" 2>&1 &
        server=$!
        echo "$server"
        ;;
    reap)
        wait "$server"
        server=
        echo reaped
        ;;
    esac
done
if [ -n "$server" ]; then
    kill -s "$signal" "$server"
    kill -s CONT "$server"
    wait "$server"
fi
rm -rf "$directory"
"#;

/// Who runs a server and owns its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub uid: Uid,
    pub gid: Gid,
}

impl Account {
    fn is_ours(self) -> bool {
        Uid::effective() == self.uid
    }

    /// Makes `command` run as this account, without supplementary groups.
    pub fn apply(self, command: &mut Command) {
        if !self.is_ours() {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
    }

    /// What to put before a command line, so that the program runs as this account in the same process.
    fn prefix(self) -> Vec<OsString> {
        if self.is_ours() {
            return Vec::new();
        }
        let ids = [
            format!("--reuid={}", self.uid),
            format!("--regid={}", self.gid),
        ];
        let arguments = ids
            .iter()
            .map(String::as_str)
            .chain(["--clear-groups", "--"]);
        iter::once("setpriv")
            .chain(arguments)
            .map(OsString::from)
            .collect()
    }
}

/// What to run.
pub(crate) struct Launch {
    pub account: Account,
    /// Owned by the server from here on; holds its `log`, and is removed at the end.
    pub directory: PathBuf,
    pub command_line: Vec<OsString>,
    /// Ends the server at once and without a trace: no matter what it has in memory.
    pub end_signal: Signal,
}

/// One server and its supervisor. Dropping it ends both and removes the directory.
#[derive(Debug)]
pub(crate) struct Server {
    /// `None` once dropped: closing it tells the supervisor to end.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    supervisor: Child,
    /// The running server.
    pid: Option<Pid>,
    directory: PathBuf,
}

impl Server {
    /// Starts the supervisor only, so that the directory has its guard before anything is put there.
    ///
    /// It keeps our own account, whatever the server's: only we are sure to be able to remove what we made.
    pub fn supervise(launch: Launch) -> Result<Server> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "testkit-supervisor"])
            .arg(&launch.directory)
            .arg(&launch.end_signal.as_str()["SIG".len()..])
            .args(launch.account.prefix())
            .args(launch.command_line)
            .env("LC_ALL", "C")
            .current_dir("/")
            // Neither Ctrl-C nor a test runner that ends the test's group may take the supervisor first.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut supervisor = command.spawn().context("cannot start sh")?;
        Ok(Server {
            commands: supervisor.stdin.take(),
            answers: BufReader::new(supervisor.stdout.take().expect("stdout is piped")),
            supervisor,
            pid: None,
            directory: launch.directory,
        })
    }

    /// Starts the server and waits until `is_ready` says so of its process id.
    pub fn start(&mut self, mut is_ready: impl FnMut(Pid) -> bool) -> Result<()> {
        assert!(self.pid.is_none(), "the server runs already");
        let pid = Pid::from_raw(self.ask("start")?.parse().context("not a process id")?);
        self.pid = Some(pid);
        let started = Instant::now();
        while !is_ready(pid) {
            if has_exited(pid) {
                self.reap()?;
                bail!("the server ended at once; its log:\n{}", self.log_tail());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "the server is not ready after {START_LIMIT:?}; its log:\n{}",
                    self.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Ends the server by `signal` and waits for its end.
    pub fn stop(&mut self, signal: Signal) -> Result<()> {
        self.thaw()?;
        self.signal(signal)?;
        self.reap()
    }

    /// Kills the server and its children at one instant, as a power failure would, and waits until all are gone.
    pub fn kill9(&mut self) -> Result<()> {
        let children = self.freeze()?;
        self.signal(Signal::SIGKILL)?;
        signal_all(&children, Signal::SIGKILL);
        self.reap()?;
        while !children.iter().all(|&child| has_exited(child)) {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Stops the server and its children where they are. Returns the children.
    pub fn freeze(&mut self) -> Result<Vec<Pid>> {
        // The parent first: it makes no more children then.
        self.signal(Signal::SIGSTOP)?;
        let children = self.pid.map(children_of).unwrap_or_default();
        signal_all(&children, Signal::SIGSTOP);
        Ok(children)
    }

    /// Ends [`Server::freeze`].
    pub fn thaw(&mut self) -> Result<()> {
        signal_all(
            &self.pid.map(children_of).unwrap_or_default(),
            Signal::SIGCONT,
        );
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid.context("the server does not run")?;
        kill(pid, signal).with_context(|| format!("cannot send {signal} to process {pid}"))
    }

    fn reap(&mut self) -> Result<()> {
        self.ask("reap")?;
        self.pid = None;
        Ok(())
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        let commands = self.commands.as_mut().expect("open until dropped");
        writeln!(commands, "{command}").context("the supervisor is gone")?;
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .context("the supervisor is gone")?;
        Ok(answer.trim_end().to_owned())
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(SHOWN_LOG_BYTES)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Frozen children would not hear that the server ends.
        let _ = self.thaw();
        drop(self.commands.take());
        let _ = self.supervisor.wait();
    }
}

/// A process that has ended meanwhile needs no signal.
fn signal_all(pids: &[Pid], signal: Signal) {
    for &pid in pids {
        let _ = kill(pid, signal);
    }
}

/// The processes whose parent is `parent`.
fn children_of(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .parse()
                .ok()
                .map(Pid::from_raw)
        })
        .filter(|&pid| stat(pid).is_some_and(|(_, parent_pid)| parent_pid == parent))
        .collect()
}

/// Whether a process is gone, or only waits to be reaped.
fn has_exited(pid: Pid) -> bool {
    stat(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// State and parent of a process. The name before them is in parentheses, and may hold any character.
fn stat(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, Pid::from_raw(fields.next()?.parse().ok()?)))
}
