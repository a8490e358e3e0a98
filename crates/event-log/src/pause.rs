//! Pausing a trigger: what operators decided, and how processes hear of it.
//!
//! A paused trigger's new deliveries are held in the log by dispatch, and those that the queue had already are held by
//! the worker that takes them.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;

use crate::{Error, EventLog};

/// Tells every process that a trigger was paused or resumed.
const CHANNEL: &str = "tidegate_control";

/// How often a process looks by itself: a notification is a hint, not a record.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long workers go on to take a resumed trigger for paused: until dispatch surely knows of even the shortest pause.
/// What it queued without knowing is held, too, and so does not overtake what a worker held before.
const WORKER_DELAY: Duration = Duration::from_secs(1);

/// The same for dispatch: until no worker holds deliveries of it any more.
const DISPATCH_DELAY: Duration = Duration::from_secs(3);

/// What is known of one trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerState {
    /// As `afterSave:Order`.
    pub trigger: String,
    pub is_paused: bool,
    pub paused_by: Option<String>,
    /// Deliveries that wait in the log.
    pub held: u64,
    /// Deliveries whose last attempt failed and that are tried again.
    pub retrying: u64,
    pub dead: u64,
}

impl EventLog {
    /// Pauses a trigger; `by` says who did. One that is paused stays so, and belongs to whoever paused it.
    /// `name`: as `afterSave:Order`; it need not be registered yet.
    pub async fn pause_trigger(&self, name: &str, by: &str) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "with paused as (
                     insert into tidegate.trigger as existing (trigger, paused_at, paused_by)
                     values ($1, clock_timestamp(), $2)
                     on conflict (trigger) do update
                        set paused_at = excluded.paused_at, paused_by = excluded.paused_by
                      where existing.paused_at is null
                     returning trigger)
                 select pg_notify('tidegate_control', trigger) from paused",
                &[&name, &by],
            )
            .await?;
        Ok(())
    }

    /// Lets a paused trigger go on: first with what was held, in order. Does nothing to one that is not paused.
    pub async fn resume_trigger(&self, name: &str) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .execute(
                "with resumed as (
                     update tidegate.trigger
                        set paused_at = null, paused_by = null, resumed_at = clock_timestamp()
                      where trigger = $1 and paused_at is not null returning trigger)
                 select pg_notify('tidegate_control', trigger) from resumed",
                &[&name],
            )
            .await?;
        Ok(())
    }

    /// Every trigger that is paused or has deliveries that are unfinished outside the queue, by name.
    pub async fn trigger_states(&self) -> Result<Vec<TriggerState>, Error> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select trigger, paused.paused_at is not null, paused.paused_by,
                        coalesce(held, 0), coalesce(retrying, 0), coalesce(dead, 0)
                   from (select trigger, paused_at, paused_by from tidegate.trigger
                          where paused_at is not null) as paused
                   full join (select trigger, count(*) filter (where status = 'held') as held,
                                     count(*) filter (where status = 'retry') as retrying,
                                     count(*) filter (where status = 'dead') as dead
                                from tidegate.outcome where status in ('retry', 'dead', 'held')
                               group by trigger) as unfinished using (trigger)
                  order by trigger",
                &[],
            )
            .await?;
        let state = |row: &tokio_postgres::Row| TriggerState {
            trigger: row.get(0),
            is_paused: row.get(1),
            paused_by: row.get(2),
            held: row.get::<_, i64>(3) as u64,
            retrying: row.get::<_, i64>(4) as u64,
            dead: row.get::<_, i64>(5) as u64,
        };
        Ok(rows.iter().map(state).collect())
    }

    /// The triggers of which a worker holds what it takes, as they change, within a second at most: the paused ones, and
    /// those that were resumed just now. A task of its own keeps looking until every receiver is dropped; while
    /// Postgres cannot be reached, what was known last holds.
    pub async fn watch_paused(&self) -> Result<watch::Receiver<HashSet<String>>, Error> {
        self.watch(WORKER_DELAY).await
    }

    /// As [`EventLog::watch_paused`], for dispatch: a resumed trigger is left out when no worker holds its deliveries
    /// any more.
    pub async fn watch_holding(&self) -> Result<watch::Receiver<HashSet<String>>, Error> {
        self.watch(DISPATCH_DELAY).await
    }

    async fn watch(&self, delay: Duration) -> Result<watch::Receiver<HashSet<String>>, Error> {
        let (sender, receiver) = watch::channel(self.paused(delay).await?);
        let log = self.clone();
        tokio::spawn(async move {
            while !sender.is_closed() {
                if let Err(error) = log.follow_paused(&sender, delay).await {
                    tracing::debug!(%error, "cannot look which triggers are paused; trying again");
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
        });
        Ok(receiver)
    }

    async fn paused(&self, delay: Duration) -> Result<HashSet<String>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select trigger from tidegate.trigger
                  where paused_at is not null or resumed_at > clock_timestamp() - $1 * interval '1 second'",
            )
            .await?;
        let rows = client.query(&statement, &[&delay.as_secs_f64()]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn follow_paused(
        &self,
        sender: &watch::Sender<HashSet<String>>,
        delay: Duration,
    ) -> Result<(), Error> {
        let mut listener = self.listen_to(CHANNEL).await?;
        while !sender.is_closed() {
            let found = self.paused(delay).await?;
            sender.send_if_modified(|known| {
                let is_new = *known != found;
                if is_new {
                    *known = found;
                }
                is_new
            });
            tokio::select! {
                changed = listener.changed(LOOK_INTERVAL) => changed?,
                () = sender.closed() => {}
            }
        }
        Ok(())
    }
}
