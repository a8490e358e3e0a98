//! Following a run or a workflow until it ends, and a run's log.

use std::time::Duration;

use anyhow::{Result, bail};
use tidegate_admin::{Admin, Error, LoggedLine, RunLine, RunState, WorkflowState, WorkflowView};

use super::output::{Output, Progress, plain};
use super::{job_text, workflow_text};

/// Workers write what was logged, and how far a run is, a few times a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Events of a log that are read at once.
const BATCH_EVENTS: u32 = 200;

/// Shows how far a run is and what it logs until it ends, or until Ctrl-C; then prints it.
///
/// # Errors
/// It did not succeed.
pub async fn follow_run(admin: &Admin, id: &str, output: Output) -> Result<()> {
    let mut progress = Progress::start();
    let mut log = LogReader::new(admin, id, None);
    let mut said = None;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let run = loop {
        // Before its log: what it logged before its end is read after it.
        if let Some(run) = while_unavailable(admin.run(id).await)? {
            if said != Some((run.state, run.attempts)) {
                said = Some((run.state, run.attempts));
                progress.say(&state_line(&run));
            }
            for line in log.rest().await? {
                progress.say(&job_text::line(&line));
            }
            show(&mut progress, &run);
            if run.state.is_final() {
                break run;
            }
        }
        tokio::select! {
            _ = &mut interrupted => {
                progress.end();
                eprintln!("{id} goes on: `tidegate jobs logs -f {id}` follows it, `tidegate jobs cancel {id}` ends it");
                return Ok(());
            }
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    };
    progress.end();
    output.data(&run, job_text::run)?;
    match (run.state, &run.error) {
        (RunState::Succeeded, _) => Ok(()),
        (state, Some(error)) => bail!("{id} {state}: {}", plain(error)),
        (state, None) => bail!("{id} {state}"),
    }
}

/// As [`follow_run`], of a workflow: how many of its nodes have succeeded.
///
/// # Errors
/// It did not succeed.
pub async fn follow_workflow(admin: &Admin, id: &str, output: Output) -> Result<()> {
    let mut progress = Progress::start();
    let mut said = Vec::new();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let workflow = loop {
        if let Some(workflow) = while_unavailable(admin.workflow(id).await)? {
            let states = workflow_text::node_states(&workflow);
            for line in states.iter().filter(|line| !said.contains(*line)) {
                progress.say(line);
            }
            said = states;
            show_nodes(&mut progress, &workflow);
            if workflow.state.is_final() {
                break workflow;
            }
        }
        tokio::select! {
            _ = &mut interrupted => {
                progress.end();
                eprintln!("{id} goes on: `tidegate jobs show {id}` shows it, `tidegate jobs cancel {id}` ends it");
                return Ok(());
            }
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    };
    progress.end();
    output.data(&workflow, workflow_text::workflow)?;
    match workflow.state {
        WorkflowState::Succeeded => Ok(()),
        state => bail!("{id} {}", state.as_str()),
    }
}

/// Prints a run's log until the run has ended, or until Ctrl-C; with `--json` one object a line.
pub async fn follow_logs(
    admin: &Admin,
    id: &str,
    attempt: Option<u32>,
    output: Output,
) -> Result<()> {
    let mut log = LogReader::new(admin, id, attempt);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        if let Some(run) = while_unavailable(admin.run(id).await)? {
            for line in log.rest().await? {
                output.line(&line, job_text::line)?;
            }
            if run.state.is_final() {
                return Ok(());
            }
        }
        tokio::select! {
            _ = &mut interrupted => return Ok(()),
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// A log, from where it was left.
struct LogReader<'a> {
    admin: &'a Admin,
    id: &'a str,
    attempt: Option<u32>,
    after: u64,
}

impl<'a> LogReader<'a> {
    fn new(admin: &'a Admin, id: &'a str, attempt: Option<u32>) -> LogReader<'a> {
        LogReader {
            admin,
            id,
            attempt,
            after: 0,
        }
    }

    /// All that has been added.
    async fn rest(&mut self) -> Result<Vec<LoggedLine>> {
        let mut all = Vec::new();
        loop {
            let read = self
                .admin
                .run_logs(self.id, self.attempt, self.after, BATCH_EVENTS);
            let lines = while_unavailable(read.await)?.unwrap_or_default();
            let Some(last) = lines.last() else {
                return Ok(all);
            };
            self.after = last.event;
            all.extend(lines);
        }
    }
}

/// None: Postgres cannot be reached. The run goes on without us; so do we when it is back.
fn while_unavailable<T>(read: Result<T, Error>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(Error::Unavailable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn state_line(run: &RunLine) -> String {
    match run.attempts {
        0 | 1 => format!("{} {}", run.id, run.state),
        attempts => format!("{} {}, attempt {attempts}", run.id, run.state),
    }
}

fn show(progress: &mut Progress, run: &RunLine) {
    let Some(reported) = &run.progress else {
        return;
    };
    let number = |name: &str| reported[name].as_f64();
    let whole = |number: f64| number.clamp(0.0, 1e15) as u64;
    let done = number("done").map_or(0, whole);
    let total = number("total").map(whole);
    let of = total.map_or_else(String::new, |total| format!(" of {total}"));
    let message = reported["message"].as_str().map(plain).unwrap_or_default();
    progress.show(done, total, format!("{done}{of} {message}").trim_end());
}

fn show_nodes(progress: &mut Progress, workflow: &WorkflowView) {
    let ended = workflow.succeeded + workflow.failed;
    let rest = format!("{ended} of {} runs have ended", workflow.nodes);
    progress.show(ended, Some(workflow.nodes), &rest);
}
