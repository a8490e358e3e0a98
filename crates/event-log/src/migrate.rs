//! Brings schema `tidegate` up to date.

use crate::{Error, EventLog};

/// Every migration, in order; the number is the position from 1.
const MIGRATIONS: &[(&str, &str)] =
    &[("event log", include_str!("../../../sql/0001_event_log.sql"))];

/// Keeps two processes from migrating at once; the number is arbitrary but must never change.
const MIGRATION_LOCK: i64 = 7_433_042_851;

pub(crate) async fn run(log: &EventLog) -> Result<(), Error> {
    let mut client = log.client().await?;
    let tx = client.transaction().await?;
    tx.execute("select pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    tx.batch_execute(
        "create schema if not exists tidegate;
         create table if not exists tidegate.migration (
             version integer primary key, name text not null,
             applied_at timestamptz not null default clock_timestamp())",
    )
    .await?;
    let row = tx
        .query_one(
            "select coalesce(max(version), 0) from tidegate.migration",
            &[],
        )
        .await?;
    let applied: i32 = row.get(0);
    for (version, (name, sql)) in (1i32..)
        .zip(MIGRATIONS)
        .filter(|(version, _)| *version > applied)
    {
        tx.batch_execute(sql).await?;
        tx.execute(
            "insert into tidegate.migration (version, name) values ($1, $2)",
            &[&version, name],
        )
        .await?;
        tracing::info!(version, name, "migrated schema tidegate");
    }
    tx.commit().await?;
    Ok(())
}
