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
}

/// A worker's word to the proxy that waits: this trigger has had its first attempt for that write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The write's own token within the proxy (see [`crate::RequestContext::reply_to`]).
    pub token: u64,
    pub succeeded: bool,
}

impl Delivery {
    pub fn id(&self) -> DeliveryId {
        DeliveryId {
            event: self.event.id,
            trigger: self.trigger.to_string(),
        }
    }
}
