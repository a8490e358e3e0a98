//! Lines of running attempts, on their way into the job log.
//!
//! ```text
//! console.log ─▶ one pump an attempt (250 ms) ─┐
//!                                              ├─▶ sink: all that came while it wrote, in one statement
//! console.log ─▶ one pump an attempt ──────────┘
//! ```
//!
//! Invariant: an attempt's lines are written before its end is recorded.

use std::collections::HashSet;
use std::time::Duration;

use tidegate_cloud_code::LogLine as Printed;
use tidegate_event::report::chain;
use tidegate_job::{Lease, LogBudget, LogLevel, LogLine};
use tidegate_job_log::JobLog;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a line may wait for others of its attempt.
const INTERVAL: Duration = Duration::from_millis(250);

/// Most lines of an attempt in one batch.
const MAX_LINES: usize = 1_000;

/// Most batches in one statement.
const MAX_GROUP: usize = 100;

/// How long to wait before trying again to reach Postgres.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Where pumps bring their batches.
#[derive(Clone)]
pub(crate) struct LogSink {
    sender: mpsc::Sender<Batch>,
}

struct Batch {
    lease: Lease,
    budget: LogBudget,
    lines: Vec<LogLine>,
    /// Gets back what may still be written.
    written: oneshot::Sender<LogBudget>,
}

/// The sink, and the task that must run for it; the task ends when the last sink is dropped.
pub(crate) fn sink(log: JobLog) -> (LogSink, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(MAX_GROUP);
    (LogSink { sender }, write_all(log, receiver))
}

impl LogSink {
    /// Moves an attempt's lines until `ended`, and then those that are left.
    pub async fn pump(
        &self,
        lease: &Lease,
        mut lines: mpsc::Receiver<Printed>,
        ended: CancellationToken,
    ) {
        let mut budget = LogBudget::default();
        let mut batch = Vec::new();
        let mut is_over = false;
        while !is_over {
            is_over = gather(&mut lines, &mut batch, &ended).await;
            if batch.is_empty() {
                continue;
            }
            let lines = std::mem::take(&mut batch).into_iter().map(stored).collect();
            match self.write(lease, budget, lines).await {
                Some(left) => budget = left,
                // The sink has ended: so does the process.
                None => return,
            }
        }
    }

    async fn write(
        &self,
        lease: &Lease,
        budget: LogBudget,
        lines: Vec<LogLine>,
    ) -> Option<LogBudget> {
        let (written, done) = oneshot::channel();
        let batch = Batch {
            lease: lease.clone(),
            budget,
            lines,
            written,
        };
        self.sender.send(batch).await.ok()?;
        done.await.ok()
    }
}

/// Waits for a line, and for more until the interval is over or the batch is full. Returns true at the end, with all
/// that is left.
async fn gather(
    lines: &mut mpsc::Receiver<Printed>,
    batch: &mut Vec<Printed>,
    ended: &CancellationToken,
) -> bool {
    let mut until = None;
    loop {
        let room = MAX_LINES - batch.len().min(MAX_LINES);
        if room == 0 {
            return false;
        }
        let interval = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended.cancelled() => {
                while let Ok(line) = lines.try_recv() {
                    batch.push(line);
                }
                return true;
            }
            () = interval => return false,
            count = lines.recv_many(batch, room) => match count {
                0 => return true,
                _ => until = until.or(Some(Instant::now() + INTERVAL)),
            },
        }
    }
}

/// As the log keeps it.
fn stored(printed: Printed) -> LogLine {
    LogLine {
        at_ms: printed.at_ms,
        level: match printed.level {
            "error" => LogLevel::Error,
            "warn" => LogLevel::Warn,
            "debug" => LogLevel::Debug,
            _ => LogLevel::Info,
        },
        text: printed.text,
    }
}

async fn write_all(log: JobLog, mut receiver: mpsc::Receiver<Batch>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while receiver.recv_many(&mut group, MAX_GROUP).await > 0 {
        write_group(&log, &mut group).await;
        for Batch {
            budget, written, ..
        } in group.drain(..)
        {
            let _ = written.send(budget); // An attempt that was dropped writes no more.
        }
    }
}

/// Tries until Postgres takes the group. What it will never take is dropped.
async fn write_group(log: &JobLog, group: &mut [Batch]) {
    loop {
        // A budget is spent by the try, whatever comes of it.
        let mut budgets: Vec<LogBudget> = group.iter().map(|batch| batch.budget.clone()).collect();
        let batches = group.iter().zip(&mut budgets);
        let batches = batches.map(|(batch, budget)| (&batch.lease, budget, batch.lines.clone()));
        match log.logs(batches.collect()).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = chain(&error),
                    "cannot write logs of jobs; trying again"
                );
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            written => {
                match written {
                    Ok(refused) if refused.is_empty() => {}
                    Ok(refused) => {
                        let runs: HashSet<_> = refused.into_iter().collect();
                        tracing::debug!(?runs, "logs of runs that are not ours any more");
                    }
                    Err(error) => {
                        tracing::error!(error = chain(&error), "logs of jobs are lost");
                    }
                }
                for (batch, budget) in group.iter_mut().zip(budgets) {
                    batch.budget = budget;
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_job::RunId;

    use super::*;

    fn line(text: &str) -> Printed {
        Printed {
            at_ms: 1,
            level: "info",
            text: text.into(),
        }
    }

    fn lease() -> Lease {
        Lease {
            run: RunId(1),
            worker: "w".into(),
            fence: 1,
        }
    }

    /// A sink whose batches the test takes itself, and what an attempt writes to.
    fn stage() -> (
        LogSink,
        mpsc::Receiver<Batch>,
        mpsc::Sender<Printed>,
        mpsc::Receiver<Printed>,
    ) {
        let (sender, batches) = mpsc::channel(8);
        let (lines, received) = mpsc::channel(10_000);
        (LogSink { sender }, batches, lines, received)
    }

    async fn take(batches: &mut mpsc::Receiver<Batch>) -> Vec<String> {
        let batch = batches.recv().await.unwrap();
        batch.written.send(batch.budget).unwrap();
        batch.lines.into_iter().map(|line| line.text).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_seen_within_the_interval_and_all_before_the_end() {
        let (sink, mut batches, lines, received) = stage();
        let ended = CancellationToken::new();
        let lease = lease();
        let pump = sink.pump(&lease, received, ended.clone());
        let attempt = async {
            let begun = Instant::now();
            lines.send(line("a")).await.unwrap();
            tokio::time::sleep(INTERVAL / 2).await;
            lines.send(line("b")).await.unwrap();
            assert_eq!(take(&mut batches).await, ["a", "b"]);
            assert_eq!(begun.elapsed(), INTERVAL);
            lines.send(line("c")).await.unwrap();
            tokio::task::yield_now().await;
            lines.send(line("d")).await.unwrap();
            ended.cancel();
            assert_eq!(take(&mut batches).await, ["c", "d"]);
            assert_eq!(begun.elapsed(), INTERVAL);
        };
        tokio::join!(pump, attempt);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait() {
        let (sink, mut batches, lines, received) = stage();
        for n in 0..MAX_LINES + 1 {
            lines.send(line(&n.to_string())).await.unwrap();
        }
        let ended = CancellationToken::new();
        let begun = Instant::now();
        let lease = lease();
        let pump = sink.pump(&lease, received, ended.clone());
        let attempt = async {
            assert_eq!(take(&mut batches).await.len(), MAX_LINES);
            assert_eq!(begun.elapsed(), Duration::ZERO);
            ended.cancel();
            assert_eq!(take(&mut batches).await, [MAX_LINES.to_string()]);
        };
        tokio::join!(pump, attempt);
    }
}
