//! Brings schema `tidegate` up to date.

use crate::{Error, EventLog};

/// Every migration, in order; the number is the position from 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("event log", include_str!("../../../sql/0001_event_log.sql")),
    ("jobs", include_str!("../../../sql/0002_jobs.sql")),
    (
        "job functions",
        include_str!("../../../sql/0003_job_functions.sql"),
    ),
];

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
             applied_at timestamptz not null default clock_timestamp());
         alter table tidegate.migration add column if not exists checksum bigint",
    )
    .await?;
    check_applied(&tx).await?;
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
            "insert into tidegate.migration (version, name, checksum) values ($1, $2, $3)",
            &[&version, name, &checksum(sql)],
        )
        .await?;
        tracing::info!(version, name, "migrated schema tidegate");
    }
    tx.commit().await?;
    Ok(())
}

/// Refuses a schema that other migrations made than those of this program.
async fn check_applied(tx: &tokio_postgres::Transaction<'_>) -> Result<(), Error> {
    let applied = tx
        .query(
            "select version, checksum from tidegate.migration order by version",
            &[],
        )
        .await?;
    for row in applied {
        let (version, found): (i32, Option<i64>) = (row.get(0), row.get(1));
        let Some((name, sql)) = MIGRATIONS.get(version as usize - 1) else {
            // A later release has been here, and may run beside this one during a rolling upgrade.
            tracing::warn!(version, "schema tidegate is newer than this program");
            continue;
        };
        if found != Some(checksum(sql)) {
            return Err(Error::SchemaDiffers { version, name });
        }
    }
    Ok(())
}

/// FNV-1a: tells two texts apart, and is the same for ever.
fn checksum(text: &str) -> i64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step) as i64
}
