#![doc = include_str!("../README.md")]
//!
//! Layout, in the order of a run's life: [`register`] (what there is to run), [`start`] and [`start_workflow`], [`promote`]
//! (the scheduler), [`claim`], [`worker`], [`attempt`] and [`finish`] (the worker), [`steer`] (people). [`schedule`] (with `due`) and [`fire`]
//! are the clock's part. [`history`], [`list`] and [`metrics`] show it all, [`retention`] forgets it. [`lead`] and
//! [`listen`] hold connections of their own.

pub mod attempt;
pub mod claim;
mod due;
mod error;
pub mod finish;
pub mod fire;
mod fire_runs;
mod fire_state;
pub mod history;
pub mod lead;
pub mod list;
pub mod listen;
pub mod metrics;
pub mod promote;
pub mod register;
pub mod retention;
pub mod schedule;
pub mod start;
pub mod start_workflow;
pub mod steer;
mod text;
pub mod worker;

use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::NoTls;

pub use claim::Claimed;
pub use error::Error;
pub use finish::{Ending, Finished};
pub use lead::Leadership;
pub use listen::{Listener, Notice};
pub use promote::{Promoted, Room};
pub use worker::Beat;

/// Where the log lives and how much of the server it may use.
#[derive(Clone, Debug)]
pub struct Config {
    pub database_url: String,
    /// Connections of this process to the log, apart from those of leadership and listeners.
    pub max_connections: usize,
}

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may stay silent on the network before the connection counts as lost.
const PEER_TIMEOUT: Duration = Duration::from_secs(15);

/// A handle to the runs of jobs; clones share one connection pool.
#[derive(Clone)]
pub struct JobLog {
    pool: Pool,
    postgres: tokio_postgres::Config,
}

impl JobLog {
    /// Connects to the tables that the event log's migrations have made. `_JobStatus` must be there too: storage makes it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: Postgres cannot be reached; retry. [`Error::Config`]: the URL is wrong. [`Error::NoLog`]: no
    /// server has run on this database yet.
    pub async fn connect(config: Config) -> Result<JobLog, Error> {
        let postgres = postgres_config(&config.database_url)?;
        let pool = pool(postgres.clone(), config.max_connections);
        let log = JobLog { pool, postgres };
        let client = log.client().await?;
        let found = client
            .query_one("select to_regclass('tidegate.run') is not null", &[])
            .await?;
        match found.get(0) {
            true => Ok(log),
            false => Err(Error::NoLog),
        }
    }

    /// A handle to the same log that shares no connection with this one, for what may not wait behind others. It has one,
    /// which it makes when it is first needed.
    pub fn with_own_connection(&self) -> JobLog {
        JobLog {
            pool: pool(self.postgres.clone(), 1),
            postgres: self.postgres.clone(),
        }
    }

    pub(crate) async fn client(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(|source| Error::Unavailable {
            source: source.into(),
        })
    }

    /// A connection outside the pool, for what holds one for long: leadership, LISTEN.
    pub(crate) async fn dedicated(&self) -> Result<Dedicated, Error> {
        let (client, connection) = self.postgres.connect(NoTls).await?;
        Ok((client, connection))
    }
}

pub(crate) type DedicatedConnection =
    tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>;
pub(crate) type Dedicated = (tokio_postgres::Client, DedicatedConnection);

fn pool(postgres: tokio_postgres::Config, max_connections: usize) -> Pool {
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(postgres, NoTls, recycling);
    Pool::builder(manager)
        .max_size(max_connections)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts::wait_millis(CONNECT_TIMEOUT.as_millis() as u64))
        .build()
        .expect("a pool with timeouts has a runtime")
}

fn postgres_config(url: &str) -> Result<tokio_postgres::Config, Error> {
    let mut config = tokio_postgres::Config::from_str(url).map_err(|source| Error::Config {
        source: Box::new(source),
    })?;
    config.application_name("tidegate job log");
    // Plans are made once, perhaps while the tables were empty, when reading all of one looks cheap. The functions rely on
    // each of their statements seeing what was committed before it, whatever the database's default is.
    config.options(
        "-c client_min_messages=warning -c statement_timeout=60000 -c plan_cache_mode=force_generic_plan \
         -c enable_seqscan=off -c jit=off -c default_transaction_isolation=read\\ committed",
    );
    config.connect_timeout(CONNECT_TIMEOUT);
    // A peer that vanished is noticed, also in the middle of a statement.
    config.tcp_user_timeout(PEER_TIMEOUT);
    config.keepalives_idle(PEER_TIMEOUT);
    Ok(config)
}
