//! The path: decode → append → confirm.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};
use postgres_replication::Stream;
use tidegate_event::{ChangeEvent, Lsn, TriggerSet, failpoint};
use tidegate_event_log::append::MAX_EVENTS_PER_APPEND;
use tidegate_event_log::{Appender, EventLog};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::translate::Translator;
use crate::{Config, Error, metric_names, publication, slot};

/// Most bytes of row values in one append, so that wide rows do not fill the memory.
const MAX_BYTES_PER_APPEND: usize = 8 * 1024 * 1024;

/// Follows the slot until `shutdown` or an error.
pub(crate) async fn follow(
    config: &Config,
    log: &EventLog,
    triggers: &watch::Receiver<TriggerSet>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let (stream, checkpoint) = slot::open(config, log).await?;
    let translator = Translator::new(checkpoint.epoch, slot::primary_keys(config).await?);
    let appender = log.appender(checkpoint).await?;
    let _active = Active::new();
    let wanted = triggers.borrow().clone();
    publication::bring_in_step(config, &wanted, publication::Change::AddAndDrop).await;
    tracing::info!(slot = config.slot, from = %appender.checkpoint().end_lsn, "following the slot");
    tokio::select! {
        copied = copy(stream, translator, appender, shutdown) => copied,
        never = publication::keep(config, triggers) => match never {},
    }
}

async fn copy(
    mut stream: Stream,
    mut translator: Translator,
    mut appender: Appender,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    loop {
        let batch = tokio::select! {
            batch = next_batch(&mut stream, &mut translator, &appender) => batch?,
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
        if let Some(end_lsn) = batch.end_lsn {
            // Everything up to here is in the log, or was none of ours.
            stream.confirm(end_lsn.0);
            if !batch.events.is_empty() {
                stream.send_feedback().await?;
                failpoint::pass(failpoint::CAPTURE_CONFIRMED);
            }
        }
    }
}

#[derive(Default)]
struct Batch {
    events: Vec<ChangeEvent>,
    bytes: usize,
    /// End of the last transaction that is whole within this batch.
    end_lsn: Option<Lsn>,
}

/// Waits for a message, then takes all that is there: up to a full batch, and else to the end of a transaction.
async fn next_batch(
    stream: &mut Stream,
    translator: &mut Translator,
    appender: &Appender,
) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    let mut message = stream.next().await?;
    loop {
        if let Some(relation) = translator.unknown_relation(&message) {
            translator.learn(relation).await?;
        }
        let translated = translator.take(message)?;
        batch.bytes += translated.bytes;
        batch.end_lsn = translated.end_lsn.or(batch.end_lsn);
        let new = |event: &ChangeEvent| !appender.has(event.id.commit_lsn, event.id.ordinal);
        batch
            .events
            .extend(translated.events.into_iter().filter(new));
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
