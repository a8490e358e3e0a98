//! What travels through the queue: one event for one trigger.

use serde::{Deserialize, Serialize};

use crate::{ChangeEvent, DeliveryId, Trigger};

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

impl Delivery {
    /// The key of this delivery's effects: the same in each of its attempts, and another in a replay that runs afresh.
    pub fn effect_key(&self) -> String {
        let id = self.id();
        match &self.redelivery {
            Some(Redelivery {
                afresh: true,
                operation: Some(operation),
                ..
            }) => format!("{id}#{operation}"),
            _ => id.to_string(),
        }
    }

    pub fn id(&self) -> DeliveryId {
        DeliveryId {
            event: self.event.id,
            trigger: self.trigger.to_string(),
        }
    }
}
