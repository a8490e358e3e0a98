//! A session that takes replication commands: slots, and the start of streaming.

use std::io;
use std::ops::Range;
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::{backend, frontend};

use crate::error::codes;
use crate::transport::{Received, Transport};
use crate::{Config, Error, Host, Stream, authentication, lsn};

/// A replication connection to one database.
///
/// Its futures are not cancel-safe: a dropped one may leave half a command or an answer behind.
/// Drop the connection with it.
pub struct Connection {
    transport: Transport,
    status_interval: Duration,
}

/// Which server this is, and how far its WAL goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Made by `initdb`; the same for a standby and for a restored copy.
    pub system_identifier: String,
    /// Changes at each promotion and point-in-time recovery.
    pub timeline: u32,
    /// The end of the flushed WAL.
    pub xlogpos: u64,
    pub dbname: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Transactions that commit after this position will be streamed, earlier ones will not.
    pub consistent_point: u64,
    /// Shows the tables as they are at that position, to `set transaction snapshot`, until this connection is given
    /// its next command or ends. None when it was not asked for.
    pub snapshot: Option<String>,
}

/// Where one timeline ended and the next began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineSwitch {
    /// The one that ended.
    pub timeline: u32,
    /// Its end: what the server it ended on wrote after that is not on this one.
    pub at: u64,
}

/// A row of an answer to a command.
type Row = Vec<Option<String>>;

impl Connection {
    /// Connects to the first host that accepts and logs in.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: no host answered within `connect_timeout`; retry.
    /// [`Error::Authentication`]: the server will not have this user; a person must act.
    /// [`Error::Server`]: for example `3D000` no such database, `42501` the role lacks REPLICATION.
    pub async fn connect(config: &Config) -> Result<Connection, Error> {
        let mut last = Error::Url {
            reason: "it names no host".to_owned(),
        };
        for host in &config.hosts {
            let attempt = tokio::time::timeout(config.connect_timeout, open(host, config)).await;
            let result = attempt.unwrap_or_else(|elapsed| Err(unreachable(host, elapsed)));
            last = match result {
                Ok(transport) => {
                    return Ok(Connection {
                        transport,
                        status_interval: config.status_interval,
                    });
                }
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => error,
            };
        }
        Err(last)
    }

    pub async fn identify_system(&mut self) -> Result<SystemIdentity, Error> {
        let rows = self.command("IDENTIFY_SYSTEM").await?;
        let read = || {
            let [system_identifier, timeline, xlogpos, dbname] = rows.first()?.as_slice() else {
                return None;
            };
            Some(SystemIdentity {
                system_identifier: system_identifier.clone()?,
                timeline: timeline.as_ref()?.parse().ok()?,
                xlogpos: lsn::parse(xlogpos.as_ref()?)?,
                dbname: dbname.clone()?,
            })
        };
        read().ok_or_else(|| Error::protocol("the answer to IDENTIFY_SYSTEM is not understood"))
    }

    /// Creates a persistent logical slot for pgoutput.
    ///
    /// Waits until transactions that run now have ended. The publication must exist before the
    /// slot: streaming fails on any change older than it.
    ///
    /// # Errors
    /// [`Error::SlotExists`]: so does its position; use it or drop it knowingly.
    /// [`Error::Server`]: for example `53400` all of `max_replication_slots` are in use.
    pub async fn create_slot(&mut self, slot: &str) -> Result<CreatedSlot, Error> {
        self.create(slot, "NOEXPORT_SNAPSHOT").await
    }

    /// As [`Connection::create_slot`], with a snapshot of the tables at the slot's beginning.
    pub async fn create_slot_with_snapshot(&mut self, slot: &str) -> Result<CreatedSlot, Error> {
        self.create(slot, "EXPORT_SNAPSHOT").await
    }

    async fn create(&mut self, slot: &str, snapshot: &str) -> Result<CreatedSlot, Error> {
        let name = quote_identifier(slot);
        let command = format!("CREATE_REPLICATION_SLOT {name} LOGICAL pgoutput {snapshot}");
        let rows = self
            .command(&command)
            .await
            .map_err(|error| match error.code() {
                Some(codes::DUPLICATE_OBJECT) => Error::SlotExists {
                    slot: slot.to_owned(),
                },
                _ => error,
            })?;
        let row = rows.first();
        let point = row.and_then(|row| lsn::parse(row.get(1)?.as_ref()?));
        Ok(CreatedSlot {
            consistent_point: point
                .ok_or_else(|| Error::protocol("a new slot without its consistent point"))?,
            snapshot: row.and_then(|row| row.get(2)?.clone()),
        })
    }

    /// How the server came to `timeline`, the oldest switch first; empty for the first timeline.
    ///
    /// # Errors
    /// [`Error::Server`] `58P01`: the server does not have that timeline's history.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<Vec<TimelineSwitch>, Error> {
        if timeline <= 1 {
            return Ok(Vec::new());
        }
        let rows = self
            .command(&format!("TIMELINE_HISTORY {timeline}"))
            .await?;
        let content = rows.first().and_then(|row| row.get(1)?.as_deref());
        content
            .and_then(switches)
            .ok_or_else(|| Error::protocol("the answer to TIMELINE_HISTORY is not understood"))
    }

    /// Drops the slot, and with it what it would still have delivered.
    ///
    /// # Errors
    /// [`Error::SlotBusy`], [`Error::SlotMissing`].
    pub async fn drop_slot(&mut self, slot: &str) -> Result<(), Error> {
        let result = self
            .command(&format!("DROP_REPLICATION_SLOT {}", quote_identifier(slot)))
            .await;
        result.map(drop).map_err(|error| slot_error(error, slot))
    }

    /// Begins to stream `publication` from `from`, or from what the slot has confirmed if that is
    /// later. `from` is what the caller holds durably: 0 if nothing.
    ///
    /// Transactions that committed before `from` are skipped; the one that `from` is the `end_lsn`
    /// of is not repeated. A publication that does not exist shows only in the stream, as
    /// [`Error::Server`] `42704`.
    ///
    /// # Errors
    /// [`Error::SlotBusy`]: another consumer has the slot; wait for it.
    /// [`Error::SlotMissing`], [`Error::SlotLost`]: changes are missing that no retry brings back.
    /// [`Error::PositionAhead`]: the server does not have the WAL that the caller has seen.
    pub async fn start(
        mut self,
        slot: &str,
        publication: &str,
        from: u64,
    ) -> Result<Stream, Error> {
        if from > 0 {
            let server = self.identify_system().await?.xlogpos;
            if from > server {
                return Err(Error::PositionAhead { from, server });
            }
        }
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', messages 'true', publication_names {})",
            quote_identifier(slot),
            lsn::format(from),
            quote_literal(&quote_identifier(publication)),
        );
        match self.start_copy(&command).await {
            Ok(()) => Ok(Stream::new(self.transport, self.status_interval)),
            Err(error) if error.code() == Some(codes::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
                Err(self.lost_or(error, slot).await)
            }
            Err(error) => Err(slot_error(error, slot)),
        }
    }

    async fn start_copy(&mut self, command: &str) -> Result<(), Error> {
        self.transport
            .send(|out| frontend::query(command, out))
            .await?;
        match self.transport.receive().await? {
            Received::CopyBoth => Ok(()),
            Received::Message(backend::Message::ErrorResponse(body)) => {
                let error = Error::from(body);
                self.until_ready(Some(error)).await.map(drop)
            }
            Received::Message(_) => Err(Error::protocol("START_REPLICATION did not start a copy")),
        }
    }

    /// SQLSTATE 55000 has many causes and its text is in the server's language: ask for the one
    /// that means lost changes.
    async fn lost_or(&mut self, error: Error, slot: &str) -> Error {
        let query = format!(
            "SELECT wal_status FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
            quote_literal(slot)
        );
        match self.command(&query).await.as_deref() {
            Ok([row]) if matches!(row.as_slice(), [Some(status)] if status == "lost") => {
                Error::SlotLost {
                    slot: slot.to_owned(),
                }
            }
            _ => error,
        }
    }

    /// Runs a command and returns the rows of its answer.
    async fn command(&mut self, command: &str) -> Result<Vec<Row>, Error> {
        self.transport
            .send(|out| frontend::query(command, out))
            .await?;
        self.until_ready(None).await
    }

    /// Reads to the end of an answer: its rows, or the error it holds.
    async fn until_ready(&mut self, mut error: Option<Error>) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        loop {
            let received = match self.transport.receive().await {
                // A fatal error is followed by the end of the connection, not by "ready".
                Err(Error::Closed) => return Err(error.unwrap_or(Error::Closed)),
                received => received?,
            };
            match received {
                Received::Message(backend::Message::ReadyForQuery(_)) => {
                    return error.map_or(Ok(rows), Err);
                }
                Received::Message(backend::Message::ErrorResponse(body)) => {
                    error = Some(body.into());
                }
                Received::Message(backend::Message::DataRow(body)) => rows.push(row(&body)?),
                Received::Message(_) => {}
                Received::CopyBoth => return Err(Error::protocol("a copy that was not asked for")),
            }
        }
    }
}

async fn open(host: &Host, config: &Config) -> Result<Transport, Error> {
    let transport = Transport::connect(host).await;
    let mut transport = transport.map_err(|error| unreachable(host, error))?;
    authentication::log_in(&mut transport, config).await?;
    tracing::debug!(%host, dbname = config.dbname, "replication connection is open");
    Ok(transport)
}

fn unreachable(host: &Host, source: impl Into<io::Error>) -> Error {
    Error::Unreachable {
        host: host.to_string(),
        source: source.into(),
    }
}

fn row(body: &backend::DataRowBody) -> Result<Row, Error> {
    let text = |range: Range<usize>| String::from_utf8_lossy(&body.buffer()[range]).into_owned();
    let columns = body.ranges().map(|range| Ok(range.map(text))).collect();
    columns.map_err(|_| Error::protocol("a row that is cut off"))
}

fn slot_error(error: Error, slot: &str) -> Error {
    match &error {
        Error::Server { code, message } if code == codes::OBJECT_IN_USE => Error::SlotBusy {
            slot: slot.to_owned(),
            pid: holder(message, slot),
        },
        Error::Server { code, .. } if code == codes::UNDEFINED_OBJECT => Error::SlotMissing {
            slot: slot.to_owned(),
        },
        _ => error,
    }
}

/// The process id in `replication slot "x" is active for PID 123`, in whatever language; 0 if
/// there is none.
fn holder(message: &str, slot: &str) -> i32 {
    let message = message.replace(slot, "");
    let numbers = message.split(|c: char| !c.is_ascii_digit());
    numbers
        .filter_map(|digits| digits.parse().ok())
        .next_back()
        .unwrap_or(0)
}

/// Lines of `timeline position reason`, and comments; None when one is neither.
fn switches(history: &str) -> Option<Vec<TimelineSwitch>> {
    let lines = history.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split_whitespace();
            Some(TimelineSwitch {
                timeline: fields.next()?.parse().ok()?,
                at: lsn::parse(fields.next()?)?,
            })
        })
        .collect()
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Replication commands know no escapes but the doubled quote, so a backslash is a backslash.
fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_for_the_replication_grammar() {
        assert_eq!(quote_identifier(r#"a"b'c\"#), r#""a""b'c\""#);
        assert_eq!(quote_literal(&quote_identifier("it's")), "'\"it''s\"'");
    }

    #[test]
    fn a_timeline_history_is_read_as_postgres_writes_it() {
        let text = "1\t0/3000148\tno recovery target specified\n\n# by hand\n2\t1/5000060\tbefore 2026-01-01\n";
        let expected = [(1, 0x300_0148), (2, 0x1_0500_0060)]
            .map(|(timeline, at)| TimelineSwitch { timeline, at });
        assert_eq!(switches(text).unwrap(), expected);
        assert_eq!(switches("1 nowhere"), None);
    }

    #[test]
    fn the_holder_of_a_slot_is_found_in_any_language() {
        for (message, pid) in [
            ("replication slot \"s2\" is active for PID 4711", 4711),
            ("Replikations-Slot »s2« ist aktiv für PID 4711", 4711),
            ("replication slot \"s2\" is busy", 0),
        ] {
            assert_eq!(holder(message, "s2"), pid);
        }
    }
}
