//! Runs jobs: queue → claim → isolate → finish.
//!
//! ```text
//! queue ─▶ claim (Postgres, fence) ─▶ run the handler ─▶ logs ─▶ record the end, or put it to sleep
//!              beat ───────▶ told to end: cancelled, lost, draining
//! ```
//!
//! Invariants:
//! - Everything that is recorded of a run names the claim's lease. Who has lost it is refused, and its isolate killed.
//! - Nothing is open in Postgres while JavaScript runs.
//! - What a worker leaves behind, however it ends, is on its list of runs in Postgres: the leader gives it to others.
//!
//! Layout: `perform` is the path, on one screen; `claims` is what the queue asks; `running` is which runs are held
//! and what each is told, by `beat`, `cancel` and the end of the process; `supervise` makes it so; `plan` and
//! `ending` decide, both pure; `log_sink` and `finish` write in groups; `report` is metrics and log lines.
//!
//! Not here: which runs may begin (`scheduler`), the streams (`queue`), what a run is told (`write-path`).

mod beat;
mod cancel;
mod claims;
mod ending;
mod finish;
mod log_sink;
mod perform;
mod plan;
mod report;
mod running;
mod supervise;

use std::sync::Arc;
use std::time::Duration;

use tidegate_event::report::chain;
use tidegate_job_log::JobLog;
use tidegate_queue::runs::{RunConsumerConfig, RunQueue, consume_runs};
use tidegate_write_path::WritePath;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::missing::Missing;
use beat::Member;
use claims::JobClaims;
use perform::Performer;
use running::Running;

/// What a worker of jobs needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Unique among all workers, also over restarts.
    pub name: String,
    /// Most jobs that run at once.
    pub concurrency: usize,
    /// No attempt takes longer, whatever its author wrote.
    pub job_timeout: Duration,
    /// How long jobs may go on after shutdown; what is not done then goes on elsewhere.
    pub drain_timeout: Duration,
}

/// Ids that are read before a slot is free. Few: behind long runs they wait until another worker takes them over.
const MAX_PREFETCH: usize = 16;

/// How long before the end of the drain what still runs is told to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the end waits for Postgres. What is not recorded then is for the leader to find.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// Between two tries to join.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// Works until `shutdown`, then lets what runs end, hands back what does not, and leaves the list of workers.
///
/// # Errors
/// Only what a human must decide; a lost Postgres or Redis is waited for.
pub async fn run_jobs(
    config: Config,
    log: JobLog,
    queue: RunQueue,
    write_path: Arc<WritePath>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let own_connection = log.with_own_connection();
    let member = Arc::new(Member::new(&config.name));
    if !join(&member, &own_connection, &shutdown).await? {
        return Ok(());
    }
    let running = Arc::new(Running::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(beat::beat(
        own_connection.clone(),
        Arc::clone(&member),
        Arc::clone(&running),
    ));
    tasks.spawn(cancel::listen(log.clone(), Arc::clone(&running)));
    tasks.spawn(drain(
        config.drain_timeout,
        Arc::clone(&running),
        shutdown.clone(),
    ));
    let claims = Arc::new(JobClaims {
        log: log.clone(),
        member: Arc::clone(&member),
        running,
    });
    let consumed = perform_all(&config, log, queue, write_path, claims, shutdown).await;
    // It has beaten until the last end was recorded.
    tasks.shutdown().await;
    leave(&own_connection, &member.name()).await;
    consumed
}

async fn perform_all(
    config: &Config,
    log: JobLog,
    queue: RunQueue,
    write_path: Arc<WritePath>,
    claims: Arc<JobClaims>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (recorder, recording) = finish::recorder(log.clone());
    let (sink, writing) = log_sink::sink(log.clone());
    let mut writers = JoinSet::new();
    writers.spawn(recording);
    writers.spawn(writing);
    let performer = Arc::new(Performer {
        log,
        write_path,
        recorder,
        sink,
        missing: Missing::default(),
        job_timeout: config.job_timeout,
        shutdown: shutdown.clone(),
    });
    let handler = move |taken| {
        let performer = Arc::clone(&performer);
        async move { performer.perform(taken).await }
    };
    let consumer = RunConsumerConfig {
        worker_name: config.name.clone(),
        concurrency: config.concurrency,
        prefetch: config.concurrency.min(MAX_PREFETCH),
        drain_timeout: told_after(config.drain_timeout) + LAST_WORDS,
    };
    let consumed = consume_runs(queue, consumer, claims, handler, shutdown.cancelled_owned()).await;
    // They end when the last handler, and with it the last sender, is gone.
    let written = async { while writers.join_next().await.is_some() {} };
    if tokio::time::timeout(LEAVE_LIMIT, written).await.is_err() {
        tracing::warn!("the ends of some runs are not recorded; they go on elsewhere");
    }
    Ok(consumed?)
}

/// Returns false when the process is to end before there was a way in.
async fn join(member: &Member, log: &JobLog, shutdown: &CancellationToken) -> Result<bool, Error> {
    loop {
        match member.join(log).await {
            Ok(()) => return Ok(true),
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = chain(&error),
                    "cannot join the workers; trying again"
                );
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(JOIN_PAUSE) => {}
            () = shutdown.cancelled() => return Ok(false),
        }
    }
}

/// When what still runs is told to end, from the shutdown on.
fn told_after(drain_timeout: Duration) -> Duration {
    drain_timeout
        .saturating_sub(LAST_WORDS)
        .max(drain_timeout / 2)
}

async fn drain(drain_timeout: Duration, running: Arc<Running>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(told_after(drain_timeout)).await;
    running.drain();
}

/// What it still runs is handed back by this, and costs no attempt.
async fn leave(log: &JobLog, worker: &str) {
    let leaving = tokio::time::timeout(LEAVE_LIMIT, log.leave(worker));
    match leaving.await {
        Ok(Ok(left)) if left.is_empty() => {}
        Ok(Ok(left)) => tracing::info!(runs = left.len(), "runs are handed back"),
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "cannot leave the workers"),
        Err(_) => tracing::warn!("cannot leave the workers: postgres does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_job::{Lease, RunId};
    use tidegate_job_log::Claimed;

    use super::*;

    /// A first attempt whose starter chose nothing.
    pub(super) fn claimed() -> Claimed {
        Claimed {
            lease: Lease {
                run: RunId(1),
                worker: "w".into(),
                fence: 1,
            },
            job: "report".into(),
            params: "{}".into(),
            attempt: 1,
            crashes: 0,
            is_resumed: false,
            retries: None,
            backoff: None,
            timeout_ms: None,
            steps: Default::default(),
            sleeps: Default::default(),
            inputs: Default::default(),
            workflow: None,
            schedule: None,
            source: "api".into(),
            created_at: "2027-03-27T01:00:00Z".parse().unwrap(),
            claimed_at: "2027-03-27T01:00:00Z".parse().unwrap(),
            waited: Duration::ZERO,
        }
    }

    #[test]
    fn jobs_are_told_to_end_before_the_drain_is_over() {
        let told = |ms| told_after(Duration::from_millis(ms)).as_millis();
        assert_eq!(
            [told(30_000), told(4_000), told(1_000), told(0)],
            [28_000, 2_000, 500, 0]
        );
    }
}
