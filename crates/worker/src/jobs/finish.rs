//! Records how attempts ended, in groups: what ends while one commit is under way goes into the next.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_event::report::chain;
use tidegate_job::{Lease, RunId, RunState};
use tidegate_job_log::{Error, Finished, JobLog};
use tokio::sync::{mpsc, oneshot};

/// Most endings in one statement: each can have a result of 1 MiB.
const MAX_GROUP: usize = 200;

/// How long to wait before trying again to reach Postgres.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Reported>,
    log: JobLog,
}

struct Reported {
    finished: Finished,
    recorded: oneshot::Sender<Option<RunState>>,
}

/// The recorder, and the task that must run for it; the task ends when the last recorder is dropped.
pub(crate) fn recorder(log: JobLog) -> (Recorder, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(MAX_GROUP);
    let recording = record(log.clone(), receiver);
    (Recorder { sender, log }, recording)
}

impl Recorder {
    /// Returns where the run stands when its ending is durable. None: it was refused, because the run is somebody else's
    /// by now, or could not be recorded: then it is for the lease to find.
    pub async fn finish(&self, finished: Finished) -> Option<RunState> {
        let (recorded, done) = oneshot::channel();
        let reported = Reported { finished, recorded };
        self.sender.send(reported).await.ok()?;
        done.await.ok()?
    }

    /// As [`Recorder::finish`], for one that sleeps.
    pub async fn suspend(&self, lease: &Lease, until: Timestamp) -> Option<RunState> {
        loop {
            match self.log.suspend(lease, until).await {
                Ok(state) => return Some(state),
                Err(error) if error.is_transient() => wait(&error, 1).await,
                Err(Error::Lost { .. }) => return None,
                Err(error) => {
                    tracing::error!(error = chain(&error), "a run cannot be put to sleep");
                    return None;
                }
            }
        }
    }
}

async fn wait(error: &Error, count: usize) {
    let error = chain(error);
    tracing::warn!(error, count, "cannot record the ends of runs; trying again");
    tokio::time::sleep(RETRY_INTERVAL).await;
}

async fn record(log: JobLog, mut receiver: mpsc::Receiver<Reported>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while receiver.recv_many(&mut group, MAX_GROUP).await > 0 {
        let (finished, waiting): (Vec<_>, Vec<_>) = group
            .drain(..)
            .map(|reported| (reported.finished, reported.recorded))
            .unzip();
        let states = record_group(&log, &finished).await;
        for (one, recorded) in finished.iter().zip(waiting) {
            let _ = recorded.send(states.get(&one.lease.run).copied());
        }
    }
}

/// Tries until Postgres takes the group. What it will never take is logged, and its runs are for the lease to find.
async fn record_group(log: &JobLog, finished: &[Finished]) -> HashMap<RunId, RunState> {
    loop {
        match log.finish(finished).await {
            Ok(states) => return states,
            Err(error) if error.is_transient() => wait(&error, finished.len()).await,
            Err(error) => {
                tracing::error!(error = chain(&error), "the ends of runs cannot be recorded");
                return HashMap::new();
            }
        }
    }
}
