//! Says that this worker lives, and hears what became of its runs.
//!
//! A task of its own with a connection of its own: neither a busy pool nor a slow statement keeps it from beating. The
//! leading scheduler gives a worker up whose beat stands still for 2 s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_event::report::chain;
use tidegate_job_log::{Error, JobLog};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::running::{Reason, Running};

/// Four beats may be lost before a worker is taken for lost.
const INTERVAL: Duration = Duration::from_millis(500);

/// This worker on the list of workers.
pub(crate) struct Member {
    process: String,
    current: Mutex<Name>,
    doubted: Notify,
}

/// Names are never used twice: a worker that was lost comes back as another one.
struct Name {
    text: Arc<str>,
    times: u32,
}

impl Member {
    /// `process`: unique among all processes and restarts.
    pub fn new(process: &str) -> Member {
        Member {
            process: process.to_owned(),
            current: Mutex::new(Name {
                text: process.into(),
                times: 0,
            }),
            doubted: Notify::new(),
        }
    }

    pub fn name(&self) -> Arc<str> {
        self.current().text.clone()
    }

    /// Joins under a new name. Another try takes another one: the first may have come through.
    pub async fn join(&self, log: &JobLog) -> Result<(), Error> {
        let name: Arc<str> = {
            let mut current = self.current();
            current.times += 1;
            format!("{}-{}", self.process, current.times).into()
        };
        log.join(&name).await?;
        self.current().text = name;
        Ok(())
    }

    /// A claim was refused: time to ask.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Name> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beats for as long as it is polled.
pub(crate) async fn beat(log: JobLog, member: Arc<Member>, running: Arc<Running>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_heard = true;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = member.doubted.notified() => {}
        }
        let beaten = beat_once(&log, &member, &running).await;
        if let Err(error) = &beaten
            && was_heard
        {
            tracing::warn!(error = chain(error), "this worker cannot say that it lives");
        }
        was_heard = beaten.is_ok();
    }
}

async fn beat_once(log: &JobLog, member: &Member, running: &Running) -> Result<(), Error> {
    let name = member.name();
    // Taken before the question: of what is claimed meanwhile the answer says nothing.
    let leases = running.leases();
    let beat = log.beat(&name, &leases).await?;
    for lease in &beat.cancel {
        running.tell(lease, Reason::Cancelled);
    }
    for lease in &beat.gone {
        running.tell(lease, Reason::Lost);
    }
    if beat.is_lost {
        running.lose(&name);
        member.join(log).await?;
        tracing::warn!(
            worker = &*name,
            runs = leases.len(),
            "this worker was taken for lost; its runs are somebody else's"
        );
    }
    Ok(())
}
