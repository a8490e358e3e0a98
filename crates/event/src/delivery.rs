//! What travels through the queue: one event for one trigger.

use serde::{Deserialize, Serialize};

use crate::{ChangeEvent, DeliveryId, EventId, Trigger};

/// One event for one trigger, as dispatch queues it and a worker runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where the event stands in the log; with the trigger, the key of its outcome.
    pub log_offset: u64,
    pub trigger: Trigger,
    pub event: ChangeEvent,
    /// Why the event stands in the log at all, when that is not because it was committed just before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub redelivery: Option<Redelivery>,
}

/// Largest event that travels through the queue itself, in bytes of JSON; of a larger one only the offset does, so
/// that what waits in Redis is bounded in bytes too.
pub const MAX_QUEUED_EVENT_BYTES: usize = 64 * 1024;

/// A delivery as it is read from the queue. Its JSON is that of a [`Delivery`], but `event` may be null: then the event
/// is larger than [`MAX_QUEUED_EVENT_BYTES`], and the worker reads it from the log (`EventLog::entry_at`) by the offset.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct QueuedDelivery {
    pub log_offset: u64,
    pub trigger: Trigger,
    pub event: Option<ChangeEvent>,
    #[serde(default)]
    pub redelivery: Option<Redelivery>,
}

impl QueuedDelivery {
    /// The JSON of one, made of an event and a redelivery as they are stored: neither is decoded.
    pub fn payload(
        log_offset: u64,
        trigger: &Trigger,
        event: &str,
        redelivery: Option<&str>,
    ) -> Vec<u8> {
        let trigger = serde_json::to_string(trigger).expect("a trigger has string keys");
        let event = match event.len() <= MAX_QUEUED_EVENT_BYTES {
            true => event,
            false => "null",
        };
        let redelivery = redelivery.unwrap_or("null");
        format!(
            r#"{{"log_offset":{log_offset},"trigger":{trigger},"event":{event},"redelivery":{redelivery}}}"#
        )
        .into_bytes()
    }

    /// The delivery of `event`, which is the one in the log at its offset.
    pub fn with_event(self, event: ChangeEvent) -> Delivery {
        Delivery {
            log_offset: self.log_offset,
            trigger: self.trigger,
            event,
            redelivery: self.redelivery,
        }
    }
}

/// Why an event stands in the log once more, or without having been in the WAL. Such an entry is an event of its own
/// to dispatch and workers: it has its own offset, and with it its own outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redelivery {
    pub kind: RedeliveryKind,
    /// The operation that asked for it, if one did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operation: Option<u64>,
    /// Names of the only triggers it is for.
    pub triggers: Vec<String>,
    /// Where the event, or the entry that this one follows, stood before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
    /// For what was held back: where it stood when it first was. What a trigger holds goes on in this order.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<u64>,
    /// True: the handler's writes count as new ones. False: those that an earlier attempt made are not made again.
    #[serde(default)]
    pub afresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedeliveryKind {
    /// It was held back, because its trigger was paused or had too many waiting, and goes on now.
    Resume,
    /// Somebody asked for it again.
    Replay,
    /// An existing row, for a trigger that came later than the row.
    Backfill,
}

/// A worker's word to the proxy that waits: this trigger has had its first attempt for that write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The write's own token within the proxy (see [`crate::RequestContext::reply_to`]).
    pub token: u64,
    pub succeeded: bool,
}

/// The key of a delivery's effects: the same in each of its attempts, and another in a replay that runs afresh.
pub fn effect_key(event: EventId, trigger: &str, redelivery: Option<&Redelivery>) -> String {
    match redelivery {
        Some(Redelivery {
            afresh: true,
            operation: Some(operation),
            ..
        }) => format!("{event}:{trigger}#{operation}"),
        _ => format!("{event}:{trigger}"),
    }
}

impl Delivery {
    /// See [`effect_key`].
    pub fn effect_key(&self) -> String {
        let trigger = self.trigger.to_string();
        effect_key(self.event.id, &trigger, self.redelivery.as_ref())
    }

    pub fn id(&self) -> DeliveryId {
        DeliveryId {
            event: self.event.id,
            trigger: self.trigger.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TriggerKind;

    #[test]
    fn a_payload_is_a_delivery_and_that_of_a_large_event_only_names_it() {
        let event = r#"{"v":1,"id":"1-0.1-0","xid":1,"commitTimeUs":1,"schema":"public","table":"Order",
            "operation":"insert","key":{"objectId":"a"},"context":{"source":"sql"}}"#;
        let redelivery = r#"{"kind":"resume","triggers":["afterSave:Order"],"of":3,"held":2}"#;
        let trigger = Trigger::code(TriggerKind::AfterSave, "Order");
        let payload = QueuedDelivery::payload(7, &trigger, event, Some(redelivery));
        let delivery: Delivery = serde_json::from_slice(&payload).unwrap();
        assert_eq!((delivery.log_offset, &delivery.trigger), (7, &trigger));
        assert_eq!(delivery.redelivery.as_ref().unwrap().held, Some(2));
        let queued: QueuedDelivery = serde_json::from_slice(&payload).unwrap();
        let event = queued.event.clone().unwrap();
        assert_eq!(queued.with_event(event), delivery);

        let large = " ".repeat(MAX_QUEUED_EVENT_BYTES + 1);
        let payload = QueuedDelivery::payload(7, &trigger, &large, None);
        let queued: QueuedDelivery = serde_json::from_slice(&payload).unwrap();
        assert_eq!((queued.log_offset, queued.event), (7, None));
    }
}
