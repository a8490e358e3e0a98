//! Commits outcomes in groups: what is reported while one commit is under way goes into the next.

use std::collections::HashSet;
use std::time::Duration;

use tidegate_event::report::chain;
use tidegate_event_log::{EventLog, Outcome};
use tokio::sync::{mpsc, oneshot};

/// Most outcomes in one statement.
const MAX_GROUP: usize = 1_000;

/// How long to wait before trying again to reach Postgres. Deliveries stay unacknowledged meanwhile.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Reported>,
}

struct Reported {
    outcome: Outcome,
    recorded: oneshot::Sender<bool>,
}

/// The recorder, and the task that must run for it; the task ends when the last recorder is dropped.
pub(crate) fn recorder(log: EventLog) -> (Recorder, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(MAX_GROUP);
    (Recorder { sender }, record(log, receiver))
}

impl Recorder {
    /// Returns true when the outcome is durable. False when it was refused, because another worker has the lane by
    /// now, or could not be recorded: then the delivery must not be acknowledged.
    pub async fn record(&self, outcome: Outcome) -> bool {
        let (recorded, done) = oneshot::channel();
        let reported = Reported { outcome, recorded };
        self.sender.send(reported).await.is_ok() && done.await.unwrap_or(false)
    }
}

async fn record(log: EventLog, mut receiver: mpsc::Receiver<Reported>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while receiver.recv_many(&mut group, MAX_GROUP).await > 0 {
        let (outcomes, waiting): (Vec<_>, Vec<_>) = group
            .drain(..)
            .map(|reported| (reported.outcome, reported.recorded))
            .unzip();
        let accepted = record_group(&log, &outcomes).await;
        for (outcome, recorded) in outcomes.iter().zip(waiting) {
            let key = (outcome.log_offset, outcome.trigger.to_string());
            let _ = recorded.send(accepted.contains(&key));
        }
    }
}

/// Tries until Postgres takes the group. What it will never take is logged, and its deliveries come again.
async fn record_group(log: &EventLog, outcomes: &[Outcome]) -> HashSet<(u64, String)> {
    loop {
        match log.record_outcomes(outcomes).await {
            Ok(accepted) => return accepted,
            Err(error) if error.is_transient() => {
                let count = outcomes.len();
                tracing::warn!(
                    error = chain(&error),
                    count,
                    "cannot record outcomes; trying again"
                );
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "outcomes cannot be recorded");
                return HashSet::new();
            }
        }
    }
}
