//! What a process of any role connects to, and where it listens.

use anyhow::{Context, Result};
use tidegate_event_log::EventLog;
use tidegate_job_log::JobLog;
use tidegate_queue::Queue;
use tidegate_storage::Storage;
use tokio::net::TcpListener;

use crate::cli::{Role, UnavailableError, UsageError};
use crate::config::Config;
use crate::health;

/// None for a process that serves no API and was given no address.
pub(crate) async fn listen(config: &Config, roles: &[Role]) -> Result<Option<TcpListener>> {
    if !roles.contains(&Role::Proxy) && !config.listen_is_chosen {
        return Ok(None);
    }
    match TcpListener::bind(config.listen).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(UsageError(format!(
            "{} is in use by another program: end it, or choose another address with --listen",
            config.listen
        ))
        .into()),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {}", config.listen)),
    }
}

pub(crate) async fn connect_storage(config: &Config) -> Result<Storage> {
    health::check_postgres(config).await?;
    let storage = Storage::connect(tidegate_storage::Config {
        database_url: config.database_url.expose().to_owned(),
        max_connections: config.database_connections,
        publication: config.publication.clone(),
        statement_timeout_ms: 30_000,
        message_prefix: tidegate_event::context::MESSAGE_PREFIX.to_owned(),
    });
    storage.await.context("cannot open the database")
}

pub(crate) async fn connect_log(config: &Config) -> Result<EventLog> {
    let log = EventLog::connect(tidegate_event_log::Config {
        database_url: config.database_url.expose().to_owned(),
        max_connections: 8,
    });
    log.await.context("cannot open the event log")
}

/// After the event log, whose migrations make its tables.
pub(crate) async fn connect_job_log(config: &Config) -> Result<JobLog> {
    let log = JobLog::connect(tidegate_job_log::Config {
        database_url: config.database_url.expose().to_owned(),
        max_connections: 8,
    });
    log.await.context("cannot open the job log")
}

pub(crate) async fn connect_queue(config: &Config) -> Result<Queue> {
    let queue = Queue::connect(tidegate_queue::Config {
        redis_url: config.redis_url.expose().to_owned(),
        namespace: config.namespace.clone(),
        lanes: config.lanes,
        max_queued: config.max_queued * 2,
    });
    queue.await.map_err(|error| {
        UnavailableError(format!(
            "cannot reach Redis: {error}. Start it, or set REDIS_URL"
        ))
        .into()
    })
}
