//! Opens the slot, or creates it the first time.

use postgres_replication::{Connection, Stream};
use tidegate_event::Lsn;
use tidegate_event_log::{Checkpoint, EventLog};
use tokio_postgres::NoTls;

use crate::guardian::{self, Cause, Look, Slot};
use crate::memory::Memory;
use crate::relation::Catalog;
use crate::{Config, Error, publication};

/// How long Postgres waits for a sign of life before it gives the slot of a capture that hangs to another.
/// Feedback goes every second; a `DATABASE_URL` with `options` sets what it wants.
const SESSION_OPTIONS: &str = "-c wal_sender_timeout=10s";

/// Starts streaming from where the log stands.
///
/// # Errors
/// [`Error::Stopped`]: what the log followed is not there any more, or not as the log left it.
pub(crate) async fn open(
    config: &Config,
    log: &EventLog,
    memory: &mut Memory,
) -> Result<(Stream, Checkpoint), Error> {
    let sql = sql_client(config).await?;
    let mut connection = connect(config).await?;
    let look = Look::take(config, log, &sql, &mut connection).await?;
    let checkpoint = match (&look.checkpoint, memory.furthest()) {
        (Some(checkpoint), _) => checkpoint.clone(),
        (None, None) => create(config, log, &mut connection).await?,
        (None, Some((epoch, seen))) => {
            let cause = Cause::WentBack { epoch, seen };
            return Err(look.stopped(config, cause, memory.furthest()));
        }
    };
    let stopped = |cause| look.stopped(config, cause, memory.furthest());
    if look.checkpoint.is_some() {
        guardian::examine(
            &checkpoint,
            memory.furthest(),
            &look.server,
            &look.history,
            look.slot.as_ref(),
        )
        .map_err(stopped)?;
    }
    if let Some(cause) = memory.check_gap(config, log).await? {
        return Err(look.stopped(config, cause, memory.furthest()));
    }
    if checkpoint.timeline != look.server.timeline {
        let (from, to) = (checkpoint.timeline, look.server.timeline);
        tracing::warn!(from, to, at = %checkpoint.end_lsn, "the server was promoted, and has all that the log has");
        log.set_timeline(&checkpoint, to).await?;
    }
    // 0: Postgres knows what was confirmed, and it is never more than the log has.
    let started = connection.start(&config.slot, &config.publication, 0).await;
    let stopped = |cause| look.stopped(config, cause, memory.furthest());
    let stream = started.map_err(|error| match error {
        postgres_replication::Error::SlotMissing { .. } => stopped(Cause::Missing),
        postgres_replication::Error::SlotLost { .. } => stopped(Cause::Lost),
        other => other.into(),
    })?;
    // Whoever held the slot until now may have appended since.
    let checkpoint = log.checkpoint(&config.slot).await?.unwrap_or(checkpoint);
    memory.saw(&checkpoint);
    Ok((stream, checkpoint))
}

/// The checkpoint of the slot, which is created if this log never followed it.
pub(crate) async fn ensure(
    config: &Config,
    log: &EventLog,
    connection: &mut Connection,
) -> Result<Checkpoint, Error> {
    match log.checkpoint(&config.slot).await? {
        Some(checkpoint) => Ok(checkpoint),
        None => create(config, log, connection).await,
    }
}

async fn create(
    config: &Config,
    log: &EventLog,
    connection: &mut Connection,
) -> Result<Checkpoint, Error> {
    // The publication comes first: a slot cannot decode what was written before its publication existed.
    let sql = sql_client(config).await?;
    publication::create(&sql, &config.publication).await?;
    let identity = connection.identify_system().await?;
    // Before the slot: what had ended by then is none that the slot will bring.
    let oldest_xid = sql
        .query_one(
            "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
            &[],
        )
        .await?;
    let start = match connection.create_slot(&config.slot).await {
        Ok(slot) => Lsn(slot.consistent_point),
        // Left by a start that was killed before it wrote the checkpoint: nothing was captured from it yet.
        Err(postgres_replication::Error::SlotExists { .. }) => left_over(&sql, config).await?,
        Err(error) => return Err(error.into()),
    };
    let checkpoint = Checkpoint {
        slot_name: config.slot.clone(),
        epoch: log.next_epoch().await?,
        system_identifier: identity.system_identifier,
        timeline: identity.timeline,
        commit_lsn: start,
        ordinal: 0,
        end_lsn: start,
        oldest_xid: Some(oldest_xid.get::<_, i64>(0) as u64),
    };
    let checkpoint = log.create_checkpoint(&checkpoint).await?;
    tracing::info!(slot = config.slot, at = %start, "created the replication slot");
    Ok(checkpoint)
}

/// Where a slot begins that is there and that no log has followed.
async fn left_over(sql: &tokio_postgres::Client, config: &Config) -> Result<Lsn, Error> {
    let slot = config.slot.clone();
    let found = guardian::look(sql, &slot).await?;
    match found {
        Some(Slot {
            foreign: Some(Cause::OtherDatabase),
            ..
        }) => Err(Error::OtherDatabase { slot }),
        Some(Slot {
            foreign: None,
            confirmed: Some(confirmed),
            wal_status,
            ..
        }) if wal_status != "lost" => Ok(confirmed),
        _ => Err(Error::Unusable { slot }),
    }
}

pub(crate) async fn connect(config: &Config) -> Result<Connection, Error> {
    let mut parsed = postgres_replication::Config::from_url(&config.database_url)?;
    parsed
        .options
        .get_or_insert_with(|| SESSION_OPTIONS.to_owned());
    Ok(Connection::connect(&parsed).await?)
}

pub(crate) async fn sql_client(config: &Config) -> Result<tokio_postgres::Client, Error> {
    let (client, connection) = tokio_postgres::connect(&config.database_url, NoTls).await?;
    tokio::spawn(connection);
    prepare_session(&client).await?;
    Ok(client)
}

/// Names the session, and lets no lock be waited for without end.
pub(crate) async fn prepare_session(client: &tokio_postgres::Client) -> Result<(), Error> {
    client
        .batch_execute("set application_name = 'tidegate capture'; set lock_timeout = '5s'")
        .await?;
    Ok(())
}

pub(crate) async fn catalog(config: &Config) -> Result<Catalog, Error> {
    let client = sql_client(config).await?;
    // What it reads must look as the stream prints it.
    for (name, value) in postgres_replication::PRINT_SETTINGS {
        client
            .batch_execute(&format!("set {name} = '{value}'"))
            .await?;
    }
    Ok(Catalog { client })
}
