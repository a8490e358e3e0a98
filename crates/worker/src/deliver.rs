//! The path: run the after-trigger → record its outcome → tell who waits → acknowledge.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::gauge;
use tidegate_event::report::chain;
use tidegate_event::{Delivery, Notice, Policy, Trigger, failpoint};
use tidegate_event_log::{EventLog, LaneLease, Outcome, Status};
use tidegate_queue::{Queue, Received, Verdict};
use tidegate_write_path::WritePath;
use tokio::sync::watch;
use tracing::Instrument;

use crate::attempt::{self, Attempt, MAX_CRASHES};
use crate::missing::{self, Advice, Missing};
use crate::payload::{self, Unreadable};
use crate::record::Recorder;
use crate::report::{observe_latency, report};
use crate::suspect::{ALONE_FROM, Suspects};
use crate::webhook::Sender;
use crate::{RetryPolicy, Triggers, metric_names};

/// How long a delivery is put aside whose outcome was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// How long one is put aside while Postgres cannot be asked about it.
const UNAVAILABLE_PAUSE: Duration = Duration::from_millis(500);

/// How long one is put aside when too many wait to run alone.
const SUSPECT_PAUSE: Duration = Duration::from_millis(500);

/// How long one is put aside of which nothing can be said.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);

/// Runs deliveries one by one, many at once.
pub(crate) struct Deliverer {
    pub log: EventLog,
    pub queue: Queue,
    pub write_path: Arc<WritePath>,
    pub webhooks: Sender,
    pub recorder: Recorder,
    pub triggers: Triggers,
    pub paused: watch::Receiver<HashSet<String>>,
    pub missing: Missing,
    pub suspects: Suspects,
    pub trigger_timeout: Duration,
    pub retry: RetryPolicy,
}

/// What is known of a delivery before it is run.
#[derive(Clone, Copy, Default)]
struct Earlier {
    attempts: u32,
    crashes: u32,
}

impl Deliverer {
    /// Runs one delivery; the verdict is given only when its outcome is recorded.
    pub async fn deliver(&self, received: Received) -> Verdict {
        match payload::read(&self.log, &self.triggers, &received).await {
            Ok(delivery) => {
                let span = tracing::info_span!(
                    "delivery",
                    event.id = %delivery.event.id,
                    trigger = %delivery.trigger,
                    request.id = delivery.event.context.request_id,
                );
                self.take(&delivery, &received).instrument(span).await
            }
            Err(Unreadable::Later(error)) => {
                tracing::warn!(error = chain(&error), "cannot read an event; trying again");
                later(UNAVAILABLE_PAUSE)
            }
            Err(Unreadable::Never { trigger, error }) => {
                tracing::error!(%trigger, error, "a delivery cannot be run");
                let outcome = dead(&trigger, &received, Earlier::default(), error);
                self.settle(outcome).await
            }
            Err(Unreadable::Unknown(error)) => {
                let offset = received.delivery.log_offset;
                tracing::error!(log.offset = offset, error, "a delivery of no known trigger");
                later(UNKNOWN_PAUSE)
            }
        }
    }

    async fn take(&self, delivery: &Delivery, received: &Received) -> Verdict {
        let earlier = match self.earlier(delivery, received).await {
            Ok(Some(earlier)) => earlier,
            // A final outcome is recorded: there is nothing left but to acknowledge.
            Ok(None) => return Verdict::Done,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "cannot look up earlier attempts; trying again"
                );
                return later(UNAVAILABLE_PAUSE);
            }
        };
        failpoint::pass(failpoint::WORKER_TAKEN);
        let name = delivery.trigger.to_string();
        if self.paused.borrow().contains(&name) {
            return self.settle(held(delivery, received, earlier)).await;
        }
        if !self.has(&delivery.trigger) {
            return self.miss(delivery, received, earlier, name).await;
        }
        if earlier.crashes >= MAX_CRASHES {
            let error = attempt::quarantined("worker");
            tracing::error!(error, "an after-trigger is not run any more");
            let outcome = dead(&delivery.trigger, received, earlier, error);
            let verdict = self.settle(outcome).await;
            self.tell(delivery, earlier.attempts, false).await;
            return verdict;
        }
        self.attempt_unless_suspect(delivery, received, earlier)
            .await
    }

    /// Runs at once what is under no suspicion; marks what was taken over, and lets those with a mark run one by one.
    async fn attempt_unless_suspect(
        &self,
        delivery: &Delivery,
        received: &Received,
        earlier: Earlier,
    ) -> Verdict {
        // A retry within this process: its last run has ended, however it did.
        let is_taken_over = received.maybe_repeated && received.retry == 0;
        let mark = earlier.crashes + u32::from(is_taken_over);
        let _alone = match mark >= ALONE_FROM || (earlier.crashes > 0 && !is_taken_over) {
            false => None,
            true => match self.suspects.turn().await {
                Some(turn) => Some(turn),
                None => return later(SUSPECT_PAUSE),
            },
        };
        if is_taken_over {
            let marked = Outcome {
                status: Status::Retry,
                attempts: earlier.attempts,
                crashes: mark,
                error: Some("its worker may have ended while it ran".into()),
                ..outcome(&delivery.trigger, received)
            };
            if !self.recorder.record(marked).await {
                return later(REFUSED_PAUSE);
            }
        }
        self.attempt(delivery, received, earlier).await
    }

    async fn attempt(&self, delivery: &Delivery, received: &Received, earlier: Earlier) -> Verdict {
        let policy = self.triggers.borrow().policy(&delivery.trigger);
        let attempts = earlier.attempts + 1;
        let begun = Instant::now();
        let may_repeat = received.maybe_repeated || received.retry > 0;
        let mut ended = self.run(delivery, attempts, may_repeat, &policy).await;
        let crashes = if ended.crashed {
            earlier.crashes + 1
        } else {
            0
        };
        let retry = self.retry.with(&policy);
        let (status, wait) = ended.leaves(&retry, attempts, crashes, rand::random());
        if crashes >= MAX_CRASHES {
            let last = ended.failure.take().unwrap_or_default();
            ended.failure = Some(format!("{}: {last}", attempt::quarantined("process")));
        }
        let failure = ended.failure.as_deref();
        report(delivery, status, begun.elapsed(), attempts, failure);
        let outcome = Outcome {
            status,
            attempts,
            crashes,
            error: ended.failure,
            logs: ended.logs,
            duration_us: begun.elapsed().as_micros() as u64,
            ..outcome(&delivery.trigger, received)
        };
        failpoint::pass(failpoint::WORKER_RAN);
        if !self.recorder.record(outcome).await {
            // The lane's new owner runs it, if it has one; here it is only put aside, never acknowledged.
            tracing::warn!("the outcome came too late: another worker has the lane");
            return Verdict::Retry {
                after: REFUSED_PAUSE,
            };
        }
        failpoint::pass(failpoint::WORKER_RECORDED);
        self.tell(delivery, earlier.attempts, status == Status::Done)
            .await;
        wait.map_or(Verdict::Done, |after| Verdict::Retry { after })
    }

    /// Asks Postgres only when it can know something: after a take-over, a lost queue or a failed attempt. None: it has
    /// its final outcome.
    async fn earlier(
        &self,
        delivery: &Delivery,
        received: &Received,
    ) -> Result<Option<Earlier>, tidegate_event_log::Error> {
        if !received.maybe_repeated && received.retry == 0 {
            return Ok(Some(Earlier::default()));
        }
        let recorded = self
            .log
            .recorded_outcome(delivery.log_offset, &delivery.trigger)
            .await?;
        Ok(match recorded {
            Some(recorded) if recorded.status.is_final() => None,
            Some(recorded) => Some(Earlier {
                attempts: recorded.attempts,
                crashes: recorded.crashes,
            }),
            None => Some(Earlier::default()),
        })
    }

    /// `may_repeat`: an earlier attempt may have had effects.
    async fn run(
        &self,
        delivery: &Delivery,
        attempt: u32,
        may_repeat: bool,
        policy: &Policy,
    ) -> Attempt {
        observe_latency(delivery);
        let keys = delivery.event.key.values();
        failpoint::pass_with(failpoint::WORKER_POISON, keys.filter_map(Option::as_deref));
        let timeout = policy.timeout().unwrap_or(self.trigger_timeout);
        gauge!(metric_names::DELIVERIES_RUNNING).increment(1.0);
        let ended = match delivery.trigger.webhook {
            Some(_) => self.call(delivery, attempt, timeout).await,
            None => {
                let running = self
                    .write_path
                    .run_after_trigger(delivery, attempt, may_repeat, timeout);
                running.await.into()
            }
        };
        gauge!(metric_names::DELIVERIES_RUNNING).decrement(1.0);
        ended
    }

    async fn call(&self, delivery: &Delivery, attempt: u32, timeout: Duration) -> Attempt {
        match self.write_path.after_request(delivery, attempt).await {
            Ok(request) => self.webhooks.call(delivery, request, timeout).await,
            Err(error) => Attempt::failed(chain(&error)),
        }
    }

    /// Whether this worker can run it: by the code that it has now, or by its webhooks.
    fn has(&self, trigger: &Trigger) -> bool {
        match trigger.webhook {
            Some(_) => self.webhooks.has(trigger),
            None => self
                .write_path
                .code()
                .is_some_and(|code| code.triggers().has(trigger.kind, &trigger.class)),
        }
    }

    async fn miss(
        &self,
        delivery: &Delivery,
        received: &Received,
        earlier: Earlier,
        name: String,
    ) -> Verdict {
        let id = (delivery.log_offset, name);
        match self.missing.advise(id, Instant::now()) {
            Advice::Wait { say } => {
                if say {
                    tracing::warn!(
                        "this worker's release has no such trigger; its deliveries wait"
                    );
                }
                later(missing::PAUSE)
            }
            Advice::GiveUp => {
                let error = missing::error(&delivery.trigger.to_string());
                tracing::error!(error, "a delivery that nobody could run");
                self.settle(dead(&delivery.trigger, received, earlier, error))
                    .await
            }
        }
    }

    /// Ends a delivery that is not run.
    async fn settle(&self, outcome: Outcome) -> Verdict {
        match self.recorder.record(outcome).await {
            true => Verdict::Done,
            false => later(REFUSED_PAUSE),
        }
    }

    /// The request that made the change may be waiting for its first attempt; if the word is lost, it waits until its
    /// time-out.
    async fn tell(&self, delivery: &Delivery, earlier_attempts: u32, succeeded: bool) {
        let Some(reply_to) = &delivery.event.context.reply_to else {
            return;
        };
        if earlier_attempts > 0 {
            return;
        }
        let notice = Notice {
            token: reply_to.token,
            succeeded,
        };
        let payload = serde_json::to_string(&notice).expect("a notice is two plain fields");
        let notices = [(reply_to.process.clone(), payload)];
        if let Err(error) = self.queue.publish_outcomes(&notices).await {
            tracing::warn!(error = chain(&error), "cannot tell the waiting request");
        }
    }
}

fn later(after: Duration) -> Verdict {
    Verdict::Later { after }
}

/// What every outcome of a delivery has in common.
fn outcome(trigger: &Trigger, received: &Received) -> Outcome {
    Outcome {
        log_offset: received.delivery.log_offset,
        trigger: trigger.clone(),
        status: Status::Done,
        attempts: 0,
        crashes: 0,
        error: None,
        logs: None,
        duration_us: 0,
        lane: LaneLease {
            lane: received.lane.index,
            fence: received.lane.fence,
        },
    }
}

fn dead(trigger: &Trigger, received: &Received, earlier: Earlier, error: String) -> Outcome {
    Outcome {
        status: Status::Dead,
        attempts: earlier.attempts,
        crashes: earlier.crashes,
        error: Some(error),
        ..outcome(trigger, received)
    }
}

/// Its trigger is paused: it goes on from the log.
fn held(delivery: &Delivery, received: &Received, earlier: Earlier) -> Outcome {
    Outcome {
        status: Status::Held,
        attempts: earlier.attempts,
        ..outcome(&delivery.trigger, received)
    }
}
