//! Which deliveries of an event a replay makes again, by what became of them before.

use std::collections::{HashMap, HashSet};

use tidegate_event::{EventId, Redelivery, RedeliveryKind, Trigger, TriggerSet};
use tokio_postgres::Transaction;

use crate::outcome::Status;
use crate::replay::Replay;
use crate::{Error, LogEntry};

/// The redeliveries of each entry. With `operation`, outcomes that are replayed instead of their former selves are
/// marked as moved, and those that somebody else has moved meanwhile are left out.
pub(crate) async fn choose(
    tx: &Transaction<'_>,
    entries: Vec<LogEntry>,
    replay: &Replay,
    triggers: &TriggerSet,
    operation: Option<u64>,
) -> Result<Vec<(LogEntry, Vec<Redelivery>)>, Error> {
    let targets: HashSet<&Trigger> = replay.targets(triggers).into_iter().collect();
    let outcomes = Outcomes::of(tx, &entries).await?;
    let mut decided = Vec::new();
    for entry in entries {
        let (mut dead, mut afresh) = (Vec::new(), Vec::new());
        for (trigger, _) in triggers.matching(&entry.event) {
            let name = trigger.to_string();
            match outcomes.decision(&entry, &name, replay.dead) {
                Decision::Revive if targets.contains(trigger) => dead.push(name),
                Decision::Afresh if targets.contains(trigger) => afresh.push(name),
                _ => {}
            }
        }
        if operation.is_some() && !dead.is_empty() {
            dead = revive(tx, entry.log_offset, &dead).await?;
        }
        let mut redeliveries = Vec::new();
        if !dead.is_empty() {
            redeliveries.push(continued(&entry, dead, operation));
        }
        if !afresh.is_empty() {
            redeliveries.push(Redelivery {
                kind: RedeliveryKind::Replay,
                operation,
                triggers: afresh,
                of: Some(entry.log_offset),
                held: None,
                afresh: true,
            });
        }
        if !redeliveries.is_empty() {
            decided.push((entry, redeliveries));
        }
    }
    Ok(decided)
}

/// A dead letter goes on: what its attempts wrote is not written again. One that was a replay itself keeps that
/// replay's number, by which its effects are known.
fn continued(entry: &LogEntry, triggers: Vec<String>, operation: Option<u64>) -> Redelivery {
    let former = entry.redelivery.as_ref().filter(|former| former.afresh);
    Redelivery {
        kind: RedeliveryKind::Replay,
        operation: former.map_or(operation, |former| former.operation),
        triggers,
        of: Some(entry.log_offset),
        held: None,
        afresh: former.is_some(),
    }
}

/// Marks dead outcomes as moved; returns the triggers whose outcome was.
async fn revive(
    tx: &Transaction<'_>,
    log_offset: u64,
    triggers: &[String],
) -> Result<Vec<String>, Error> {
    let rows = tx
        .query(
            "update tidegate.outcome set status = 'moved'
              where log_offset = $1 and trigger = any($2) and status = 'dead' returning trigger",
            &[&(log_offset as i64), &triggers],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing to do, or it will be delivered anyway.
    Pass,
    /// A dead letter: under a new offset, as the same delivery.
    Revive,
    /// As if it had just been committed.
    Afresh,
}

/// What became of the deliveries of a batch of entries.
#[derive(Default)]
struct Outcomes {
    settled: u64,
    by_delivery: HashMap<(u64, String), Status>,
    /// Where a moved delivery came to: the status of the last entry that carries it.
    ends: HashMap<(EventId, String), Option<Status>>,
}

impl Outcomes {
    async fn of(tx: &Transaction<'_>, entries: &[LogEntry]) -> Result<Outcomes, Error> {
        let offsets: Vec<i64> = entries.iter().map(|one| one.log_offset as i64).collect();
        let settled = tx
            .query_one("select settled_offset from tidegate.dispatch", &[])
            .await?;
        let rows = tx
            .query(
                "select log_offset, trigger, status from tidegate.outcome where log_offset = any($1)",
                &[&offsets],
            )
            .await?;
        let mut outcomes = Outcomes {
            settled: settled.get::<_, i64>(0) as u64,
            ..Outcomes::default()
        };
        let mut moved = HashSet::new();
        for row in rows {
            let status = Status::from_stored(row.get(2));
            let log_offset = row.get::<_, i64>(0) as u64;
            if status == Status::Moved {
                moved.insert(log_offset);
            }
            outcomes
                .by_delivery
                .insert((log_offset, row.get(1)), status);
        }
        for moved in entries.iter().filter(|one| moved.contains(&one.log_offset)) {
            outcomes.follow(tx, moved.event.id).await?;
        }
        Ok(outcomes)
    }

    async fn follow(&mut self, tx: &Transaction<'_>, id: EventId) -> Result<(), Error> {
        let rows = tx
            .query(
                "select e.log_offset, e.redelivery, o.trigger, o.status
                   from tidegate.event e left join tidegate.outcome o on o.log_offset = e.log_offset
                  where e.commit_lsn = $1 and e.epoch = $2 and e.ordinal = $3 and e.redelivery is not null
                  order by e.log_offset",
                &[
                    &crate::append::pg_lsn(id.commit_lsn),
                    &(id.epoch as i32),
                    &(id.ordinal as i32),
                ],
            )
            .await?;
        let mut entry = 0;
        for row in rows {
            let log_offset = row.get::<_, i64>(0) as u64;
            let decode = |source| Error::Decode { log_offset, source };
            let redelivery: Redelivery = serde_json::from_str(row.get(1)).map_err(decode)?;
            let (trigger, status): (Option<&str>, Option<&str>) = (row.get(2), row.get(3));
            let is_first = log_offset != entry;
            entry = log_offset;
            for name in redelivery.triggers {
                if trigger == Some(&name) {
                    self.ends
                        .insert((id, name), status.map(Status::from_stored));
                } else if is_first {
                    self.ends.insert((id, name), None);
                }
            }
        }
        Ok(())
    }

    fn decision(&self, entry: &LogEntry, trigger: &str, dead_only: bool) -> Decision {
        let key = (entry.log_offset, trigger.to_owned());
        let status = self.by_delivery.get(&key).copied();
        if status == Some(Status::Dead) {
            return Decision::Revive;
        }
        if dead_only || entry.redelivery.is_some() {
            return Decision::Pass;
        }
        match status {
            Some(Status::Done) => Decision::Afresh,
            Some(Status::Moved) => match self.ends.get(&(entry.event.id, key.1)) {
                Some(Some(Status::Done)) => Decision::Afresh,
                // The entry that carries it now says what becomes of it.
                _ => Decision::Pass,
            },
            Some(_) => Decision::Pass,
            // Settled without an outcome: the trigger is newer than the event.
            None if entry.log_offset <= self.settled => Decision::Afresh,
            None => Decision::Pass,
        }
    }
}
