//! Which deliveries a batch of events makes. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tidegate_event::{Head, Policy, QueuedDelivery, Redelivery, Trigger, TriggerSet};
use tidegate_event_log::StoredEntry;
use tidegate_queue::Limit;

use crate::Error;

/// The triggers of a release, numbered in a fixed order.
#[derive(Default)]
pub(crate) struct Triggers {
    set: TriggerSet,
    list: Vec<Trigger>,
    names: Vec<String>,
    numbers: HashMap<Trigger, u16>,
    /// What a queue is filled by: names, and which of them are limited.
    pub marks: Vec<String>,
}

/// One event for one trigger, not yet queued or held.
pub(crate) struct Candidate {
    pub log_offset: u64,
    /// Among the event's deliveries.
    pub position: u16,
    /// Its number.
    pub trigger: u16,
    pub order_key: String,
    /// Hash of the order key; None: it keeps no order.
    pub key: Option<i64>,
    /// Where it stood when it first was held; None for one that never was.
    pub held: Option<u64>,
    /// Index of the event in its batch.
    entry: usize,
}

/// Events that were read, and those of their deliveries that are neither queued nor held yet.
#[derive(Default)]
pub(crate) struct Batch {
    entries: Vec<StoredEntry>,
    candidates: Vec<Candidate>,
    /// The first candidate that is still to be decided about.
    pub next: usize,
    /// Offset of the last event.
    pub last: u64,
}

impl Triggers {
    pub fn of(set: &TriggerSet) -> Triggers {
        let names: Vec<String> = set.iter().map(ToString::to_string).collect();
        // A limit moves a trigger's deliveries to another lane. The mark is the name of no outcome.
        let limited = set
            .iter()
            .filter(|trigger| set.policy(trigger).is_limited());
        let limited = limited.map(|trigger| format!("{trigger} limited"));
        Triggers {
            marks: names.iter().cloned().chain(limited).collect(),
            numbers: set.iter().cloned().zip(0..).collect(),
            list: set.iter().cloned().collect(),
            names,
            set: set.clone(),
        }
    }

    pub fn is_of(&self, set: &TriggerSet) -> bool {
        self.set == *set
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn name(&self, number: u16) -> &str {
        &self.names[usize::from(number)]
    }

    pub fn number(&self, name: &str) -> Option<u16> {
        self.names
            .iter()
            .position(|one| one == name)
            .map(|number| number as u16)
    }
}

impl Batch {
    /// `finished`: deliveries that have a final outcome already, and are neither queued nor held again.
    ///
    /// # Errors
    /// A stored event that cannot be read.
    pub fn of(
        entries: Vec<StoredEntry>,
        triggers: &Triggers,
        finished: &HashSet<(u64, String)>,
    ) -> Result<Batch, Error> {
        let mut batch = Batch {
            last: entries.last().map_or(0, |entry| entry.log_offset),
            ..Batch::default()
        };
        for (index, entry) in entries.iter().enumerate() {
            add_candidates(&mut batch.candidates, index, entry, triggers)
                .map_err(|source| undecodable(entry, source))?;
        }
        if !finished.is_empty() {
            batch.candidates.retain(|candidate| {
                let name = triggers.name(candidate.trigger).to_owned();
                !finished.contains(&(candidate.log_offset, name))
            });
        }
        batch.entries = entries;
        Ok(batch)
    }

    /// What is still to be decided about, in order.
    pub fn rest(&self) -> &[Candidate] {
        &self.candidates[self.next..]
    }

    /// Everything up to here is decided about.
    pub fn cursor(&self) -> u64 {
        self.rest()
            .first()
            .map_or(self.last, |candidate| candidate.log_offset - 1)
    }

    /// The form of a delivery for the queue. The event is neither decoded nor encoded.
    pub fn delivery(&self, candidate: &Candidate, triggers: &Triggers) -> tidegate_queue::Delivery {
        let StoredEntry {
            log_offset,
            body,
            redelivery,
        } = &self.entries[candidate.entry];
        let trigger = &triggers.list[usize::from(candidate.trigger)];
        let payload = QueuedDelivery::payload(*log_offset, trigger, body, redelivery.as_deref());
        tidegate_queue::Delivery {
            log_offset: *log_offset,
            position: candidate.position,
            order_key: candidate.order_key.clone(),
            unordered: candidate.key.is_none(),
            limit: limit(trigger, &triggers.set.policy(trigger)),
            payload: payload.into(),
        }
    }
}

fn undecodable(entry: &StoredEntry, source: serde_json::Error) -> Error {
    let log_offset = entry.log_offset;
    tidegate_event_log::Error::Decode { log_offset, source }.into()
}

fn add_candidates(
    candidates: &mut Vec<Candidate>,
    entry: usize,
    stored: &StoredEntry,
    triggers: &Triggers,
) -> Result<(), serde_json::Error> {
    let head = Head::of(&stored.body)?;
    let mut fired = triggers
        .set
        .fired(head.operation, &head.schema, &head.table);
    let redelivery: Option<Redelivery> = match &stored.redelivery {
        Some(text) => Some(serde_json::from_str(text)?),
        None => None,
    };
    if let Some(redelivery) = &redelivery {
        fired.retain(|(trigger, _)| redelivery.triggers.contains(&trigger.to_string()));
    }
    if fired.is_empty() {
        return Ok(());
    }
    let object = head.order_key();
    // A table without a primary key has no objects to keep in order.
    let keyless = head.key.is_empty();
    for (position, (trigger, policy)) in (0u16..).zip(fired) {
        let order_key = order_key_of(trigger, &object);
        candidates.push(Candidate {
            log_offset: stored.log_offset,
            position,
            trigger: triggers.numbers[trigger],
            key: (!keyless && !policy.unordered).then(|| hash(&order_key)),
            order_key,
            held: redelivery.as_ref().and_then(|redelivery| redelivery.held),
            entry,
        });
    }
    Ok(())
}

/// A webhook has an order of its own: an endpoint that fails does not park the object's other triggers.
fn order_key_of(trigger: &Trigger, order_key: &str) -> String {
    match &trigger.webhook {
        Some(name) => format!("{name}\u{1f}{order_key}"),
        None => order_key.to_owned(),
    }
}

fn limit(trigger: &Trigger, policy: &Policy) -> Option<Limit> {
    policy.is_limited().then(|| Limit {
        group: trigger.to_string(),
        concurrency: policy.concurrency,
        rate: policy
            .rate
            .map(|rate| (rate.count, Duration::from_millis(rate.per_ms))),
    })
}

/// FNV-1a. Stored with what is held, so it is the same for ever; two keys of one hash are held and go on together.
fn hash(text: &str) -> i64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step) as i64
}
