//! Following an operation until it ends.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tidegate_admin::{Admin, Operation, Started, State};

use super::operations;
use super::output::{Output, Progress};

const LOOK_INTERVAL: Duration = Duration::from_millis(150);

/// Shows how far an operation is until it ends, or until Ctrl-C; then prints it. `detach`: prints it at once.
///
/// # Errors
/// It failed, or somebody cancelled it.
pub async fn follow(admin: &Admin, started: Started, detach: bool, output: Output) -> Result<()> {
    let id = started.operation.id;
    if !started.is_worked_on {
        eprintln!("no server with the role dispatch runs: operation {id} begins when one does");
    }
    if detach {
        return output.data(&started.operation, operations::shown);
    }
    let begun = Instant::now();
    let mut progress = Progress::start();
    let mut last = started.operation;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while !last.state.is_over() {
        progress.show(last.done, last.total, &rest(&last, begun.elapsed()));
        tokio::select! {
            _ = &mut interrupted => {
                progress.end();
                eprintln!(
                    "operation {id} goes on: `tidegate operations show {id}` says how far it is, \
                     `tidegate operations cancel {id}` ends it"
                );
                return Ok(());
            }
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        last = match admin.operation(id).await {
            Ok(found) => found,
            // It goes on without us; so do we when Postgres is back.
            Err(tidegate_admin::Error::Unavailable { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
    }
    progress.show(last.done, last.total, &rest(&last, begun.elapsed()));
    progress.end();
    output.data(&last, operations::shown)?;
    match last.state {
        State::Failed => bail!(
            "operation {id} failed: {}",
            last.error.as_deref().unwrap_or("no reason is known")
        ),
        State::Cancelled => bail!("operation {id} was cancelled"),
        _ => Ok(()),
    }
}

fn rest(operation: &Operation, elapsed: Duration) -> String {
    let total = operation
        .total
        .map_or_else(String::new, |total| format!(" of {total}"));
    let per_second = operation.done as f64 / elapsed.as_secs_f64().max(0.001);
    let state = match operation.state {
        State::Running => String::new(),
        state => format!(", {}", state.as_str()),
    };
    format!("{}{total}, {per_second:.0}/s{state}", operation.done)
}
