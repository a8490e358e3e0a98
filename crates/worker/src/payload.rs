//! What the queue gave, as a delivery.

use tidegate_event::{Delivery, QueuedDelivery, Trigger};
use tidegate_event_log::{Error, EventLog};
use tidegate_queue::Received;

use crate::Triggers;

/// Why there is nothing to run.
pub(crate) enum Unreadable {
    /// The log cannot be asked now.
    Later(Error),
    /// It never will be: it ends as a dead letter that says why.
    Never { trigger: Trigger, error: String },
    /// Not even what it was for is known. The settled offset waits for a human.
    Unknown(String),
}

/// Reads a payload, and a large event from the log.
pub(crate) async fn read(
    log: &EventLog,
    triggers: &Triggers,
    received: &Received,
) -> Result<Delivery, Unreadable> {
    let payload = &received.delivery.payload;
    let queued: QueuedDelivery = match serde_json::from_slice(payload) {
        Ok(queued) => queued,
        Err(error) => return Err(undecodable(log, triggers, received, &error).await),
    };
    if let Some(event) = queued.event.clone() {
        return Ok(queued.with_event(event));
    }
    match log.entry_at(queued.log_offset).await {
        Ok(Some(entry)) => Ok(queued.with_event(entry.event)),
        Ok(None) => Err(Unreadable::Never {
            trigger: queued.trigger,
            error: "the event is no longer in the log: it was dropped before it was delivered; raise event_keep_days"
                .into(),
        }),
        Err(error) if error.is_transient() => Err(Unreadable::Later(error)),
        Err(error) => Err(Unreadable::Never {
            trigger: queued.trigger,
            error: format!("the event cannot be read from the log: {error}"),
        }),
    }
}

/// Finds out what a payload that cannot be decoded was for: by what of it can, or by its place among the event's triggers.
async fn undecodable(
    log: &EventLog,
    triggers: &Triggers,
    received: &Received,
    error: &serde_json::Error,
) -> Unreadable {
    let error = format!("its entry in the queue cannot be decoded: {error}");
    if let Some(trigger) = named(&received.delivery.payload) {
        return Unreadable::Never { trigger, error };
    }
    let entry = match log.entry_at(received.delivery.log_offset).await {
        Ok(Some(entry)) => entry,
        Err(error) if error.is_transient() => return Unreadable::Later(error),
        Ok(None) | Err(_) => return Unreadable::Unknown(error),
    };
    let triggers = triggers.borrow();
    let fired = triggers.matching(&entry.event);
    let is_for = |trigger: &Trigger| {
        let redelivery = entry.redelivery.as_ref();
        redelivery.is_none_or(|it| it.triggers.contains(&trigger.to_string()))
    };
    let mut fired = fired
        .into_iter()
        .map(|(trigger, _)| trigger)
        .filter(|trigger| is_for(trigger));
    match fired.nth(received.delivery.position.into()) {
        Some(trigger) => Unreadable::Never {
            trigger: trigger.clone(),
            error,
        },
        None => Unreadable::Unknown(error),
    }
}

/// The trigger, from JSON that is not a delivery.
fn named(payload: &[u8]) -> Option<Trigger> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    serde_json::from_value(value.get("trigger")?.clone()).ok()
}
