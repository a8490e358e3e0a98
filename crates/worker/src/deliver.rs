//! The path: run the after-trigger → record its outcome → tell who waits → acknowledge.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::{gauge, histogram};
use tidegate_cloud_code::Outcome as Ended;
use tidegate_event::report::chain;
use tidegate_event::{Delivery, Notice, failpoint};
use tidegate_event_log::{EventLog, LaneLease, Outcome, Status};
use tidegate_queue::{Queue, Received, Verdict};
use tidegate_write_path::WritePath;
use tracing::Instrument;

use crate::record::Recorder;
use crate::{RetryPolicy, metric_names};

/// How long a delivery is put aside whose outcome was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Runs deliveries one by one, many at once.
pub(crate) struct Deliverer {
    pub log: EventLog,
    pub queue: Queue,
    pub write_path: Arc<WritePath>,
    pub recorder: Recorder,
    pub trigger_timeout: Duration,
    pub retry: RetryPolicy,
}

impl Deliverer {
    /// Runs one delivery; the verdict is given only when its outcome is recorded.
    pub async fn deliver(&self, received: Received) -> Verdict {
        let delivery: Delivery = match serde_json::from_slice(&received.delivery.payload) {
            Ok(delivery) => delivery,
            // Only dispatch writes here; what it cannot have written is dropped, and the settled offset waits for a human.
            Err(error) => {
                tracing::error!(%error, "a delivery in the queue cannot be read");
                return Verdict::Done;
            }
        };
        let span = tracing::info_span!(
            "delivery",
            event.id = %delivery.event.id,
            trigger = %delivery.trigger,
            request.id = delivery.event.context.request_id,
        );
        self.attempt(delivery, received).instrument(span).await
    }

    async fn attempt(&self, delivery: Delivery, received: Received) -> Verdict {
        let earlier = match self.earlier_attempts(&delivery, &received).await {
            Ok(Earlier::Settled) => return Verdict::Done,
            Ok(Earlier::Attempts(attempts)) => attempts,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "cannot look up earlier attempts; trying again"
                );
                return Verdict::Retry {
                    after: Duration::from_millis(500),
                };
            }
        };
        failpoint::pass(failpoint::WORKER_TAKEN);
        let attempts = earlier + 1;
        let begun = Instant::now();
        let ended = self.run(&delivery, attempts).await;
        let failure = failure_of(&ended);
        let backoff = match failure {
            Some(_) => self.retry.backoff(attempts, rand::random()),
            None => None,
        };
        let status = match (&failure, backoff) {
            (None, _) => Status::Done,
            (Some(_), Some(_)) => Status::Retry,
            (Some(_), None) => Status::Dead,
        };
        report(
            &delivery,
            status,
            begun.elapsed(),
            attempts,
            failure.as_deref(),
        );
        let outcome = Outcome {
            log_offset: delivery.log_offset,
            trigger: delivery.trigger.clone(),
            status,
            attempts,
            error: failure,
            logs: None,
            duration_us: begun.elapsed().as_micros() as u64,
            lane: LaneLease {
                lane: received.lane.index,
                fence: received.lane.fence,
            },
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
        if attempts == 1 {
            self.tell(&delivery, status == Status::Done).await;
        }
        backoff.map_or(Verdict::Done, |after| Verdict::Retry { after })
    }

    /// Asks Postgres only when it can know something: after a take-over, a lost queue or a failed attempt.
    async fn earlier_attempts(
        &self,
        delivery: &Delivery,
        received: &Received,
    ) -> Result<Earlier, tidegate_event_log::Error> {
        if !received.maybe_repeated && received.retry == 0 {
            return Ok(Earlier::Attempts(0));
        }
        let recorded = self
            .log
            .recorded_outcome(delivery.log_offset, &delivery.trigger)
            .await?;
        Ok(match recorded {
            Some(recorded) if recorded.status.is_final() => Earlier::Settled,
            Some(recorded) => Earlier::Attempts(recorded.attempts),
            None => Earlier::Attempts(0),
        })
    }

    async fn run(&self, delivery: &Delivery, attempt: u32) -> Ended {
        observe_latency(delivery);
        gauge!(metric_names::DELIVERIES_RUNNING).increment(1.0);
        let ended = self
            .write_path
            .run_after_trigger(delivery, attempt, self.trigger_timeout)
            .await;
        gauge!(metric_names::DELIVERIES_RUNNING).decrement(1.0);
        ended
    }

    /// The request that made the change may be waiting for this; if the word is lost, it waits until its time-out.
    async fn tell(&self, delivery: &Delivery, succeeded: bool) {
        let Some(reply_to) = &delivery.event.context.reply_to else {
            return;
        };
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

enum Earlier {
    /// A final outcome is recorded: there is nothing left but to acknowledge.
    Settled,
    Attempts(u32),
}

fn report(
    delivery: &Delivery,
    status: Status,
    took: Duration,
    attempt: u32,
    failure: Option<&str>,
) {
    let labels = [
        ("trigger", delivery.trigger.to_string()),
        ("status", status.as_str().to_owned()),
    ];
    histogram!(metric_names::TRIGGER_SECONDS, &labels).record(took.as_secs_f64());
    let duration_ms = took.as_millis() as u64;
    match (status, failure) {
        (Status::Dead, Some(error)) => {
            tracing::error!(
                job.attempt = attempt,
                duration_ms,
                error,
                "an after-trigger failed for the last time"
            );
        }
        (_, Some(error)) => {
            tracing::warn!(
                job.attempt = attempt,
                duration_ms,
                error,
                "an after-trigger failed and will be tried again"
            );
        }
        (_, None) => tracing::debug!(job.attempt = attempt, duration_ms, "after-trigger done"),
    }
}

fn observe_latency(delivery: &Delivery) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let latency = (now - delivery.event.commit_time_us as f64 / 1e6).max(0.0);
    histogram!(metric_names::DELIVERY_LATENCY_SECONDS, "trigger" => delivery.trigger.to_string())
        .record(latency);
}

/// Why an attempt failed; None when the handler ran to its end.
fn failure_of(ended: &Ended) -> Option<String> {
    match ended {
        Ended::Returned(_) | Ended::ReturnedNothing => None,
        Ended::Threw { message, stack, .. } => Some(match stack {
            Some(stack) => format!("{message}\n{stack}"),
            None => message.clone(),
        }),
        Ended::TimedOut { after } => Some(format!("it took longer than {} s", after.as_secs_f64())),
        Ended::Crashed { reason } => Some(reason.clone()),
    }
}
