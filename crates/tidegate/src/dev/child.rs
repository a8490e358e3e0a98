//! A server as a child process that does not outlive this one.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};

/// Ended when dropped; ended by the kernel when this process is killed.
pub struct Server {
    child: Child,
    end: Signal,
}

impl Server {
    /// `end`: the signal that ends this server in good order. Its output goes to `log`.
    pub fn start(
        mut command: Command,
        user: Option<&User>,
        end: Signal,
        log: &Path,
    ) -> Result<Server> {
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A group of its own: Ctrl-C in the terminal is for this process, which ends its children in order.
        command.process_group(0);
        run_as(&mut command, user);
        // SAFETY: prctl is async-signal-safe, and nothing else runs between fork and exec.
        unsafe { command.pre_exec(move || Ok(set_pdeathsig(end)?)) };
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Server { child, end })
    }

    /// Why it ended, if it has.
    pub fn has_ended(&mut self) -> Option<String> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.to_string())
    }

    fn stop(&mut self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        if self.has_ended().is_none() && kill(pid, self.end).is_ok() {
            let begun = Instant::now();
            while self.has_ended().is_none() && begun.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Drops root's rights for a command.
pub fn run_as(command: &mut Command, user: Option<&User>) {
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}
