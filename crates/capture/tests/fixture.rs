//! A database with a captured table, its log, and a capture that runs within the test.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_capture::{Config, Error, Resynced};
use tidegate_event::{Operation, Row, Trigger, TriggerKind, TriggerSet};
use tidegate_event_log::{EventLog, Gap, LogEntry};
use tidegate_testkit::{Database, Postgres};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

/// Something that never happens is a failed test, not a hanging one. Not a bound that is asserted.
const PATIENCE: Duration = Duration::from_secs(60);

pub const TABLE: &str = "create table t (id integer primary key, name text, n integer)";

pub struct Fixture {
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
    pub config: Config,
    pub log: EventLog,
    triggers: watch::Sender<TriggerSet>,
    pub database: Database,
}

impl Fixture {
    /// Runs `ddl`, which makes tables of these names in schema public, and prepares to capture them.
    pub async fn new(ddl: &str, tables: &[&str]) -> Fixture {
        Fixture::on(Postgres::shared(), ddl, tables).await
    }

    pub async fn on(postgres: &Postgres, ddl: &str, tables: &[&str]) -> Fixture {
        // What capture says belongs to a failed test's output.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let database = postgres.create_database().await;
        database.connect().await.batch_execute(ddl).await.unwrap();
        let log = EventLog::connect(tidegate_event_log::Config {
            database_url: database.url().to_owned(),
            max_connections: 4,
        })
        .await
        .unwrap();
        let config = Config {
            database_url: database.url().to_owned(),
            slot: database.name().to_owned(),
            publication: "tidegate".to_owned(),
            standby_interval: Duration::from_millis(50),
            heartbeat_interval: Duration::from_millis(100),
        };
        let mut triggers = TriggerSet::default();
        for table in tables {
            triggers.insert(
                Trigger::code(TriggerKind::AfterSave, *table),
                Default::default(),
            );
        }
        tidegate_capture::prepare(&config, &log, &triggers)
            .await
            .unwrap();
        let (triggers, _) = watch::channel(triggers);
        Fixture {
            running: None,
            config,
            log,
            triggers,
            database,
        }
    }

    pub fn start(&mut self) {
        let shutdown = CancellationToken::new();
        let run = tidegate_capture::run(
            self.config.clone(),
            self.log.clone(),
            self.triggers.subscribe(),
            shutdown.clone(),
        );
        self.running = Some((tokio::spawn(run), shutdown));
    }

    /// Ends capture and waits until the slot is free.
    pub async fn stop(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        task.await.unwrap().unwrap();
        self.wait_until_free().await;
    }

    /// Drops capture wherever it is.
    pub async fn abort(&mut self) {
        let (task, _) = self.running.take().unwrap();
        task.abort();
        let _ = task.await;
        self.wait_until_free().await;
    }

    async fn wait_until_free(&self) {
        self.wait_for(
            "not exists (select from pg_replication_slots where slot_name = current_database() and active)",
        )
        .await;
    }

    pub fn is_running(&self) -> bool {
        let (task, _) = self.running.as_ref().unwrap();
        !task.is_finished()
    }

    /// The owner's session; waits for a server that is coming back.
    pub async fn sql(&self) -> Client {
        let begun = Instant::now();
        loop {
            match tokio_postgres::connect(self.database.url(), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    pub async fn execute(&self, sql: &str) {
        self.sql().await.batch_execute(sql).await.unwrap();
    }

    /// Waits until an SQL condition holds.
    pub async fn wait_for(&self, condition: &str) {
        let sql = self.sql().await;
        let begun = Instant::now();
        let query = format!("select {condition} from (select pg_sleep(0.01)) as pause");
        while !sql.query_one(&query, &[]).await.unwrap().get::<_, bool>(0) {
            assert!(begun.elapsed() < PATIENCE, "never came true: {condition}");
        }
    }

    /// Waits until all that is committed now is in the log.
    pub async fn wait_until_caught_up(&self) {
        let end: String = self
            .sql()
            .await
            .query_one("select pg_current_wal_lsn()::text", &[])
            .await
            .unwrap()
            .get(0);
        self.wait_for(&format!(
            "(select end_lsn >= '{end}' from tidegate.capture where slot_name = current_database())"
        ))
        .await;
    }

    pub async fn wait_for_gap(&self) -> Gap {
        self.wait_for("exists (select from tidegate.gap where resolved_at is null)")
            .await;
        self.log.open_gap(&self.config.slot).await.unwrap().unwrap()
    }

    pub async fn resync(&self) -> Result<Resynced, Error> {
        let triggers = self.triggers.borrow().clone();
        tidegate_capture::resync(&self.config, &self.log, &triggers, |_| {}).await
    }

    pub fn triggers(&self) -> TriggerSet {
        self.triggers.borrow().clone()
    }

    /// Every entry of the log, which is dense and holds no event twice.
    pub async fn entries(&self) -> Vec<LogEntry> {
        let mut entries: Vec<LogEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.log_offset);
            let more = self.log.read(after, 10_000).await.unwrap();
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        let offsets = entries.iter().map(|entry| entry.log_offset);
        assert!(offsets.eq(1..=entries.len() as u64), "offsets are dense");
        let ids: std::collections::HashSet<_> =
            entries.iter().map(|entry| entry.event.id).collect();
        assert_eq!(ids.len(), entries.len(), "no event is in the log twice");
        entries
    }

    /// What a reader of the log believes that `table` holds, by key.
    pub async fn replayed(&self, table: &str) -> BTreeMap<Row, Row> {
        let mut rows = BTreeMap::new();
        for LogEntry { event, .. } in self.entries().await {
            if event.table != table {
                continue;
            }
            if event.operation == Operation::Update
                && let Some(old) = &event.old
            {
                rows.retain(|key: &Row, _| {
                    !key.iter().all(|(name, value)| old.get(name) == Some(value))
                });
            }
            match event.operation {
                Operation::Insert => {
                    let before = rows.insert(event.key, event.new.unwrap());
                    assert_eq!(before, None, "inserted twice: {}", event.id);
                }
                Operation::Update => {
                    rows.insert(event.key, event.new.unwrap());
                }
                Operation::Delete => {
                    assert!(
                        rows.remove(&event.key).is_some(),
                        "deleted what was not there: {}",
                        event.id
                    );
                }
                Operation::Truncate => rows.clear(),
            }
        }
        rows
    }

    /// What `table` holds, as the stream prints it.
    pub async fn rows(&self, table: &str, key: &str) -> BTreeMap<Row, Row> {
        let sql = self.sql().await;
        for (name, value) in postgres_replication::PRINT_SETTINGS {
            sql.batch_execute(&format!("set {name} = '{value}'"))
                .await
                .unwrap();
        }
        let messages = sql
            .simple_query(&format!("select * from {table}"))
            .await
            .unwrap();
        let mut rows = BTreeMap::new();
        for message in messages {
            let SimpleQueryMessage::Row(found) = message else {
                continue;
            };
            let columns = found.columns().iter().enumerate();
            let row: Row = columns
                .map(|(at, column)| (column.name().to_owned(), found.get(at).map(str::to_owned)))
                .collect();
            rows.insert(Row::from([(key.to_owned(), row[key].clone())]), row);
        }
        rows
    }
}
