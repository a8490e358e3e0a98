//! One connection to Redis that comes back by itself.
//!
//! redis-rs has a connection manager, but we must know which server process answers: a restarted
//! Redis may have lost the last second of pushes while its keys look whole. Here every connection
//! carries the run id of the server behind it, read when it was made; a server cannot change under
//! a connection.
//!
//! A failure drops the connection and starts a pause that all users of the link share, so that a
//! lost Redis is asked again at most once per pause, whoever wants it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError,
    RedisResult, ServerErrorKind,
};

use crate::backoff;
use crate::error::Error;

/// How long connecting may take, and how long an answer. Beyond it the other end is taken for dead,
/// as with half-open TCP.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to Redis that is made again when it is lost.
#[derive(Debug)]
pub(crate) struct Link {
    client: redis::Client,
    config: AsyncConnectionConfig,
    state: Mutex<State>,
    /// Held while connecting, so that one caller connects and the others wait for its result.
    dialing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    live: Option<Live>,
    /// Counts connections, to tell a failure of this one from a late failure of a former.
    serial: u64,
    /// Failures since a command last succeeded.
    failures: u32,
    not_before: Instant,
}

/// A connection that worked when it was last used.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    connection: MultiplexedConnection,
    /// Names the server process. A restart or a fail-over changes it.
    pub(crate) run_id: Arc<str>,
    serial: u64,
}

impl Live {
    pub(crate) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }
}

impl Link {
    /// Prepares a link; `patience` is how long a command of ours may block by its own wish.
    /// Connects on first use.
    pub(crate) fn new(redis_url: &str, patience: Duration) -> Result<Link, Error> {
        let client = client(redis_url)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT + patience));
        let state = State {
            live: None,
            serial: 0,
            failures: 0,
            not_before: Instant::now(),
        };
        Ok(Link {
            client,
            config,
            state: Mutex::new(state),
            dialing: tokio::sync::Mutex::new(()),
        })
    }

    /// A connection, made now if need be. During a pause after a failure it fails at once.
    pub(crate) async fn live(&self) -> Result<Live, Error> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let _dialing = self.dialing.lock().await;
        if let Some(live) = self.current() {
            return Ok(live);
        }
        if Instant::now() < self.state().not_before {
            return Err(pausing().into());
        }
        match dial(&self.client, &self.config).await {
            Ok((connection, run_id)) => Ok(self.connected(connection, run_id)),
            Err(error) => {
                self.pause(&error);
                Err(error.into())
            }
        }
    }

    /// A connection, however long it takes.
    pub(crate) async fn wait(&self) -> Live {
        loop {
            match self.live().await {
                Ok(live) => return live,
                Err(_) => {
                    let until = self.state().not_before;
                    tokio::time::sleep_until(until.into()).await;
                }
            }
        }
    }

    /// Runs a pipeline. A failure of the connection drops it; an error of one command does not.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        live: &Live,
        pipeline: &Pipeline,
    ) -> RedisResult<T> {
        let answer = pipeline.query_async(&mut live.connection()).await;
        self.judge(live, answer)
    }

    /// Takes note of how a command on `live` went.
    pub(crate) fn judge<T>(&self, live: &Live, answer: RedisResult<T>) -> RedisResult<T> {
        match &answer {
            Ok(_) => self.answered(),
            Err(error) if ends_connection(error) => self.back_off(live, error),
            Err(_) => {}
        }
        answer
    }

    /// Drops `live` and pauses: for a caller that is going to try the same again, whatever the
    /// error.
    pub(crate) fn back_off(&self, live: &Live, error: &RedisError) {
        let is_current = self
            .state()
            .live
            .as_ref()
            .is_some_and(|current| current.serial == live.serial);
        if is_current {
            self.pause(error);
        }
    }

    /// Drops `live` without a pause: it is sound, but its owner no longer waits for the answer it
    /// owes.
    pub(crate) fn forget(&self, live: &Live) {
        let mut state = self.state();
        if state
            .live
            .as_ref()
            .is_some_and(|current| current.serial == live.serial)
        {
            state.live = None;
        }
    }

    fn current(&self) -> Option<Live> {
        self.state().live.clone()
    }

    fn connected(&self, connection: MultiplexedConnection, run_id: String) -> Live {
        let mut state = self.state();
        state.serial += 1;
        let live = Live {
            connection,
            run_id: run_id.into(),
            serial: state.serial,
        };
        state.live = Some(live.clone());
        live
    }

    /// A connection counts as working only when a command succeeded on it: a loading server accepts
    /// connections.
    fn answered(&self) {
        let mut state = self.state();
        if state.failures > 0 {
            state.failures = 0;
            tracing::info!("redis answers again");
        }
    }

    fn pause(&self, error: &RedisError) {
        let mut state = self.state();
        state.live = None;
        state.failures = state.failures.saturating_add(1);
        state.not_before = Instant::now() + backoff::pause(state.failures, rand::random());
        if state.failures == 1 {
            tracing::warn!(%error, "redis failed, will connect again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that hold it; a panic elsewhere does not
        // spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client with Nagle's algorithm off: with it on, a small command waits for the answer to the one
/// before.
pub(crate) fn client(redis_url: &str) -> Result<redis::Client, Error> {
    let config_error = |error: RedisError| Error::Config {
        // The error's text does not repeat the URL, which holds a password.
        reason: format!("redis_url: {error}"),
    };
    let info = redis_url.into_connection_info().map_err(config_error)?;
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    redis::Client::open(info).map_err(config_error)
}

async fn dial(
    client: &redis::Client,
    config: &AsyncConnectionConfig,
) -> RedisResult<(MultiplexedConnection, String)> {
    let mut connection = client
        .get_multiplexed_async_connection_with_config(config)
        .await?;
    let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
    let field = |name| info_field(&info, name);
    if field("role") == Some("slave") {
        return Err(refusal("the server is a replica"));
    }
    if field("loading").is_some_and(|loading| loading != "0") {
        return Err(refusal("the server is loading its data"));
    }
    let policy = field("maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" {
        tracing::warn!(
            policy,
            "redis may evict queued deliveries; set maxmemory-policy noeviction"
        );
    }
    let run_id = field("run_id").unwrap_or_default().to_owned();
    Ok((connection, run_id))
}

/// A field of what INFO answers: lines of `name:value`.
fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn refusal(why: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Client, why))
}

fn pausing() -> RedisError {
    refusal("redis failed a moment ago and is left alone")
}

/// Whether the connection is of no more use: it is broken, or the server behind it is the wrong one
/// or not ready.
fn ends_connection(error: &RedisError) -> bool {
    let wrong_server = matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown
        )
    );
    wrong_server || error.is_io_error() || error.is_unrecoverable_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_info_are_found_by_their_whole_name() {
        let info = "# Server\r\nrun_id:abc\r\nmaster_run_id:def\r\nrole:master\r\n";
        assert_eq!(info_field(info, "run_id"), Some("abc"));
        assert_eq!(info_field(info, "role"), Some("master"));
        assert_eq!(info_field(info, "run"), None);
    }

    #[test]
    fn a_link_does_not_show_its_password() {
        let link = Link::new("redis://user:hunter2@localhost/", Duration::ZERO).unwrap();
        assert!(!format!("{link:?}").contains("hunter2"));
    }

    #[test]
    fn a_bad_url_is_refused_without_showing_its_password() {
        let error = Link::new("http://:hunter2@localhost/", Duration::ZERO).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            matches!(error, Error::Config { .. }) && !text.contains("hunter2"),
            "{text}"
        );
    }
}
