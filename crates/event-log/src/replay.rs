//! Replays: which events of the log are delivered once more, and to which triggers.
//!
//! Only what was committed is replayed, and what is a dead letter: an entry that is itself a redelivery is passed over
//! unless it died, so that one event is not delivered twice for having been replayed before. What is still on its way
//! (waiting for its first attempt, for a retry, or held) is passed over too: it is delivered anyway.

use serde::{Deserialize, Serialize};
use tidegate_event::{EventId, Lsn, Operation as Change, Trigger, TriggerKind, TriggerSet};
use tokio_postgres::Transaction;

use crate::operation::{Operation, Progress, Step};
use crate::read::{LogEntry, entry};
use crate::redeliver::{self, Again};
use crate::replay_choice::choose;
use crate::replay_scan::{Scan, count};
use crate::{Error, EventLog};

/// Which events are replayed: those of which each part that is given is true.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Replay {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<EventId>,
    /// Every entry of the event that stands there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<u64>,
    /// A class, or `schema.table`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Names of triggers; empty: all that the event fires in the release that is current at that moment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<String>,
    /// Commit time, ISO 8601; inclusive, as the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_lsn: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_lsn: Option<Lsn>,
    /// What happened to the row; empty: anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Dead letters alone.
    pub dead: bool,
    /// Where the log ended when the replay was asked for: it does not follow what comes later, its own entries included.
    pub end: u64,
}

/// What a replay would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayPlan {
    /// Deliveries, one for each event and trigger.
    pub deliveries: u64,
    /// The first events, at most ten.
    pub first: Vec<Planned>,
}

/// One event of a plan, and the triggers that it would be delivered to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    pub log_offset: u64,
    pub id: EventId,
    pub change: Change,
    pub table: String,
    pub key: Vec<Option<String>>,
    pub triggers: Vec<String>,
}

/// Where the next step goes on.
#[derive(Default, Serialize, Deserialize)]
struct Position {
    after: u64,
    appended: u64,
}

impl Replay {
    /// The after-triggers that it is for, among those of the current release.
    pub fn targets<'a>(&self, triggers: &'a TriggerSet) -> Vec<&'a Trigger> {
        let wanted = |trigger: &&Trigger| {
            trigger.kind.is_after_commit()
                && (self.triggers.is_empty() || self.triggers.contains(&trigger.to_string()))
                && (self.class.as_deref()).is_none_or(|class| same_table(class, &trigger.class))
                && (self.changes.is_empty()
                    || (self.changes.iter())
                        .any(|change| TriggerKind::fired_by(*change) == Some(trigger.kind)))
        };
        triggers.iter().filter(wanted).collect()
    }
}

/// `Order` and `public.Order` are one table.
pub(crate) fn same_table(one: &str, other: &str) -> bool {
    let split = |name: &str| match name.split_once('.') {
        Some((schema, table)) => (schema.to_owned(), table.to_owned()),
        None => ("public".to_owned(), name.to_owned()),
    };
    split(one) == split(other)
}

impl EventLog {
    /// How many events a replay would look at.
    pub async fn count_replay(&self, replay: &Replay, triggers: &TriggerSet) -> Result<u64, Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let scan = Scan::new(&tx, replay, triggers).await?;
        count(&tx, &scan).await
    }

    /// What a replay would deliver, without doing it.
    pub async fn plan_replay(
        &self,
        replay: &Replay,
        triggers: &TriggerSet,
    ) -> Result<ReplayPlan, Error> {
        const SHOWN: usize = 10;
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let scan = Scan::new(&tx, replay, triggers).await?;
        let (mut plan, mut after) = (ReplayPlan::default(), 0);
        while after < replay.end {
            let (entries, next) = scan.next(&tx, after, 1_000).await?;
            after = next;
            for (entry, redeliveries) in choose(&tx, entries, replay, triggers, None).await? {
                let names: Vec<String> = redeliveries
                    .iter()
                    .flat_map(|one| one.triggers.clone())
                    .collect();
                plan.deliveries += names.len() as u64;
                if plan.first.len() < SHOWN && !names.is_empty() {
                    plan.first.push(Planned::of(&entry, names));
                }
            }
        }
        Ok(plan)
    }
}

impl Planned {
    fn of(entry: &LogEntry, triggers: Vec<String>) -> Planned {
        let event = &entry.event;
        Planned {
            log_offset: entry.log_offset,
            id: event.id,
            change: event.operation,
            table: event.class().map_or_else(
                || format!("{}.{}", event.schema, event.table),
                str::to_owned,
            ),
            key: event.key.values().cloned().collect(),
            triggers,
        }
    }
}

/// The next part of a replay. The caller's transaction holds the operation's row.
pub(crate) async fn step(
    tx: &Transaction<'_>,
    operation: &Operation,
    replay: &Replay,
    triggers: &TriggerSet,
    limit: usize,
) -> Result<Progress, Error> {
    if !replay.triggers.is_empty() && replay.targets(triggers).is_empty() {
        let reason = format!(
            "the current release registers none of {}",
            replay.triggers.join(", ")
        );
        return Err(Error::Operation { reason });
    }
    let position = operation.position.as_deref();
    let mut position: Position = position
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let scan = Scan::new(tx, replay, triggers).await?;
    let (entries, after) = scan.next(tx, position.after, limit).await?;
    let seen = entries.len() as u64;
    let mut again = Vec::new();
    for (entry, redeliveries) in choose(tx, entries, replay, triggers, Some(operation.id)).await? {
        for redelivery in redeliveries {
            let event = entry.event.clone();
            again.push(Again { event, redelivery });
        }
    }
    position.after = after;
    position.appended += again.len() as u64;
    let step = if again.is_empty() {
        Step::Passed { seen }
    } else {
        let deliveries = again
            .iter()
            .map(|one| one.redelivery.triggers.len() as u64)
            .sum();
        let (first, last) = redeliver::append(tx, again).await?;
        Step::Appended {
            seen,
            first,
            last,
            deliveries,
        }
    };
    Ok(Progress {
        step,
        position: serde_json::to_string(&position).expect("a position is two numbers"),
        is_done: after >= replay.end,
    })
}

/// Entries from rows of `log_offset, body, redelivery`.
pub(crate) fn entries(rows: &[tokio_postgres::Row]) -> Result<Vec<LogEntry>, Error> {
    rows.iter().map(entry).collect()
}
