//! Which deliveries a batch of events makes. Pure.

use std::collections::HashSet;

use tidegate_event::{Delivery, TriggerSet};
use tidegate_event_log::LogEntry;

/// A batch's deliveries for the queue, and how many each event still owes.
#[derive(Default)]
pub(crate) struct Plan {
    pub deliveries: Vec<tidegate_queue::Delivery>,
    /// (log offset, deliveries it fires), for events that fire any; settled ones count too.
    pub owed: Vec<(u64, u32)>,
}

/// `settled`: deliveries that already have a final outcome and are not queued again.
pub(crate) fn plan(
    entries: Vec<LogEntry>,
    triggers: &TriggerSet,
    settled: &HashSet<(u64, String)>,
) -> Plan {
    let mut plan = Plan::default();
    for LogEntry { log_offset, event } in entries {
        let fired = triggers.matching(&event);
        if fired.is_empty() {
            continue;
        }
        plan.owed.push((log_offset, fired.len() as u32));
        let order_key = event.order_key();
        // A table without a primary key has no objects to keep in order.
        let unordered = event.key.is_empty();
        let mut delivery = Delivery {
            log_offset,
            trigger: fired[0].clone(),
            event,
        };
        for (position, trigger) in (0u16..).zip(fired) {
            if settled.contains(&(log_offset, trigger.to_string())) {
                continue;
            }
            delivery.trigger = trigger;
            let payload =
                serde_json::to_vec(&delivery).expect("a delivery is maps with string keys");
            plan.deliveries.push(tidegate_queue::Delivery {
                log_offset,
                position,
                order_key: order_key.clone(),
                unordered,
                payload: payload.into(),
            });
        }
    }
    plan
}
