//! One server process under test: started, read, ended.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::system::PATIENCE;

/// One server process.
pub struct Server {
    child: Child,
    pub url: Option<String>,
    /// Whether it serves the API.
    pub is_proxy: bool,
    lines: Arc<Mutex<Vec<Value>>>,
    arrivals: Receiver<()>,
}

impl Server {
    pub fn spawn(mut command: Command) -> Server {
        // A test that is killed leaves no server behind.
        // SAFETY: prctl is async-signal-safe, and nothing else runs between fork and exec.
        unsafe {
            use std::os::unix::process::CommandExt;
            let end = nix::sys::signal::Signal::SIGKILL;
            command.pre_exec(move || Ok(nix::sys::prctl::set_pdeathsig(end)?));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (arrived, arrivals) = channel();
        let collected = Arc::clone(&lines);
        std::thread::spawn(move || collect(output, &collected, &arrived));
        Server {
            child,
            url: None,
            is_proxy: false,
            lines,
            arrivals,
        }
    }

    /// Waits for a line of the log that says this, and returns it.
    pub fn wait_for(&mut self, message: &str) -> Value {
        self.wait_for_lines(message, 1).remove(0)
    }

    /// Waits until so many lines of the log say this, and returns those that do.
    pub fn wait_for_lines(&mut self, message: &str, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let found = self.lines(message);
            if found.len() >= count {
                self.url = self
                    .line("listening")
                    .map(|line| format!("http://{}", line["address"].as_str().unwrap()));
                return found;
            }
            let left = PATIENCE.checked_sub(begun.elapsed());
            let arrived = left.map(|left| self.arrivals.recv_timeout(left));
            let over = !matches!(arrived, Some(Ok(()))) && self.lines(message).len() < count;
            assert!(!over, "never said {count} times: {message}\n{}", self.log());
        }
    }

    pub fn line(&self, message: &str) -> Option<Value> {
        self.lines(message).into_iter().next()
    }

    /// The lines of the log so far that say this.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        let says = |line: &&Value| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.contains(message))
        };
        lines.iter().filter(says).cloned().collect()
    }

    pub fn log(&self) -> String {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let status = Command::new("kill")
            .arg(self.pid().to_string())
            .status()
            .unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code()
    }

    /// Waits for it to end by itself, and until all that it said is here.
    pub fn wait(&mut self) -> Option<i32> {
        let exit_code = self.child.wait().unwrap().code();
        while self.arrivals.recv_timeout(PATIENCE).is_ok() {}
        exit_code
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: impl BufRead, lines: &Mutex<Vec<Value>>, arrived: &Sender<()>) {
    for line in output.lines().map_while(Result::ok) {
        let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({"message": line}));
        lines.lock().unwrap().push(line);
        let _ = arrived.send(());
    }
}

/// The executable under test, without what a developer's shell sets.
pub fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars() {
        if [
            "TIDEGATE_",
            "PARSE_SERVER_",
            "DATABASE_URL",
            "REDIS_URL",
            "PG",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}
