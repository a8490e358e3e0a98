//! The path: decode → append → confirm.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};
use postgres_replication::{Message, Stream};
use tidegate_event::{ChangeEvent, Lsn, TriggerSet, failpoint};
use tidegate_event_log::append::MAX_EVENTS_PER_APPEND;
use tidegate_event_log::{Appender, EventLog, Heartbeat};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;
use crate::translate::Translator;
use crate::{Config, Error, heartbeat, metric_names, publication, slot};

/// Most bytes of row values in one append, so that wide rows do not fill the memory.
const MAX_BYTES_PER_APPEND: usize = 8 * 1024 * 1024;

/// How often at most the checkpoint is moved where there are no events: WAL of others, and our own.
const ADVANCE_INTERVAL: Duration = Duration::from_secs(1);

/// Less than this waits for the next heartbeat: moving the checkpoint writes WAL itself, and would go on for ever.
const MIN_ADVANCE_BYTES: u64 = 8 * 1024;

/// Follows the slot until `shutdown` or an error.
pub(crate) async fn follow(
    config: &Config,
    log: &EventLog,
    triggers: &watch::Receiver<TriggerSet>,
    memory: &mut Memory,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let (stream, checkpoint) = slot::open(config, log, memory).await?;
    let (notices, noticed) = mpsc::unbounded_channel();
    let catalog = slot::catalog(config).await?;
    let translator = Translator::new(checkpoint.epoch, catalog, notices);
    let appender = log.appender(checkpoint).await?;
    let _active = Active::new();
    let wanted = triggers.borrow().clone();
    publication::bring_in_step(config, &wanted, publication::Change::AddAndDrop).await;
    tracing::info!(slot = config.slot, from = %appender.checkpoint().end_lsn, "following the slot");
    tokio::select! {
        copied = copy(&config.slot, stream, translator, appender, memory, shutdown) => copied,
        never = publication::keep(config, triggers, noticed) => match never {},
        never = heartbeat::beat(config) => match never {},
    }
}

async fn copy(
    slot: &str,
    mut stream: Stream,
    mut translator: Translator,
    mut appender: Appender,
    memory: &mut Memory,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let mut advanced_at = Instant::now();
    loop {
        let batch = tokio::select! {
            batch = next_batch(slot, &mut stream, &mut translator, &appender) => batch?,
            () = shutdown.cancelled() => return Ok(()),
        };
        if !batch.events.is_empty() {
            failpoint::pass(failpoint::CAPTURE_READ);
            appender
                .append(
                    &batch.events,
                    batch.end_lsn.unwrap_or(appender.checkpoint().end_lsn),
                )
                .await?;
            failpoint::pass(failpoint::CAPTURE_APPENDED);
            report(&batch.events);
        }
        if let Some(end_lsn) = batch.end_lsn
            && batch.is_worth_advancing(end_lsn, appender.checkpoint().end_lsn, advanced_at)
        {
            appender.advance(end_lsn, batch.heartbeat).await?;
            advanced_at = Instant::now();
        }
        memory.saw(appender.checkpoint());
        batch.heartbeat.iter().for_each(heartbeat::report);
        // Only what the checkpoint says: a slot that has confirmed more than it was moved by somebody else.
        stream.confirm(appender.checkpoint().end_lsn.0);
        if batch.end_lsn.is_some() && !batch.events.is_empty() {
            stream.send_feedback().await?;
            failpoint::pass(failpoint::CAPTURE_CONFIRMED);
        }
    }
}

#[derive(Default)]
struct Batch {
    events: Vec<ChangeEvent>,
    bytes: usize,
    /// End of the last transaction that is whole within this batch.
    end_lsn: Option<Lsn>,
    /// That of the last such transaction which is one.
    heartbeat: Option<Heartbeat>,
    /// The server waits for an answer: it is being stopped, for example, and ends when all is confirmed.
    reply_requested: bool,
}

impl Batch {
    /// Whether to move the checkpoint to `end_lsn`, where no event moves it.
    fn is_worth_advancing(&self, end_lsn: Lsn, stored: Lsn, advanced_at: Instant) -> bool {
        let bytes = end_lsn.0.saturating_sub(stored.0);
        let is_due = bytes >= MIN_ADVANCE_BYTES && advanced_at.elapsed() >= ADVANCE_INTERVAL;
        self.heartbeat.is_some() || (bytes > 0 && self.reply_requested) || is_due
    }
}

/// Waits for a message, then takes all that is there: up to a full batch, and else to the end of a transaction.
async fn next_batch(
    slot: &str,
    stream: &mut Stream,
    translator: &mut Translator,
    appender: &Appender,
) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    let mut message = stream.next().await?;
    let mut beat = None;
    loop {
        beat = heartbeat::read(&message, slot).or(beat);
        batch.reply_requested |= matches!(
            message,
            Message::Keepalive {
                reply_requested: true,
                ..
            }
        );
        let has = |commit_lsn, ordinal| appender.has(commit_lsn, ordinal);
        let translated = translator.take(message, has).await?;
        batch.bytes += translated.bytes;
        batch.end_lsn = translated.end_lsn.or(batch.end_lsn);
        if translated.end_lsn.is_some() {
            batch.heartbeat = beat.take().or(batch.heartbeat);
        }
        batch.events.extend(translated.events);
        if batch.events.len() >= MAX_EVENTS_PER_APPEND || batch.bytes >= MAX_BYTES_PER_APPEND {
            return Ok(batch);
        }
        message = match stream.try_next()? {
            Some(message) => message,
            None if translator.in_transaction() => stream.next().await?,
            None => return Ok(batch),
        };
    }
}

fn report(events: &[ChangeEvent]) {
    counter!(metric_names::EVENTS_CAPTURED).increment(events.len() as u64);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    if let Some(last) = events.last() {
        gauge!(metric_names::CAPTURE_LAG_SECONDS).set(now - last.commit_time_us as f64 / 1e6);
    }
}

/// Says in the metrics that this process follows the slot, until it is dropped.
struct Active;

impl Active {
    fn new() -> Active {
        gauge!(metric_names::CAPTURE_ACTIVE).set(1.0);
        Active
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        gauge!(metric_names::CAPTURE_ACTIVE).set(0.0);
    }
}
