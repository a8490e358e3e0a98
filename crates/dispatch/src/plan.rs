//! Which deliveries a batch of events makes. Pure.

use std::collections::HashSet;

use tidegate_event::{Delivery, Trigger, TriggerSet};
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
    for LogEntry {
        log_offset,
        event,
        redelivery,
    } in entries
    {
        let mut fired = triggers.matching(&event);
        if let Some(redelivery) = &redelivery {
            fired.retain(|(trigger, _)| redelivery.triggers.contains(&trigger.to_string()));
        }
        let Some((first, _)) = fired.first() else {
            continue;
        };
        plan.owed.push((log_offset, fired.len() as u32));
        let order_key = event.order_key();
        // A table without a primary key has no objects to keep in order.
        let keyless = event.key.is_empty();
        let mut delivery = Delivery {
            log_offset,
            trigger: Trigger::clone(first),
            event,
            redelivery,
        };
        for (position, (trigger, policy)) in (0u16..).zip(fired) {
            if settled.contains(&(log_offset, trigger.to_string())) {
                continue;
            }
            delivery.trigger = trigger.clone();
            let payload =
                serde_json::to_vec(&delivery).expect("a delivery is maps with string keys");
            plan.deliveries.push(tidegate_queue::Delivery {
                log_offset,
                position,
                order_key: order_key.clone(),
                unordered: keyless || policy.unordered,
                payload: payload.into(),
            });
        }
    }
    plan
}
