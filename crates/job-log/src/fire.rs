//! Fires: a due time of a schedule becomes a run.
//!
//! ```text
//! plan ─▶ hold its schedule, unless changed since ─▶ fire (unique) ─▶ overlap policy ─▶ run ─▶ next due time
//! ```
//!
//! Invariant: of one schedule and due time there is one fire, because they are its primary key, and the run is made in the
//! transaction that makes the fire. However many schedulers there are, and whenever one is killed.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{GenericClient, Transaction};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidegate_job::{RunId, StartOptions, WorkflowId};
use tidegate_schedule::{Decision, Overlap, Unfinished};
use tokio_postgres::Row;

use crate::fire_runs::carry_out;
use crate::fire_state::{Known, Open, known_targets, open_of};
use crate::schedule::Target;
use crate::text::{from_postgres, run_id, to_postgres};
use crate::{Error, JobLog};

/// What a scheduler has decided about one schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    pub schedule: i64,
    /// As they were read: a plan for a schedule that was changed or handled since does nothing.
    pub version: i64,
    pub seen: Option<Timestamp>,
    /// In order.
    pub fires: Vec<Due>,
    /// Due times that are passed over.
    pub missed: Option<Missed>,
    /// All due times up to here are decided.
    pub handled: Timestamp,
    pub next_due: Option<Timestamp>,
    pub overlap: Overlap,
    pub target: Target,
    pub params: Map<String, Value>,
    /// Retries and priority.
    pub options: StartOptions,
}

/// One due time that is to be fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Timestamp,
    /// The due time and its jitter.
    pub run_at: Timestamp,
}

/// A row of due times that nothing is made of; the last stands in the history for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u64,
}

/// What became of plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    pub started: u64,
    /// Made, and waiting for the end of an earlier one.
    pub queued: u64,
    /// For the overlap policy, or because it cannot be started.
    pub skipped: u64,
    /// Due times that were passed over.
    pub missed: u64,
    /// Schedules whose plan was out of date.
    pub stale: u64,
}

/// What a fire started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Made {
    Run(RunId),
    Workflow(WorkflowId),
}

/// One due time as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fire {
    pub due_at: Timestamp,
    pub fired_at: Timestamp,
    /// `started`, `queued`, `skipped` or `missed`
    pub result: String,
    /// `{ reason }` of a skipped one; `{ first, count }` of missed ones.
    pub detail: Value,
    pub made: Option<Made>,
    /// Of what it made; None: nothing, or it has been deleted.
    pub state: Option<String>,
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// From the due time to the start.
    pub lateness_seconds: f64,
}

const COLUMNS: &str = "due_at, fired_at, result, detail, run_id, workflow_id, state, error, started_at, finished_at, \
    lateness_s";

/// One due time with what is to become of it.
pub(crate) struct Verdict<'a> {
    pub plan: &'a Plan,
    pub due: Due,
    pub decision: Decision,
    pub reason: Option<String>,
}

impl JobLog {
    /// Carries out what was decided about schedules, each at most once, in one transaction.
    pub async fn fire(&self, plans: &[Plan]) -> Result<Fired, Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let current = hold_schedules(&tx, plans).await?;
        let valid: Vec<&Plan> = plans
            .iter()
            .filter(|plan| current.contains(&plan.schedule))
            .collect();
        let mut fired = Fired {
            stale: (plans.len() - valid.len()) as u64,
            ..Fired::default()
        };
        let known = known_targets(&tx, &valid).await?;
        let open = open_of(&tx, &valid).await?;
        let new = insert_fires(&tx, &valid).await?;
        let verdicts = decide(&valid, &new, &known, &open);
        carry_out(&tx, &verdicts, &known, &open, &mut fired).await?;
        record_missed(&tx, &valid, &mut fired).await?;
        move_on(&tx, &valid).await?;
        tx.commit().await?;
        Ok(fired)
    }

    /// Fires a schedule now, paused or not and whatever runs; its own times stay as they are.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Made, Error> {
        let schedule = self.schedule(name).await?;
        let options = tidegate_schedule::Options::read(&schedule.options).map_err(|error| {
            Error::Invalid {
                reason: error.to_string(),
            }
        })?;
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let row = tx.query_one("select clock_timestamp()", &[]).await?;
        let now = from_postgres(row.get(0));
        let plan = Plan {
            schedule: schedule.id,
            version: schedule.version,
            seen: schedule.handled_at,
            fires: vec![Due {
                at: now,
                run_at: now,
            }],
            missed: None,
            handled: now,
            next_due: schedule.next_due,
            overlap: Overlap::Allow,
            target: schedule.target,
            params: options.params.unwrap_or_default(),
            options: StartOptions {
                retries: options.retries,
                priority: options.priority,
                ..StartOptions::default()
            },
        };
        let known = known_targets(&tx, &[&plan]).await?;
        let new = insert_fires(&tx, &[&plan]).await?;
        let verdicts = decide(&[&plan], &new, &known, &BTreeMap::new());
        if let Some(reason) = verdicts.iter().find_map(|verdict| verdict.reason.clone()) {
            return Err(Error::Invalid { reason });
        }
        let made = carry_out(
            &tx,
            &verdicts,
            &known,
            &BTreeMap::new(),
            &mut Fired::default(),
        )
        .await?;
        tx.commit().await?;
        made.first().copied().ok_or(Error::Unavailable {
            source: "another trigger at the same microsecond".into(),
        })
    }

    /// What became of a schedule's due times, the latest first, at most `limit`. `before`: the last of the page before.
    pub async fn fires(
        &self,
        name: &str,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<Fire>, Error> {
        let schedule = self.schedule(name).await?;
        let client = self.client().await?;
        let rows = client
            .query(
                &format!(
                    "select {COLUMNS} from tidegate.fire_history
                      where schedule_id = $1 and due_at < coalesce($2::timestamptz, 'infinity') order by due_at desc limit $3"
                ),
                &[&schedule.id, &before.map(to_postgres), &i64::from(limit)],
            )
            .await?;
        rows.iter().map(fire).collect()
    }

    /// The latest fire of each of these schedules that has one, by the schedule's id.
    pub async fn last_fires(&self, schedules: &[i64]) -> Result<BTreeMap<i64, Fire>, Error> {
        let client = self.client().await?;
        let query = format!(
            "select {COLUMNS}, given.id from unnest($1::bigint[]) as given (id)
              cross join lateral (select * from tidegate.fire_history where schedule_id = given.id
                                   order by due_at desc limit 1) as last"
        );
        let rows = client.query(&query, &[&schedules]).await?;
        rows.iter()
            .map(|row| Ok((row.get(11), fire(row)?)))
            .collect()
    }
}

/// Holds the schedules that are still as they were planned for.
async fn hold_schedules(tx: &Transaction<'_>, plans: &[Plan]) -> Result<BTreeSet<i64>, Error> {
    let ids: Vec<i64> = plans.iter().map(|plan| plan.schedule).collect();
    let statement = tx
        .prepare_cached(
            "select id, version, handled_at from tidegate.schedule
              where id = any($1) and paused_at is null and deleted_at is null order by id for no key update",
        )
        .await?;
    let rows = tx.query(&statement, &[&ids]).await?;
    let as_read: BTreeMap<i64, (i64, Option<Timestamp>)> = rows
        .iter()
        .map(|row| {
            let handled = row.get::<_, Option<_>>(2).map(from_postgres);
            (row.get(0), (row.get(1), handled))
        })
        .collect();
    let is_current = |plan: &&Plan| as_read.get(&plan.schedule) == Some(&(plan.version, plan.seen));
    Ok(plans
        .iter()
        .filter(is_current)
        .map(|plan| plan.schedule)
        .collect())
}

/// Makes the fires, and returns those that nobody had made before.
async fn insert_fires(
    tx: &Transaction<'_>,
    plans: &[&Plan],
) -> Result<BTreeSet<(i64, Timestamp)>, Error> {
    let fires = || {
        plans
            .iter()
            .flat_map(|plan| plan.fires.iter().map(|due| (plan.schedule, due.at)))
    };
    let ids: Vec<i64> = fires().map(|(id, _)| id).collect();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let times: Vec<_> = fires().map(|(_, at)| to_postgres(at)).collect();
    let statement = tx
        .prepare_cached(
            "insert into tidegate.fire (schedule_id, due_at, result)
             select id, due_at, 'started' from unnest($1::bigint[], $2::timestamptz[]) as given (id, due_at)
             on conflict do nothing returning schedule_id, due_at",
        )
        .await?;
    let rows = tx.query(&statement, &[&ids, &times]).await?;
    let new = |row: &Row| (row.get(0), from_postgres(row.get(1)));
    Ok(rows.iter().map(new).collect())
}

/// What is to become of each new fire, one after the other: each counts for the next.
fn decide<'a>(
    plans: &[&'a Plan],
    new: &BTreeSet<(i64, Timestamp)>,
    known: &Known,
    open: &BTreeMap<i64, Open>,
) -> Vec<Verdict<'a>> {
    let mut verdicts = Vec::new();
    for plan in plans {
        let mut counts = open
            .get(&plan.schedule)
            .map_or(Unfinished::default(), |open| open.counts);
        let is_new = |due: &&Due| new.contains(&(plan.schedule, due.at));
        let dues: Vec<&Due> = plan.fires.iter().filter(is_new).collect();
        if dues.is_empty() {
            continue;
        }
        let refusal = known.refusal(plan);
        for (at, due) in dues.iter().enumerate() {
            // The last of several replaces those before it, which then need not begin at all.
            let is_replaced = plan.overlap == Overlap::Cancel && at + 1 < dues.len();
            let (decision, reason) = match (&refusal, is_replaced) {
                (Some(reason), _) => (Decision::Skip, Some(reason.clone())),
                (None, true) => (
                    Decision::Skip,
                    Some("a later one takes its place".to_owned()),
                ),
                (None, false) => (
                    tidegate_schedule::overlap::decide(plan.overlap, counts),
                    None,
                ),
            };
            match decision {
                Decision::Start | Decision::CancelOldAndStart => counts.running += 1,
                Decision::Queue => counts.queued += 1,
                Decision::Skip => {}
            }
            verdicts.push(Verdict {
                plan,
                due: **due,
                decision,
                reason,
            });
        }
    }
    verdicts
}

/// One row for all due times that are passed over.
async fn record_missed(
    tx: &Transaction<'_>,
    plans: &[&Plan],
    fired: &mut Fired,
) -> Result<(), Error> {
    let missed = plans
        .iter()
        .filter_map(|plan| Some((plan.schedule, plan.missed?)));
    for (schedule, missed) in missed {
        let detail =
            json!({ "first": missed.first.to_string(), "count": missed.count }).to_string();
        tx.execute(
            "insert into tidegate.fire (schedule_id, due_at, result, detail) values ($1, $2, 'missed', $3)
             on conflict do nothing",
            &[&schedule, &to_postgres(missed.last), &detail],
        )
        .await?;
        fired.missed += missed.count;
    }
    Ok(())
}

/// Sets what is decided, and when to look next.
async fn move_on(tx: &Transaction<'_>, plans: &[&Plan]) -> Result<(), Error> {
    let ids: Vec<i64> = plans.iter().map(|plan| plan.schedule).collect();
    let handled: Vec<_> = plans.iter().map(|plan| to_postgres(plan.handled)).collect();
    let next: Vec<_> = plans
        .iter()
        .map(|plan| plan.next_due.map(to_postgres))
        .collect();
    let statement = tx
        .prepare_cached(
            "update tidegate.schedule set handled_at = given.handled, next_due = given.next
               from unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[]) as given (id, handled, next)
              where schedule.id = given.id",
        )
        .await?;
    tx.execute(&statement, &[&ids, &handled, &next]).await?;
    Ok(())
}

fn fire(row: &Row) -> Result<Fire, Error> {
    let time = |column| row.get::<_, Option<_>>(column).map(from_postgres);
    let run = row.get::<_, Option<i64>>(4).map(|id| Made::Run(run_id(id)));
    let workflow = row
        .get::<_, Option<i64>>(5)
        .map(|id| Made::Workflow(WorkflowId(id as u64)));
    let lateness: Option<f64> = row.get(10);
    Ok(Fire {
        due_at: from_postgres(row.get(0)),
        fired_at: from_postgres(row.get(1)),
        result: row.get(2),
        detail: crate::text::json(|| "a fire".to_owned(), row.get(3))?,
        made: run.or(workflow),
        state: row.get(6),
        error: row.get(7),
        started_at: time(8),
        finished_at: time(9),
        lateness_seconds: lateness.unwrap_or_default(),
    })
}
