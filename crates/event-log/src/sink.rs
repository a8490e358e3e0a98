//! The cursors of those who are told of every event: sinks.

use tokio_postgres::Client;

use crate::{Error, EventLog};

/// Where a sink that the log does not know yet begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// With what is logged from now on.
    #[default]
    Now,
    /// With the oldest event that is kept.
    Start,
}

/// One process's wish to feed a sink: a connection that can hold the sink's lock.
pub struct Candidate {
    client: Client,
    name: String,
}

/// The right to feed a sink: a lock of the connection inside, so it ends with the process that holds it.
pub struct SinkClaim {
    client: Client,
    name: String,
}

impl EventLog {
    /// Asks for the right to feed the sink `name`.
    pub async fn sink(&self, name: &str) -> Result<Candidate, Error> {
        let (client, connection) = self.dedicated().await?;
        tokio::spawn(connection);
        // A holder that vanished without a word, its machine cut off, is found out by the server within some seconds.
        client
            .batch_execute(
                "set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 1;
                 set tcp_keepalives_count = 2; set synchronous_commit = on",
            )
            .await?;
        Ok(Candidate {
            client,
            name: name.to_owned(),
        })
    }
}

impl Candidate {
    /// Takes the right, or gives the candidate back while another process holds it.
    pub async fn claim(self) -> Result<Result<SinkClaim, Candidate>, Error> {
        let statement = "select pg_try_advisory_lock(hashtextextended('tidegate sink ' || $1, 0))";
        let row = self.client.query_one(statement, &[&self.name]).await?;
        if !row.get::<_, bool>(0) {
            return Ok(Err(self));
        }
        Ok(Ok(SinkClaim {
            client: self.client,
            name: self.name,
        }))
    }
}

impl SinkClaim {
    /// The sink has every event up to here that it wants. A sink that is new begins as `from` says.
    pub async fn cursor(&self, from: Begin) -> Result<u64, Error> {
        let begin = match from {
            Begin::Now => "last_offset",
            Begin::Start => {
                "coalesce((select min(log_offset) - 1 from tidegate.event), last_offset)"
            }
        };
        let begin = format!(
            "insert into tidegate.sink (name, log_offset) select $1, {begin} from tidegate.log
             on conflict do nothing"
        );
        self.client.execute(&begin, &[&self.name]).await?;
        let find = "select log_offset from tidegate.sink where name = $1";
        let row = self.client.query_one(find, &[&self.name]).await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// Records that the sink has every event up to `log_offset`. Runs on the connection that holds the lock: who lost
    /// the lock cannot record.
    pub async fn record(&self, log_offset: u64) -> Result<(), Error> {
        let statement = "update tidegate.sink
                            set log_offset = $2, updated_at = clock_timestamp() where name = $1";
        self.client
            .execute(statement, &[&self.name, &(log_offset as i64)])
            .await?;
        Ok(())
    }

    /// True when the right is lost, and another process may have it.
    pub fn is_lost(&self) -> bool {
        self.client.is_closed()
    }
}
