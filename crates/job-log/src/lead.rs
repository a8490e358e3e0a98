//! Who schedules: one process at a time, by a lock that ends with its connection.

use tokio_postgres::Client;

use crate::{Error, JobLog};

/// Held by the one leading scheduler; the number is arbitrary but must never change.
const SCHEDULER_LOCK: i64 = 7_433_042_853;

/// Postgres ends a leader's connection, and with it the lead, when it is silent for so long: a process that is stopped, or
/// whose machine is gone, closes none. Several confirmations may be late before that.
const LEAD_TIMEOUT_MS: u32 = 2_000;

/// The right to schedule: a lock of the connection inside, so it ends with the process that holds it, or stands still.
///
/// It spares work and keeps the order. What must happen once is kept by the tables, whoever thinks that he leads.
pub struct Leadership {
    client: Client,
}

impl JobLog {
    /// Takes the right to schedule, or returns None while another process holds it. It is kept by confirming it, several
    /// times in two seconds.
    pub async fn lead(&self) -> Result<Option<Leadership>, Error> {
        let (client, connection) = self.dedicated().await?;
        tokio::spawn(connection);
        client
            .batch_execute(&format!("set idle_session_timeout = {LEAD_TIMEOUT_MS}"))
            .await?;
        let row = client
            .query_one("select pg_try_advisory_lock($1)", &[&SCHEDULER_LOCK])
            .await?;
        Ok(row.get::<_, bool>(0).then_some(Leadership { client }))
    }

    /// True while some process leads.
    pub async fn is_led(&self) -> Result<bool, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select exists (select from pg_locks
                                 where locktype = 'advisory' and granted
                                   and database = (select oid from pg_database where datname = current_database())
                                   and classid::bigint << 32 | objid::bigint = $1)",
                &[&SCHEDULER_LOCK],
            )
            .await?;
        Ok(row.get(0))
    }
}

impl Leadership {
    /// Fails when the connection, and with it the lock, is gone: stop leading.
    pub async fn confirm(&self) -> Result<(), Error> {
        Ok(self.client.batch_execute("select").await?)
    }
}
