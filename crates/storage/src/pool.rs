//! Connections, their limits, and running one statement on one of them.

use std::time::Duration;

use deadpool_postgres::{
    Client, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::config::SslMode;
use tokio_postgres::{NoTls, Row};

use crate::Error;
use crate::column::refuse_nul;
use crate::error::Phase;
use crate::sql::Statement;

/// How long a request waits for a connection. Longer queues only make every answer late: the client is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A silent server is given up after 5 s + 3 probes of 3 s, or 15 s without an acknowledgement.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(15);

/// A process that hangs inside a transaction must not keep its locks.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: u32 = 30_000;

/// Prepared statements per connection. Clients choose the shapes of queries: at this many all are dropped, so that
/// an inventive one costs preparations and not the server's memory.
const MAX_PREPARED_STATEMENTS: usize = 500;

/// The settings of every connection that this crate opens.
///
/// `statement_timeout_ms`: 0 for none.
pub(crate) fn connection_config(
    database_url: &str,
    statement_timeout_ms: u64,
) -> Result<tokio_postgres::Config, Error> {
    let unusable = |error: tokio_postgres::Error| {
        // The parser's own message names the bad setting and no values.
        let cause = std::error::Error::source(&error)
            .map_or_else(String::new, |cause| format!(": {cause}"));
        Error::unusable(format!("the database URL is not valid{cause}"))
    };
    let mut config: tokio_postgres::Config = database_url.parse().map_err(unusable)?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(Error::unusable(
            "the database URL says sslmode=require, and TLS to Postgres is not supported yet",
        ));
    }
    // Classes live in schema public, whatever the role's search path is.
    let options = format!(
        "{} -c search_path=public -c statement_timeout={statement_timeout_ms} \
         -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}",
        config.get_options().unwrap_or_default()
    );
    config.options(options.trim_start());
    if config.get_application_name().is_none() {
        config.application_name("tidegate");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.keepalives_interval(KEEPALIVE_INTERVAL);
    config.keepalives_retries(KEEPALIVE_PROBES);
    config.tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
    Ok(config)
}

pub(crate) fn open(config: tokio_postgres::Config, max_connections: usize) -> Result<Pool, Error> {
    let manager = Manager::from_config(
        config,
        NoTls,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let pool = Pool::builder(manager)
        .max_size(max_connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(ACQUIRE_TIMEOUT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .build();
    pool.map_err(|error| Error::unusable(error.to_string()))
}

/// A connection, within [`ACQUIRE_TIMEOUT`].
pub(crate) async fn acquire(pool: &Pool) -> Result<Client, Error> {
    let client = pool.get().await.map_err(|error| match error {
        PoolError::Backend(source) => Error::from_postgres(source, Phase::BeforeCommit),
        other => Error::unavailable(other),
    })?;
    if client.statement_cache.size() >= MAX_PREPARED_STATEMENTS {
        client.statement_cache.clear();
    }
    Ok(client)
}

/// Prepares a statement, or finds it prepared. Nothing has been done when this fails.
pub(crate) async fn prepare(
    client: &Client,
    statement: &Statement,
) -> Result<tokio_postgres::Statement, Error> {
    statement
        .params
        .iter()
        .try_for_each(|param| refuse_nul("where", param))?;
    let prepared = client.prepare_cached(&statement.text).await;
    prepared.map_err(|source| Error::from_postgres(source, Phase::BeforeCommit))
}

/// Runs a prepared statement; all rows are read, and the server's last word with them.
pub(crate) async fn rows(
    client: &Client,
    prepared: &tokio_postgres::Statement,
    statement: &Statement,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let stream = client.query_raw(prepared, &statement.params).await?;
    pin_mut!(stream);
    stream.try_collect().await
}

/// Runs a statement that changes nothing: one round trip once it is prepared on the connection.
///
/// A connection that was dead already, without anybody knowing, is replaced once.
pub(crate) async fn read(pool: &Pool, statement: &Statement) -> Result<Vec<Row>, Error> {
    let client = acquire(pool).await?;
    match read_on(&client, statement).await {
        Err(Error::Unavailable { .. }) if client.is_closed() => {
            read_on(&acquire(pool).await?, statement).await
        }
        result => result,
    }
}

async fn read_on(client: &Client, statement: &Statement) -> Result<Vec<Row>, Error> {
    let prepared = prepare(client, statement).await?;
    rows(client, &prepared, statement)
        .await
        .map_err(|source| Error::from_postgres(source, Phase::BeforeCommit))
}
