//! A database with a table or two, a publication of them and a slot.

use std::time::Duration;

use postgres_replication::{Config, Connection, Error, Message, Stream};
use tidegate_testkit::{Database, Postgres};
use tokio_postgres::Client;

use crate::describe::describe;

pub const SLOT: &str = "s";
pub const PUBLICATION: &str = "p";

/// What the server knows of a test's stream.
pub const OURS: &str = "from pg_stat_replication where application_name = current_database()";

/// Something that never happens is a failed test, not a hanging one.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Fixture {
    /// The owner's session, for the changes of the test.
    pub sql: Client,
    /// For what only a superuser sees, such as `pg_stat_replication`.
    pub admin: Client,
    pub consistent_point: u64,
    pub database: Database,
}

impl Fixture {
    /// Runs `ddl`, which creates publication `p`, then creates slot `s`.
    pub async fn new(ddl: &str) -> Fixture {
        Fixture::on(Postgres::shared(), ddl).await
    }

    pub async fn on(postgres: &Postgres, ddl: &str) -> Fixture {
        let database = postgres.create_database().await;
        let sql = database.connect().await;
        let admin = database.connect_as_superuser().await;
        sql.batch_execute(ddl).await.unwrap();
        // A slot belongs to the cluster, so its name must differ between databases; a database's
        // name does.
        let mut connection = Connection::connect(&config(&database)).await.unwrap();
        let slot = connection.create_slot(&slot_name(&database)).await.unwrap();
        Fixture {
            sql,
            admin,
            consistent_point: slot.consistent_point,
            database,
        }
    }

    pub fn config(&self) -> Config {
        config(&self.database)
    }

    pub fn slot(&self) -> String {
        slot_name(&self.database)
    }

    pub async fn connect(&self) -> Connection {
        Connection::connect(&self.config()).await.unwrap()
    }

    pub async fn start(&self) -> Stream {
        self.start_from(0).await.unwrap()
    }

    pub async fn start_from(&self, from: u64) -> Result<Stream, Error> {
        self.connect()
            .await
            .start(&self.slot(), PUBLICATION, from)
            .await
    }

    pub async fn execute(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap();
    }

    /// Commits a logical message after which nothing more is expected.
    pub async fn mark_end(&self) {
        self.execute("select pg_logical_emit_message(true, 'end', '')")
            .await;
    }

    /// Runs `sql` in transactions of its own and returns what the stream makes of it.
    pub async fn changes(&self, stream: &mut Stream, sql: &str) -> Vec<String> {
        self.execute(sql).await;
        self.mark_end().await;
        until_end(stream).await.iter().map(describe).collect()
    }

    /// Waits until the server says that `condition` holds.
    pub async fn wait_until(&self, condition: &str) {
        let query = format!("select {condition} from (select pg_sleep(0.01)) pause");
        let wait = async {
            while !self
                .admin
                .query_one(&query, &[])
                .await
                .unwrap()
                .get::<_, bool>(0)
            {}
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("never came true: {condition}"));
    }

    /// A position that the server names, for example `pg_current_wal_lsn()`.
    pub async fn position(&self, expression: &str) -> u64 {
        let query = format!("select ({expression} - '0/0'::pg_lsn)::text");
        let text: String = self.admin.query_one(&query, &[]).await.unwrap().get(0);
        text.parse().unwrap()
    }

    pub async fn confirmed_flush(&self) -> u64 {
        let slot = self.slot();
        let of_slot = format!(
            "(select confirmed_flush_lsn from pg_replication_slots where slot_name = '{slot}')"
        );
        self.position(&of_slot).await
    }
}

/// Messages up to the transaction of [`Fixture::mark_end`], without keepalives.
pub async fn until_end(stream: &mut Stream) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        match next_change(stream).await {
            Message::Logical { prefix, .. } if prefix == "end" => {
                messages.pop(); // its Begin
                assert!(matches!(next_change(stream).await, Message::Commit { .. }));
                return messages;
            }
            message => messages.push(message),
        }
    }
}

pub async fn next(stream: &mut Stream) -> Message {
    let next = tokio::time::timeout(PATIENCE, stream.next()).await;
    next.expect("a message arrives").unwrap()
}

/// The next message that is not a keepalive.
pub async fn next_change(stream: &mut Stream) -> Message {
    loop {
        match next(stream).await {
            Message::Keepalive { .. } => {}
            message => return message,
        }
    }
}

/// Takes messages until the stream fails.
pub async fn until_error(stream: &mut Stream) -> Error {
    let fail = async {
        loop {
            if let Err(error) = stream.next().await {
                return error;
            }
        }
    };
    tokio::time::timeout(PATIENCE, fail)
        .await
        .expect("the stream fails")
}

/// The application name is the database's, so that `pg_stat_replication` can be asked for it.
pub fn config(database: &Database) -> Config {
    let mut config = Config::from_url(database.url()).unwrap();
    config.application_name = database.name().to_owned();
    config
}

fn slot_name(database: &Database) -> String {
    format!("{SLOT}_{}", database.name())
}
