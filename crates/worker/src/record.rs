//! Commits outcomes in groups: what is reported while one commit is under way goes into the next.

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
    recorded: oneshot::Sender<()>,
}

/// The recorder, and the task that must run for it; the task ends when the last recorder is dropped.
pub(crate) fn recorder(log: EventLog) -> (Recorder, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(MAX_GROUP);
    (Recorder { sender }, record(log, receiver))
}

impl Recorder {
    /// Returns when the outcome is durable, or was refused because it came too late.
    pub async fn record(&self, outcome: Outcome) {
        let (recorded, done) = oneshot::channel();
        if self
            .sender
            .send(Reported { outcome, recorded })
            .await
            .is_ok()
        {
            let _ = done.await;
        }
    }
}

async fn record(log: EventLog, mut receiver: mpsc::Receiver<Reported>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while receiver.recv_many(&mut group, MAX_GROUP).await > 0 {
        let (outcomes, waiting): (Vec<_>, Vec<_>) = group
            .drain(..)
            .map(|reported| (reported.outcome, reported.recorded))
            .unzip();
        while let Err(error) = log.record_outcomes(&outcomes).await {
            tracing::warn!(
                error = chain(&error),
                count = outcomes.len(),
                "cannot record outcomes; trying again"
            );
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        for recorded in waiting {
            let _ = recorded.send(());
        }
    }
}
