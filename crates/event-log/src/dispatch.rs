//! Dispatch's side: who dispatches, how far, and what is settled.

use tokio_postgres::Client;

use crate::{Error, EventLog};

/// Held by the one active dispatcher; the number is arbitrary but must never change.
pub(crate) const DISPATCH_LOCK: i64 = 7_433_042_852;

/// How far dispatch has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchState {
    /// Every delivery of events up to here has been queued.
    pub log_offset: u64,
    /// Every delivery of events up to here has its final outcome, or is held.
    pub settled_offset: u64,
    /// Of the queue; a new one starts whenever Redis lost, or may have lost, something.
    pub generation: u64,
    /// Names of the triggers by which it dispatched, sorted: a place in the queue means one of these.
    pub triggers: Vec<String>,
}

/// The right to dispatch: a lock of the connection inside, so it ends with the process that holds it.
pub struct Leadership {
    client: Client,
}

impl EventLog {
    /// Takes the right to dispatch, or returns None while another process holds it.
    pub async fn lead_dispatch(&self) -> Result<Option<Leadership>, Error> {
        let (client, connection) = self.dedicated().await?;
        tokio::spawn(connection);
        // An offset that is lost with the server is found again; only a generation must be durable at once.
        client.batch_execute("set synchronous_commit = off").await?;
        let row = client
            .query_one("select pg_try_advisory_lock($1)", &[&DISPATCH_LOCK])
            .await?;
        Ok(row.get::<_, bool>(0).then_some(Leadership { client }))
    }

    /// Which deliveries of these events have a final outcome: (log offset, trigger, whether it is held).
    pub async fn finished_among(&self, offsets: &[u64]) -> Result<Vec<(u64, String, bool)>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select log_offset, trigger, status = 'held' from tidegate.outcome
                  where log_offset = any($1) and status <> 'retry'",
            )
            .await?;
        let offsets: Vec<i64> = offsets.iter().map(|offset| *offset as i64).collect();
        let rows = client.query(&statement, &[&offsets]).await?;
        let finished =
            |row: &tokio_postgres::Row| (row.get::<_, i64>(0) as u64, row.get(1), row.get(2));
        Ok(rows.iter().map(finished).collect())
    }

    /// The deliveries after `log_offset`, up to and with `up_to`, that already have a final outcome.
    pub async fn settled_deliveries(
        &self,
        after: u64,
        up_to: u64,
    ) -> Result<std::collections::HashSet<(u64, String)>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select log_offset, trigger from tidegate.outcome
                  where log_offset > $1 and log_offset <= $2 and status <> 'retry'",
            )
            .await?;
        let rows = client
            .query(&statement, &[&(after as i64), &(up_to as i64)])
            .await?;
        Ok(rows
            .iter()
            .map(|row| (row.get::<_, i64>(0) as u64, row.get(1)))
            .collect())
    }

    pub async fn dispatch_state(&self) -> Result<DispatchState, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select log_offset, settled_offset, generation, triggers from tidegate.dispatch",
                &[],
            )
            .await?;
        Ok(DispatchState {
            log_offset: row.get::<_, i64>(0) as u64,
            settled_offset: row.get::<_, i64>(1) as u64,
            generation: row.get::<_, i64>(2) as u64,
            triggers: row.get(3),
        })
    }
}

impl Leadership {
    /// As [`Leadership::record`], and durable when it returns: for a new generation.
    pub async fn record_durably(&self, state: &DispatchState) -> Result<(), Error> {
        self.client
            .batch_execute("set synchronous_commit = on")
            .await?;
        self.record(state).await?;
        Ok(self
            .client
            .batch_execute("set synchronous_commit = off")
            .await?)
    }

    /// Records `state`. Runs on the connection that holds the lock: who lost the lock cannot record.
    pub async fn record(&self, state: &DispatchState) -> Result<(), Error> {
        let statement = "update tidegate.dispatch
                            set log_offset = $1, settled_offset = $2, generation = $3, triggers = $4";
        self.client
            .execute(
                statement,
                &[
                    &(state.log_offset as i64),
                    &(state.settled_offset as i64),
                    &(state.generation as i64),
                    &state.triggers,
                ],
            )
            .await?;
        Ok(())
    }
}
