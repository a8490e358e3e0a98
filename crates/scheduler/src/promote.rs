//! The path: due runs → counted as queued → into the queue.

use std::time::{Duration, Instant};

use metrics::counter;
use tidegate_event::failpoint;
use tidegate_job::{Band, RunId};
use tidegate_job_log::{JobLog, Promoted, Room};
use tidegate_queue::runs::{self, RunQueue, Waiting};

use crate::lead::{LOOK_INTERVAL, Words, word};
use crate::{Config, Error, chain, metric_names};

/// Ids that one look takes: enough for thousands of runs a second, few enough for milliseconds.
const BATCH: u32 = 500;

/// How long a run may count as queued while the streams are empty before its id is taken for lost. A claim follows its
/// read within milliseconds, or the rescue of [`runs::RESCUE_IDLE`].
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Promotes until an error.
pub(crate) async fn promote(
    config: &Config,
    log: &JobLog,
    queue: &RunQueue,
    mut words: Words,
) -> Result<(), Error> {
    let mut promoter = Promoter {
        config,
        log,
        queue,
        incarnation: None,
        looked_at: None,
        full_pause: FULL_PAUSE,
    };
    loop {
        words.mark_unchanged();
        if promoter.promote_next().await? {
            continue;
        }
        let idle = promoter.idle_time().await?;
        word(&mut words, idle).await;
    }
}

struct Promoter<'a> {
    config: &'a Config,
    log: &'a JobLog,
    queue: &'a RunQueue,
    /// Of the queue that holds what counts as queued; None: nothing is known of it.
    incarnation: Option<String>,
    looked_at: Option<Instant>,
    /// How long it rests while something is due and cannot be queued.
    full_pause: Duration,
}

impl Promoter<'_> {
    /// Queues what may begin now. True when it should look again at once.
    async fn promote_next(&mut self) -> Result<bool, Error> {
        self.follow_queue().await?;
        self.look_when_due().await?;
        let waiting = self.queue.queued().await?;
        let room = room(self.config.max_queued, waiting);
        let promoted = self.log.promote(room).await?;
        self.push(&promoted).await?;
        self.full_pause = match promoted.queued.is_empty() {
            true => (self.full_pause * 2).min(MAX_FULL_PAUSE),
            false => FULL_PAUSE,
        };
        counter!(metric_names::PROMOTED).increment(promoted.queued.len() as u64);
        Ok(promoted.has_more() || promoted.queued.len() as u32 >= BATCH)
    }

    /// Puts into the queue what counts as queued. If it cannot, or this process ends here, the next look finds it.
    async fn push(&mut self, promoted: &Promoted) -> Result<(), Error> {
        if promoted.queued.is_empty() {
            return Ok(());
        }
        failpoint::pass(failpoint::SCHEDULER_PROMOTED);
        let ids: Vec<(u64, runs::Band)> = promoted.queued.iter().map(entry).collect();
        if let Err(error) = self.queue.push(&ids).await {
            tracing::warn!(
                error = chain(&error),
                "the queue does not take runs; they go back"
            );
            let runs: Vec<RunId> = promoted.queued.iter().map(|(run, _)| *run).collect();
            self.log.requeue(&runs).await?;
            return Err(error.into());
        }
        failpoint::pass(failpoint::SCHEDULER_QUEUED);
        Ok(())
    }

    /// A queue that is new, or new to this leader, holds nothing that can be relied on. An id that is there after all is
    /// claimed once, however often it is there.
    async fn follow_queue(&mut self) -> Result<(), Error> {
        let incarnation = self.queue.incarnation().await?;
        if self.incarnation.as_ref() == Some(&incarnation) {
            return Ok(());
        }
        let requeued = self.log.requeue_all().await?;
        tracing::info!(runs = requeued, "queueing again what may have been lost");
        self.incarnation = Some(incarnation);
        Ok(())
    }

    /// Each second: blocked runs that need not wait any more, and ids that were lost one by one.
    async fn look_when_due(&mut self) -> Result<(), Error> {
        if self
            .looked_at
            .is_some_and(|at| at.elapsed() < LOOK_INTERVAL)
        {
            return Ok(());
        }
        self.looked_at = Some(Instant::now());
        self.log.recheck_blocked().await?;
        if self.queue.queued().await?.total() == 0 {
            let lost = self.log.queued_longer_than(LOST_AFTER, BATCH).await?;
            if !lost.is_empty() {
                tracing::warn!(
                    runs = lost.len(),
                    "ids of runs were lost; queueing them again"
                );
                self.log.requeue(&lost).await?;
            }
        }
        Ok(())
    }

    /// Until the next pending run is due.
    async fn idle_time(&self) -> Result<Duration, Error> {
        let wait = self.log.next_pending_in().await?;
        // With something due, the queue is full or all jobs are paused.
        Ok(match wait {
            Some(wait) if wait.is_zero() => self.full_pause,
            Some(wait) => wait,
            None => LOOK_INTERVAL,
        })
    }
}

/// While the queue is full: workers take from it in milliseconds, and say nothing of it. Behind long jobs, or while all
/// are paused, it rests for longer each time.
const FULL_PAUSE: Duration = Duration::from_millis(5);
const MAX_FULL_PAUSE: Duration = Duration::from_millis(250);

/// What each stream can still take. The high one is filled whatever the others hold.
fn room(max_queued: u32, waiting: Waiting) -> Room {
    let left =
        |used: u64| (max_queued.saturating_sub(used.min(u64::from(u32::MAX)) as u32)).min(BATCH);
    Room {
        high: left(waiting.high),
        normal: left(waiting.high + waiting.normal),
        low: left(waiting.total()),
    }
}

fn entry((run, band): &(RunId, Band)) -> (u64, runs::Band) {
    let band = match band {
        Band::High => runs::Band::High,
        Band::Normal => runs::Band::Normal,
        Band::Low => runs::Band::Low,
    };
    (run.0, band)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_less_urgent_leaves_room_for_what_is_more() {
        let waiting = |high, normal, low| Waiting { high, normal, low };
        let room_of = |max, waiting| {
            let Room { high, normal, low } = room(max, waiting);
            (high, normal, low)
        };
        assert_eq!(room_of(100, waiting(0, 0, 0)), (100, 100, 100));
        assert_eq!(room_of(100, waiting(0, 90, 20)), (100, 10, 0));
        assert_eq!(room_of(100, waiting(100, 0, 0)), (0, 0, 0));
        assert_eq!(room_of(100, waiting(u64::MAX / 4, 0, 0)), (0, 0, 0));
        assert_eq!(room_of(10_000, waiting(0, 0, 0)), (BATCH, BATCH, BATCH));
    }
}
