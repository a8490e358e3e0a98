//! One database per test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::template::{OWNER, PASSWORD_IN_URL, SUPERUSER};

/// A server that is paused or overloaded must not hang the test that drops its database.
const DROP_LIMIT: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) struct Coordinates {
    /// Of the unix socket.
    pub directory: PathBuf,
    pub port: u16,
}

impl Coordinates {
    fn superuser(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(&self.directory)
            .port(self.port)
            .user(SUPERUSER)
            .dbname(database);
        config.connect_timeout(DROP_LIMIT);
        config
    }
}

/// A way of logging in that a role exists for, with a password full of characters that a URL must escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    Scram,
    Md5,
    Cleartext,
}

/// A fresh database. Dropping it ends its connections and drops its replication slots with it.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    server: Coordinates,
}

impl Database {
    pub(crate) async fn create(server: Coordinates) -> Database {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", CREATED.fetch_add(1, Ordering::Relaxed));
        let client = open(&server.superuser("postgres"))
            .await
            .expect("Postgres accepts connections");
        client
            .batch_execute(&format!("create database {name} owner {OWNER}"))
            .await
            .expect("the database is created");
        let url = format!("postgres://{OWNER}@127.0.0.1:{}/{name}", server.port);
        Database { name, url, server }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// For the product: the role that owns the database, with REPLICATION and nothing more, over TCP.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same role over the unix socket.
    pub fn socket_url(&self) -> String {
        let directory = self.server.directory.display();
        format!(
            "postgres://{OWNER}@/{}?host={directory}&port={}",
            self.name, self.server.port
        )
    }

    /// For what a test does to the server, not for the product.
    pub fn superuser_url(&self) -> String {
        format!(
            "postgres://{SUPERUSER}@127.0.0.1:{}/{}",
            self.server.port, self.name
        )
    }

    /// A role that must show a password, may replicate, and is a member of the owner.
    pub fn password_url(&self, authentication: Authentication) -> String {
        let role = match authentication {
            Authentication::Scram => "auth_scram",
            Authentication::Md5 => "auth_md5",
            Authentication::Cleartext => "auth_password",
        };
        format!(
            "postgres://{role}:{PASSWORD_IN_URL}@127.0.0.1:{}/{}",
            self.server.port, self.name
        )
    }

    /// Connects as the owner. The connection ends when the client is dropped.
    pub async fn connect(&self) -> Client {
        open(&self.url.parse().expect("the URL is valid"))
            .await
            .expect("Postgres accepts connections")
    }

    pub async fn connect_as_superuser(&self) -> Client {
        open(&self.server.superuser(&self.name))
            .await
            .expect("Postgres accepts connections")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A thread of its own: the test's runtime may be the very thread that drops.
        thread::scope(|scope| {
            // Nor may a failing test that unwinds through here be aborted by a second panic.
            let _ = scope.spawn(|| self.drop_blocking()).join();
        });
    }
}

impl Database {
    fn drop_blocking(&self) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        // A server that a test has killed, or dropped first, took the database with it.
        let _ = runtime
            .block_on(async { timeout(DROP_LIMIT, drop_database(&self.server, &self.name)).await });
    }
}

/// `with (force)` ends ordinary connections and drops idle slots, but refuses while a slot is in use.
async fn drop_database(server: &Coordinates, name: &str) -> Result<(), tokio_postgres::Error> {
    let client = open(&server.superuser("postgres")).await?;
    let started = Instant::now();
    loop {
        client
            .execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots
                 where database = $1 and active",
                &[&name],
            )
            .await?;
        match client
            .batch_execute(&format!("drop database if exists {name} with (force)"))
            .await
        {
            Err(error)
                if error.code() == Some(&SqlState::OBJECT_IN_USE)
                    && started.elapsed() < DROP_LIMIT =>
            {
                sleep(Duration::from_millis(2)).await;
            }
            result => return result,
        }
    }
}

async fn open(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // Its error reaches whoever uses the client.
    tokio::spawn(async { drop(connection.await) });
    Ok(client)
}
