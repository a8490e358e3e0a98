//! The path: claim → read → publish → record.

use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tidegate_event::report::chain;
use tidegate_event::{Head, failpoint};
use tidegate_event_log::{EventLog, Lines, LogLine, SinkClaim};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::sink::{Batch, Message, Sink};
use crate::{Error, SinkConfig, metric_names, sink};

/// Most events in one batch.
pub(crate) const BATCH_MAX_EVENTS: usize = 500;
/// Most bytes of events in one batch, unless one event alone has more.
const BATCH_MAX_BYTES: usize = 1024 * 1024;
/// Waits after the first failure and after many; doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a cursor is recorded that moves over events that the sink does not want.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// Feeds one sink whenever this process is the one that does, until `shutdown`.
pub(crate) async fn keep_feeding(
    config: SinkConfig,
    standby_interval: Duration,
    log: EventLog,
    wake_ups: watch::Receiver<()>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let sink = config.name.as_str();
    gauge!(metric_names::SINK_ACTIVE, "sink" => sink.to_owned()).set(0.0);
    let mut failures = 0;
    while !shutdown.is_cancelled() {
        let fed = async {
            let Some(claim) = claim(&log, sink, standby_interval, &shutdown).await? else {
                return Ok(());
            };
            failures = 0;
            Feed::begin(&config, &log, claim)
                .await?
                .run(wake_ups.clone(), &shutdown)
                .await
        };
        match fed.await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    sink,
                    error = chain(&error),
                    "a sink was interrupted; trying again"
                );
                failures += 1;
                pause(failures, &shutdown).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for the right to feed the sink; None at shutdown.
async fn claim(
    log: &EventLog,
    sink: &str,
    standby_interval: Duration,
    shutdown: &CancellationToken,
) -> Result<Option<SinkClaim>, Error> {
    let mut candidate = log.sink(sink).await?;
    let mut standing_by = false;
    while !shutdown.is_cancelled() {
        candidate = match candidate.claim().await? {
            Ok(claim) => return Ok(Some(claim)),
            Err(candidate) => candidate,
        };
        if !std::mem::replace(&mut standing_by, true) {
            tracing::info!(sink, "another process feeds the sink; standing by");
        }
        let _ = tokio::time::timeout(standby_interval, shutdown.cancelled()).await;
    }
    Ok(None)
}

/// Full jitter above a half: a target that comes back is not met by everybody at once.
async fn pause(failures: u32, shutdown: &CancellationToken) {
    let longest = FIRST_PAUSE
        .saturating_mul(1 << failures.clamp(1, 10))
        .min(LONGEST_PAUSE);
    let pause = longest.mul_f64(0.5 + 0.5 * rand::random::<f64>());
    let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
}

/// A sink that this process feeds.
struct Feed<'a> {
    config: &'a SinkConfig,
    log: &'a EventLog,
    claim: SinkClaim,
    sink: Box<dyn Sink>,
    /// The sink has every event up to here that it wants.
    cursor: u64,
    recorded: u64,
    recorded_at: Instant,
    failures: u32,
}

impl<'a> Feed<'a> {
    async fn begin(
        config: &'a SinkConfig,
        log: &'a EventLog,
        claim: SinkClaim,
    ) -> Result<Feed<'a>, Error> {
        let cursor = claim.cursor(config.from).await?;
        tracing::info!(sink = config.name, log.offset = cursor, "feeding the sink");
        gauge!(metric_names::SINK_ACTIVE, "sink" => config.name.clone()).set(1.0);
        Ok(Feed {
            config,
            log,
            claim,
            sink: sink::open(config),
            cursor,
            recorded: cursor,
            recorded_at: Instant::now(),
            failures: 0,
        })
    }

    async fn run(
        mut self,
        mut wake_ups: watch::Receiver<()>,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        while !shutdown.is_cancelled() {
            wake_ups.borrow_and_update();
            let passed_on = tokio::select! {
                passed_on = self.pass_on_a_batch() => passed_on,
                // The next to feed it repeats what was under way.
                () = shutdown.cancelled() => break,
            };
            match passed_on {
                Ok(true) => self.succeeded(),
                Ok(false) => {
                    self.succeeded();
                    self.record_when_due().await?;
                    tokio::select! {
                        _ = wake_ups.changed() => {}
                        () = tokio::time::sleep(RECORD_INTERVAL) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                Err(error @ Error::Target { .. }) => {
                    self.failed(&error);
                    pause(self.failures, shutdown).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.record(self.cursor).await
    }

    /// Gives the sink the next events and records that it has them; false: there are none.
    async fn pass_on_a_batch(&mut self) -> Result<bool, Error> {
        let read = self
            .log
            .follow(self.cursor, BATCH_MAX_EVENTS, BATCH_MAX_BYTES)
            .await?;
        let behind = read.end.saturating_sub(self.cursor);
        self.gauge_lag(behind);
        let messages = self.wanted(&read)?;
        let last = read.lines.last().map(|line| line.log_offset);
        let Some(reached) = last.or(read.dropped_to) else {
            return Ok(false);
        };
        self.report_holes(&read.lines, reached);
        let count = messages.len() as u64;
        if count > 0 {
            if self.claim.is_lost() {
                return Err(Error::ClaimLost {
                    sink: self.config.name.clone(),
                });
            }
            let batch = Batch {
                messages,
                log_end: read.end,
            };
            self.sink.publish(&batch).await?;
            failpoint::pass(failpoint::SINK_PUBLISHED);
            self.record(reached).await?;
            counter!(metric_names::SINK_EVENTS, "sink" => self.config.name.clone())
                .increment(count);
        }
        self.cursor = reached;
        self.gauge_lag(read.end.saturating_sub(reached));
        self.record_when_due().await?;
        Ok(true)
    }

    /// What the sink is told of: not what stands in the log once more for a trigger's sake.
    fn wanted<'b>(&self, read: &'b Lines) -> Result<Vec<Message<'b>>, Error> {
        let mut messages = Vec::new();
        for line in read.lines.iter().filter(|line| line.redelivery.is_none()) {
            let log_offset = line.log_offset;
            let head =
                Head::of(&line.body).map_err(|source| Error::Decode { log_offset, source })?;
            if self.config.filter.wants(&head) {
                messages.push(Message { line, head });
            }
        }
        Ok(messages)
    }

    /// One line a batch: what retention keeps of an old day lies far apart.
    fn report_holes(&self, lines: &[LogLine], reached: u64) {
        let missed = reached - self.cursor - lines.len() as u64;
        if missed > 0 {
            let (sink, from, to) = (self.config.name.as_str(), self.cursor + 1, reached);
            tracing::error!(
                sink,
                from,
                to,
                missed,
                "a gap: retention dropped events between these offsets before the sink had them"
            );
            counter!(metric_names::SINK_MISSED_EVENTS, "sink" => sink.to_owned()).increment(missed);
        }
    }

    async fn record_when_due(&mut self) -> Result<(), Error> {
        match self.recorded_at.elapsed() >= RECORD_INTERVAL {
            true => self.record(self.cursor).await,
            false => Ok(()),
        }
    }

    async fn record(&mut self, reached: u64) -> Result<(), Error> {
        self.recorded_at = Instant::now();
        if reached != self.recorded {
            self.claim.record(reached).await?;
            self.recorded = reached;
        }
        Ok(())
    }

    fn gauge_lag(&self, events: u64) {
        gauge!(metric_names::SINK_LAG_EVENTS, "sink" => self.config.name.clone())
            .set(events as f64);
    }

    fn succeeded(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(sink = self.config.name, "the sink's target answers again");
        }
    }

    fn failed(&mut self, error: &Error) {
        self.failures = self.failures.saturating_add(1);
        counter!(metric_names::SINK_FAILURES, "sink" => self.config.name.clone()).increment(1);
        if self.failures.is_power_of_two() {
            let (sink, failures) = (self.config.name.as_str(), self.failures);
            tracing::warn!(
                sink,
                failures,
                error = chain(error),
                "the sink's target failed; trying again"
            );
        }
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        gauge!(metric_names::SINK_ACTIVE, "sink" => self.config.name.clone()).set(0.0);
    }
}
