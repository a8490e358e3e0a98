//! Where the database is and who connects: from a `postgres://` URL or field by field.
//!
//! The URL means what it means to libpq and `tokio-postgres`, so one `DATABASE_URL` serves every
//! connection of a process. Not here: environment variables and password files.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::Error;

const DEFAULT_PORT: u16 = 5432;

/// Connecting includes the login; a server that does not answer by then is tried again by the caller.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Well under the server's `wal_sender_timeout` (60 s by default), and often enough that confirmed
/// WAL is soon released.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// URL parameters that libpq and `tokio-postgres` know and that mean nothing here.
const IGNORED_PARAMETERS: [&str; 10] = [
    "channel_binding",
    "gssencmode",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "replication",
    "target_session_attrs",
    "tcp_user_timeout",
];

#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Tried in order until one accepts; never empty.
    pub hosts: Vec<Host>,
    pub user: String,
    pub password: Option<String>,
    pub dbname: String,
    /// Shown in `pg_stat_replication` and `pg_stat_activity`.
    pub application_name: String,
    /// Server settings for this session as libpq's `options`: `-c wal_sender_timeout=30s`.
    pub options: Option<String>,
    /// For each host, login included.
    pub connect_timeout: Duration,
    /// How often a [`Stream`](crate::Stream) tells the server what is durable, and that it lives.
    /// Must be well under the server's `wal_sender_timeout`.
    pub status_interval: Duration,
}

/// One way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Tcp {
        name: String,
        port: u16,
    },
    /// The directory that holds the socket `.s.PGSQL.<port>`.
    Unix {
        directory: PathBuf,
        port: u16,
    },
}

impl Config {
    /// Reads `postgres://user:password@host:port/dbname?parameters`.
    ///
    /// Also read: several hosts joined by commas, a socket directory as percent-encoded host or as
    /// `?host=/dir`, and the parameters `host`, `port`, `user`, `password`, `dbname`,
    /// `application_name`, `connect_timeout` (seconds), `options` and `sslmode`.
    ///
    /// # Errors
    /// [`Error::Url`]: the URL cannot be read; the reason never quotes the password.
    /// [`Error::TlsUnsupported`]: `sslmode` demands TLS.
    pub fn from_url(url: &str) -> Result<Config, Error> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| invalid("it does not begin with postgres://"))?;
        let mut parts = Parts::default();
        // Credentials end at the first '@', as `tokio-postgres` has it: a raw '/' or '?' in a
        // password must not be taken for the end of the host.
        let rest = match rest.split_once('@') {
            Some((credentials, rest)) => {
                parts.set_credentials(credentials)?;
                rest
            }
            None => rest,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, dbname) = rest.split_once('/').unwrap_or((rest, ""));
        parts.set_hosts(hosts)?;
        if !dbname.is_empty() {
            parts.dbname = Some(decode(dbname)?);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            parts.set_parameter(key, decode(value)?)?;
        }
        parts.finish()
    }
}

impl fmt::Debug for Config {
    /// Everything but the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("dbname", &self.dbname)
            .field("application_name", &self.application_name)
            .field("options", &self.options)
            .field("connect_timeout", &self.connect_timeout)
            .field("status_interval", &self.status_interval)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Tcp { name, port } => write!(f, "{name}:{port}"),
            Host::Unix { directory, port } => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}

/// What has been read of a URL; a parameter after `?` overrules the same thing before it.
#[derive(Default)]
struct Parts {
    hosts: Vec<String>,
    /// One for each host, or one for all, or none.
    ports: Vec<u16>,
    user: Option<String>,
    password: Option<String>,
    dbname: Option<String>,
    application_name: Option<String>,
    options: Option<String>,
    connect_timeout: Option<Duration>,
}

impl Parts {
    fn set_credentials(&mut self, text: &str) -> Result<(), Error> {
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(decode(password)?)),
            None => (text, None),
        };
        self.user = Some(decode(user)?).filter(|user| !user.is_empty());
        self.password = password;
        Ok(())
    }

    fn set_hosts(&mut self, list: &str) -> Result<(), Error> {
        if list.is_empty() {
            return Ok(());
        }
        for host in list.split(',') {
            let (name, port) = split_port(host)?;
            self.hosts.push(decode(name)?);
            self.ports.push(if port.is_empty() {
                DEFAULT_PORT
            } else {
                parse_port(port)?
            });
        }
        Ok(())
    }

    fn set_parameter(&mut self, key: &str, value: String) -> Result<(), Error> {
        match key {
            "host" => {
                self.hosts = value.split(',').map(str::to_owned).collect();
                self.ports.truncate(1);
            }
            "port" => self.ports = value.split(',').map(parse_port).collect::<Result<_, _>>()?,
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.dbname = Some(value),
            "application_name" => self.application_name = Some(value),
            "options" => self.options = Some(value),
            "connect_timeout" => {
                let seconds = value
                    .parse()
                    .map_err(|_| invalid("connect_timeout is no number"))?;
                // 0 is libpq's "wait for ever".
                let limit = if seconds == 0 {
                    Duration::MAX
                } else {
                    Duration::from_secs(seconds)
                };
                self.connect_timeout = Some(limit);
            }
            "sslmode" => match value.as_str() {
                "disable" | "allow" | "prefer" => {}
                _ => return Err(Error::TlsUnsupported { mode: value }),
            },
            _ if IGNORED_PARAMETERS.contains(&key) => {}
            _ => return Err(invalid(&format!("parameter {key} is not known"))),
        }
        Ok(())
    }

    fn finish(self) -> Result<Config, Error> {
        if self.hosts.is_empty() {
            return Err(invalid("it names no host; ?host=/directory names a socket"));
        }
        let port = |index: usize| match self.ports.as_slice() {
            [] => Ok(DEFAULT_PORT),
            [port] => Ok(*port),
            ports => ports
                .get(index)
                .copied()
                .ok_or_else(|| invalid("fewer ports than hosts")),
        };
        let host = |(index, name): (usize, &String)| {
            Ok(match port(index)? {
                port if name.starts_with('/') => Host::Unix {
                    directory: name.into(),
                    port,
                },
                port => Host::Tcp {
                    name: name.clone(),
                    port,
                },
            })
        };
        let hosts = self
            .hosts
            .iter()
            .enumerate()
            .map(host)
            .collect::<Result<_, Error>>()?;
        let user = self
            .user
            .or_else(system_user)
            .ok_or_else(|| invalid("it names no user"))?;
        Ok(Config {
            hosts,
            dbname: self.dbname.unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            application_name: self
                .application_name
                .unwrap_or_else(|| "tidegate".to_owned()),
            options: self.options,
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            status_interval: STATUS_INTERVAL,
        })
    }
}

/// The operating system's name of whoever runs this process: libpq's default user.
fn system_user() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten()
        .map(|user| user.name)
}

/// Splits `host:port`, where the host may be `[::1]` and the port missing.
fn split_port(host: &str) -> Result<(&str, &str), Error> {
    match host.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest
                .split_once(']')
                .ok_or_else(|| invalid("a [ is not closed"))?;
            Ok((name, port.strip_prefix(':').unwrap_or(port)))
        }
        None => Ok(host.split_once(':').unwrap_or((host, ""))),
    }
}

fn parse_port(text: &str) -> Result<u16, Error> {
    text.parse()
        .map_err(|_| invalid("a port is not a number up to 65535"))
}

fn decode(text: &str) -> Result<String, Error> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded
        .map_err(|_| invalid("a percent-encoded part is not UTF-8"))?
        .into_owned())
}

fn invalid(reason: &str) -> Error {
    Error::Url {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(name: &str, port: u16) -> Host {
        Host::Tcp {
            name: name.into(),
            port,
        }
    }

    fn unix(directory: &str, port: u16) -> Host {
        Host::Unix {
            directory: directory.into(),
            port,
        }
    }

    #[test]
    fn hosts_are_read_in_every_form() {
        for (url, hosts) in [
            ("postgres://u@db/x", vec![tcp("db", 5432)]),
            ("postgresql://u@db:6543/x", vec![tcp("db", 6543)]),
            ("postgres://u@[::1]:6543/x", vec![tcp("::1", 6543)]),
            ("postgres://u@[::1]/x", vec![tcp("::1", 5432)]),
            ("postgres://u@a:1,b/x", vec![tcp("a", 1), tcp("b", 5432)]),
            (
                "postgres://u@%2Frun%2Fpg:6543/x",
                vec![unix("/run/pg", 6543)],
            ),
            (
                "postgres:///x?user=u&host=/run/pg&port=6543",
                vec![unix("/run/pg", 6543)],
            ),
            (
                "postgres://u@ignored:6543/x?host=%2Frun%2Fpg",
                vec![unix("/run/pg", 6543)],
            ),
            (
                "postgres://u@/x?host=a,/b&port=1,2",
                vec![tcp("a", 1), unix("/b", 2)],
            ),
            (
                "postgres://u@/x?host=a,b&port=1",
                vec![tcp("a", 1), tcp("b", 1)],
            ),
        ] {
            assert_eq!(Config::from_url(url).unwrap().hosts, hosts, "{url}");
        }
    }

    #[test]
    fn names_and_parameters_are_decoded() {
        let url = "postgres://an%40na:s%2Fe?c/ret%25@db/my%20db\
                   ?application_name=a%26b&connect_timeout=3&options=-c%20a%3D1&sslmode=prefer";
        let config = Config::from_url(url).unwrap();
        assert_eq!(config.user, "an@na");
        assert_eq!(config.password.as_deref(), Some("s/e?c/ret%"));
        assert_eq!(config.dbname, "my db");
        assert_eq!(config.application_name, "a&b");
        assert_eq!(config.options.as_deref(), Some("-c a=1"));
        assert_eq!(config.connect_timeout, Duration::from_secs(3));
        assert!(
            !format!("{config:?}").contains("ret%"),
            "the password stays out of Debug"
        );
    }

    #[test]
    fn the_database_is_named_like_the_user_unless_told() {
        assert_eq!(
            Config::from_url("postgres://anna@db").unwrap().dbname,
            "anna"
        );
        assert_eq!(
            Config::from_url("postgres://anna@db?dbname=x")
                .unwrap()
                .dbname,
            "x"
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (url, expected) in [
            ("mysql://u@db/x", "postgres://"),
            ("postgres://u@/x", "no host"),
            ("postgres://u@db:99999/x", "port"),
            ("postgres://u@[::1/x", "not closed"),
            ("postgres://u@db/x?host=a,b,c&port=1,2", "fewer ports"),
            ("postgres://u@db/%ff", "UTF-8"),
            ("postgres://u@db/x?pool=1", "pool"),
            ("postgres://u@db/x?sslmode=require", "sslmode=require"),
            (
                "postgres://u@db/x?sslmode=verify-full",
                "sslmode=verify-full",
            ),
        ] {
            let error = Config::from_url(url).unwrap_err();
            assert!(error.to_string().contains(expected), "{url}: {error}");
            assert!(!error.is_transient());
        }
    }
}
