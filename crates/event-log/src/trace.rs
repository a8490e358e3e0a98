//! A row's whole chain: from the request that began it down to the last thing that a handler wrote.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use tidegate_event::{Delivery, EventId, Redelivery, RequestContext, Source, Trigger, TriggerSet};

use crate::inspect::{DeliveryLine, EventLine};
use crate::replay::entries;
use crate::{Error, EventLog, LogEntry};

/// A chain longer than this is cut, and says so.
const MAX_EVENTS: usize = 1_000;

/// A chain, from its root.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Whose request began it.
    pub request: Origin,
    pub root: TracedEvent,
    /// The event that was asked for.
    pub asked: EventId,
    /// Id of the event that caused the root and is not in the log any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_parent: Option<EventId>,
    /// True when there is more than is shown.
    pub is_cut: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    pub source: Source,
    pub request_id: Option<String>,
    pub user: Option<String>,
    pub master: bool,
    pub trace_id: Option<String>,
    pub release: Option<String>,
}

/// An event, what was delivered of it, and what that led to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracedEvent {
    #[serde(flatten)]
    pub event: EventLine,
    pub depth: u32,
    pub runs: Vec<TracedRun>,
    /// Caused by this event, by a delivery that is not known any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<TracedEvent>,
}

/// One delivery, and what its handler wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracedRun {
    pub log_offset: u64,
    #[serde(flatten)]
    pub delivery: DeliveryLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redelivery: Option<Redelivery>,
    pub events: Vec<TracedEvent>,
    /// Writes of which no event came: their tables are not captured.
    pub effects: Vec<TracedEffect>,
}

/// One recorded write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracedEffect {
    /// Among the attempt's writes.
    pub position: String,
    pub kind: String,
    pub class: String,
    pub object_id: Option<String>,
}

/// Everything that belongs to a chain, before it is put together.
#[derive(Default)]
struct Parts {
    /// By id; the first of each is where it was first put into the log.
    entries: BTreeMap<EventId, Vec<LogEntry>>,
    children: HashMap<EventId, Vec<EventId>>,
    lines: HashMap<u64, EventLine>,
    effects: HashMap<String, Vec<TracedEffect>>,
}

impl EventLog {
    /// The chain that an event belongs to; None when the log does not have the event.
    pub async fn trace(
        &self,
        asked: EventId,
        triggers: &TriggerSet,
    ) -> Result<Option<Trace>, Error> {
        let Some((root, context, lost_parent)) = self.root_of(asked).await? else {
            return Ok(None);
        };
        let (mut parts, is_cut) = self.parts(root).await?;
        let all: Vec<LogEntry> = parts.entries.values().flatten().cloned().collect();
        let causes = causes(&all, triggers);
        for line in self.lines(all, triggers).await? {
            parts.lines.insert(line.log_offset, line);
        }
        parts.effects = self.ledger_of(&causes).await?;
        Ok(Some(Trace {
            request: Origin {
                source: context.source,
                request_id: context.request_id,
                user: context.user,
                master: context.master,
                trace_id: context.trace_id,
                release: context.release,
            },
            root: parts.event(root),
            asked,
            lost_parent,
            is_cut,
        }))
    }

    /// Follows parents up: the root, its context, and its parent if that is not in the log any more.
    async fn root_of(
        &self,
        asked: EventId,
    ) -> Result<Option<(EventId, RequestContext, Option<EventId>)>, Error> {
        let (mut at, mut found) = (asked, None);
        let mut seen = HashSet::new();
        while seen.insert(at) {
            let Some(entry) = self.entries_of(&[at]).await?.into_iter().next() else {
                return Ok(found.map(|(id, context)| (id, context, Some(at))));
            };
            let context = entry.event.context;
            let parent = context.parent;
            found = Some((at, context));
            match parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
        Ok(found.map(|(id, context)| (id, context, None)))
    }

    /// The root and what it led to, level by level.
    async fn parts(&self, root: EventId) -> Result<(Parts, bool), Error> {
        let mut parts = Parts::default();
        let mut level = vec![root];
        while !level.is_empty() {
            for entry in self.entries_of(&level).await? {
                parts.entries.entry(entry.event.id).or_default().push(entry);
            }
            let room = MAX_EVENTS.saturating_sub(parts.entries.len());
            let children = self.caused_by(&level, room + 1).await?;
            let is_cut = children.len() > room;
            level.clear();
            for (parent, child) in children.into_iter().take(room) {
                if !parts.entries.contains_key(&child) {
                    level.push(child);
                    parts.children.entry(parent).or_default().push(child);
                }
            }
            if is_cut {
                for entry in self.entries_of(&level).await? {
                    parts.entries.entry(entry.event.id).or_default().push(entry);
                }
                return Ok((parts, true));
            }
        }
        Ok((parts, false))
    }

    /// (parent, child) for the changes that handlers of these events made, in log order.
    async fn caused_by(
        &self,
        parents: &[EventId],
        limit: usize,
    ) -> Result<Vec<(EventId, EventId)>, Error> {
        let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
        let client = self.client().await?;
        let rows = client
            .query(
                "select log_offset, body, redelivery from tidegate.event
                  where parent = any($1) and redelivery is null order by log_offset limit $2",
                &[&parents, &(limit as i64)],
            )
            .await?;
        let pair = |entry: LogEntry| Some((entry.event.context.parent?, entry.event.id));
        Ok(entries(&rows)?.into_iter().filter_map(pair).collect())
    }

    async fn ledger_of(
        &self,
        causes: &[String],
    ) -> Result<HashMap<String, Vec<TracedEffect>>, Error> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select cause, position, kind, class, object_id from tidegate.effect
                  where cause = any($1) order by cause, recorded_at, position",
                &[&causes],
            )
            .await?;
        let mut effects: HashMap<String, Vec<TracedEffect>> = HashMap::new();
        for row in rows {
            let effect = TracedEffect {
                position: row.get(1),
                kind: row.get(2),
                class: row.get(3),
                object_id: row.get(4),
            };
            effects.entry(row.get(0)).or_default().push(effect);
        }
        Ok(effects)
    }
}

/// The names by which the ledger may know what these entries' handlers wrote.
fn causes(entries: &[LogEntry], triggers: &TriggerSet) -> Vec<String> {
    let mut causes = HashSet::new();
    for entry in entries {
        for (trigger, _) in triggers.matching(&entry.event) {
            causes.insert(effect_key(entry, trigger));
        }
    }
    causes.into_iter().collect()
}

fn effect_key(entry: &LogEntry, trigger: &Trigger) -> String {
    let delivery = Delivery {
        log_offset: entry.log_offset,
        trigger: trigger.clone(),
        event: entry.event.clone(),
        redelivery: entry.redelivery.clone(),
    };
    delivery.effect_key()
}

impl Parts {
    fn event(&self, id: EventId) -> TracedEvent {
        let entries = self.entries.get(&id).map_or(&[][..], Vec::as_slice);
        let mut children: Vec<EventId> = self.children.get(&id).cloned().unwrap_or_default();
        let mut runs: Vec<TracedRun> = Vec::new();
        // The last delivery first: a child belongs to the last run of its trigger that stands before it in the log.
        for entry in entries.iter().rev() {
            let Some(line) = self.lines.get(&entry.log_offset) else {
                continue;
            };
            for delivery in line.deliveries.iter().rev() {
                runs.push(self.run(entry, delivery, &mut children));
            }
        }
        runs.reverse();
        let first = entries
            .first()
            .expect("an event of the chain was read from the log");
        let mut event = self.lines[&first.log_offset].clone();
        // They are among the runs.
        event.deliveries.clear();
        TracedEvent {
            event,
            depth: first.event.context.depth,
            runs,
            others: children
                .into_iter()
                .map(|child| self.event(child))
                .collect(),
        }
    }

    /// Takes the run's own out of `children`.
    fn run(
        &self,
        entry: &LogEntry,
        delivery: &DeliveryLine,
        children: &mut Vec<EventId>,
    ) -> TracedRun {
        let by = format!("{} {}", delivery.trigger, entry.event.id);
        let is_own = |child: &EventId| {
            let child = &self.entries[child][0];
            child.log_offset > entry.log_offset && child.event.context.chain.last() == Some(&by)
        };
        let (own, others): (Vec<EventId>, Vec<EventId>) = children.drain(..).partition(is_own);
        *children = others;
        let events: Vec<TracedEvent> = own.into_iter().map(|child| self.event(child)).collect();
        let key = (delivery.trigger.parse().ok()).map(|trigger| effect_key(entry, &trigger));
        let mut effects = key
            .and_then(|key| self.effects.get(&key).cloned())
            .unwrap_or_default();
        // A held or moved delivery wrote nothing; the entry that carries it on says what was written.
        if matches!(delivery.status.as_str(), "held" | "moved" | "waiting")
            && delivery.attempts == 0
        {
            effects.clear();
        }
        effects.retain(|effect| {
            !events.iter().any(|child| {
                child.event.table == effect.class
                    && child.event.key.first().cloned().flatten() == effect.object_id
            })
        });
        TracedRun {
            log_offset: entry.log_offset,
            delivery: delivery.clone(),
            redelivery: entry.redelivery.clone(),
            events,
            effects,
        }
    }
}
