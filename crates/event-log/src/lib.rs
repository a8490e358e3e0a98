#![doc = include_str!("../README.md")]
//!
//! Layout, in the order of an event's life: `checkpoint`, `append` and `gap` (capture), `read` and `dispatch` (dispatch),
//! `lane` and `outcome` (worker), `retention` (maintenance). `effect` is what handlers wrote (write path), `wait` waits for outcomes (proxy). `follow`
//! and `sink` serve those outside. `operation` is long work that operators ask for, `replay` and `backfill` its two kinds;
//! `inspect` and `trace` show people what became of an event. `listen` wakes a reader when there is more.

pub mod append;
pub mod backfill;
mod backfill_chunk;
mod backfill_live;
pub mod checkpoint;
pub mod dispatch;
pub mod effect;
mod error;
pub mod follow;
pub mod gap;
pub mod held;
pub mod inspect;
pub mod lane;
pub mod listen;
mod migrate;
pub mod operation;
pub mod outcome;
pub mod pause;
pub mod read;
mod redeliver;
pub mod replay;
mod replay_choice;
mod replay_scan;
pub mod retention;
pub mod sink;
pub mod trace;
pub mod wait;

use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::NoTls;

pub use append::Appender;
pub use checkpoint::{Checkpoint, Heartbeat};
pub use dispatch::{DispatchState, Leadership};
pub use error::Error;
pub use follow::{Lines, LogLine};
pub use gap::Gap;
pub use held::{Frozen, HeldKey, Holding, Resumed, Which};
pub use lane::{LaneLease, Lanes};
pub use listen::Listener;
pub use outcome::{Outcome, Status};
pub use pause::TriggerState;
pub use read::{LogEntry, StoredEntry};
pub use sink::SinkClaim;
pub use wait::TokenWaits;

/// Where the log lives and how much of the server it may use.
#[derive(Clone, Debug)]
pub struct Config {
    pub database_url: String,
    /// Connections of this process to the log, apart from the appender's and the listeners' own.
    pub max_connections: usize,
}

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may stay silent on the network before the connection counts as lost.
const PEER_TIMEOUT: Duration = Duration::from_secs(15);

/// A handle to the log; clones share one connection pool.
#[derive(Clone)]
pub struct EventLog {
    pool: Pool,
    postgres: tokio_postgres::Config,
}

impl EventLog {
    /// Connects and brings schema `tidegate` up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: Postgres cannot be reached; retry. [`Error::Config`]: the URL is wrong.
    pub async fn connect(config: Config) -> Result<EventLog, Error> {
        let log = EventLog::pooled(config)?;
        migrate::run(&log).await?;
        // Before the first append, so that today's events do not go to the partition that is never dropped.
        log.ensure_partitions(retention::DAYS_AHEAD).await?;
        Ok(log)
    }

    /// Connects to a log that a server has made, and changes nothing.
    ///
    /// # Errors
    /// As [`EventLog::connect`]; and [`Error::NoLog`].
    pub async fn open(config: Config) -> Result<EventLog, Error> {
        let log = EventLog::pooled(config)?;
        let client = log.client().await?;
        let found = client
            .query_one("select to_regclass('tidegate.operation') is not null", &[])
            .await?;
        match found.get(0) {
            true => Ok(log),
            false => Err(Error::NoLog),
        }
    }

    fn pooled(config: Config) -> Result<EventLog, Error> {
        let postgres = postgres_config(&config.database_url)?;
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(postgres.clone(), NoTls, recycling);
        let pool = Pool::builder(manager)
            .max_size(config.max_connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts::wait_millis(CONNECT_TIMEOUT.as_millis() as u64))
            .build()
            .expect("a pool with timeouts has a runtime");
        Ok(EventLog { pool, postgres })
    }

    pub(crate) async fn client(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(|source| Error::Unavailable {
            source: source.into(),
        })
    }

    /// A connection outside the pool, for what holds one for long: the appender, leadership, LISTEN.
    pub(crate) async fn dedicated(&self) -> Result<Dedicated, Error> {
        let (client, connection) = self.postgres.connect(NoTls).await?;
        Ok((client, connection))
    }
}

pub(crate) type DedicatedConnection =
    tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>;
pub(crate) type Dedicated = (tokio_postgres::Client, DedicatedConnection);

fn postgres_config(url: &str) -> Result<tokio_postgres::Config, Error> {
    let mut config = tokio_postgres::Config::from_str(url).map_err(|source| Error::Config {
        source: Box::new(source),
    })?;
    config.application_name("tidegate event log");
    // Migrating says on each start what is already there. Plans: custom ones for statements over partitions and arrays
    // cost more to make than they save, and one that is made once may have been made while the tables were empty, when
    // reading all of one looks cheap: that is 300 ms instead of one for 100,000 outcomes. What still reads a small table
    // looks so expensive then that Postgres would compile it.
    config.options(
        "-c client_min_messages=warning -c statement_timeout=60000 -c plan_cache_mode=force_generic_plan \
         -c enable_seqscan=off -c jit=off",
    );
    config.connect_timeout(CONNECT_TIMEOUT);
    // A peer that vanished is noticed, also in the middle of a statement.
    config.tcp_user_timeout(PEER_TIMEOUT);
    config.keepalives_idle(PEER_TIMEOUT);
    Ok(config)
}
