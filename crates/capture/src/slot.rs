//! Opens the slot, or creates it the first time.

use postgres_replication::{Connection, Stream};
use tidegate_event::Lsn;
use tidegate_event_log::{Checkpoint, EventLog};
use tokio_postgres::NoTls;

use crate::translate::PrimaryKeys;
use crate::{Config, Error, publication};

/// Starts streaming from where the log stands.
///
/// # Errors
/// [`Error::SlotMissing`], [`Error::OtherServer`]: the log followed something that is not there any more.
/// [`Error::OtherDatabase`]: slots are one to a server, and this one is somebody else's.
pub(crate) async fn open(config: &Config, log: &EventLog) -> Result<(Stream, Checkpoint), Error> {
    let mut connection = connect(config).await?;
    let checkpoint = ensure(config, log, &mut connection).await?;
    let identity = connection.identify_system().await?;
    if identity.system_identifier != checkpoint.system_identifier {
        return Err(Error::OtherServer {
            slot: config.slot.clone(),
            expected: checkpoint.system_identifier,
            found: identity.system_identifier,
        });
    }
    // 0: Postgres knows what was confirmed, and it is never more than the log has.
    let started = connection.start(&config.slot, &config.publication, 0).await;
    let stream = started.map_err(|error| match error {
        postgres_replication::Error::SlotMissing { slot } => Error::SlotMissing {
            slot,
            confirmed: checkpoint.end_lsn,
        },
        other => other.into(),
    })?;
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
    let start = match connection.create_slot(&config.slot).await {
        Ok(slot) => Lsn(slot.consistent_point),
        // Left by a start that was killed before it wrote the checkpoint: nothing was confirmed on it yet.
        Err(postgres_replication::Error::SlotExists { .. }) if is_ours(&sql, config).await? => {
            Lsn(0)
        }
        Err(postgres_replication::Error::SlotExists { slot }) => {
            return Err(Error::OtherDatabase { slot });
        }
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
    };
    let checkpoint = log.create_checkpoint(&checkpoint).await?;
    tracing::info!(slot = config.slot, at = %start, "created the replication slot");
    Ok(checkpoint)
}

async fn is_ours(sql: &tokio_postgres::Client, config: &Config) -> Result<bool, Error> {
    let ours = "select count(*) = 1 from pg_replication_slots
                where slot_name = $1 and database = current_database()";
    Ok(sql.query_one(ours, &[&config.slot]).await?.get(0))
}

pub(crate) async fn connect(config: &Config) -> Result<Connection, Error> {
    let parsed = postgres_replication::Config::from_url(&config.database_url)?;
    Ok(Connection::connect(&parsed).await?)
}

pub(crate) async fn sql_client(config: &Config) -> Result<tokio_postgres::Client, Error> {
    let (client, connection) = tokio_postgres::connect(&config.database_url, NoTls).await?;
    tokio::spawn(connection);
    client
        .batch_execute("set application_name = 'tidegate capture'; set lock_timeout = '5s'")
        .await?;
    Ok(client)
}

pub(crate) async fn primary_keys(config: &Config) -> Result<PrimaryKeys, Error> {
    Ok(PrimaryKeys {
        client: sql_client(config).await?,
    })
}
