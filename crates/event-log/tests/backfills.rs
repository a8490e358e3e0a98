//! Backfills: every row once, as the WAL would have carried it, and never behind something newer.

use std::collections::BTreeSet;

use tidegate_event::{ChangeEvent, Operation, Row, Source, Trigger, TriggerKind, TriggerSet};
use tidegate_event_log::backfill::Backfill;
use tidegate_event_log::operation::{Specification, Step};
use tidegate_event_log::{Appender, Error, EventLog, LogEntry};
use tidegate_testkit::Database;
use tokio_postgres::Client;

use crate::fixture;

const PUBLICATION: &str = "test_publication";

struct Stage {
    database: Database,
    log: EventLog,
    appender: Appender,
    lsn: u64,
}

fn triggers() -> TriggerSet {
    let trigger = |table: &str| Trigger::code(TriggerKind::AfterSave, table);
    [trigger("s.t")].into_iter().collect()
}

impl Stage {
    /// A table `s.t` with these columns and rows, published.
    async fn new(columns: &str, rows: &str) -> Stage {
        let (database, log) = fixture::log().await;
        let checkpoint = log.create_checkpoint(&fixture::checkpoint()).await.unwrap();
        let appender = log.appender(checkpoint).await.unwrap();
        let stage = Stage {
            database,
            log,
            appender,
            lsn: 0,
        };
        let setup = format!(
            "create schema s; create table s.t ({columns}); insert into s.t {rows};
             create publication {PUBLICATION} for table s.t"
        );
        stage.sql(&setup).await;
        stage
    }

    async fn sql(&self, statement: &str) -> Client {
        let client = self.database.connect().await;
        client.batch_execute(statement).await.unwrap();
        client
    }

    async fn start(&self) -> u64 {
        let backfill = Backfill {
            schema: "s".into(),
            table: "t".into(),
            triggers: vec!["afterSave:s.t".into()],
            chunk_rows: 500,
            publication: PUBLICATION.into(),
        };
        let specification = Specification::Backfill(backfill);
        let made = self.log.create_operation(&specification, None, None).await;
        made.unwrap().id
    }

    /// Steps to the end, and returns what was appended.
    async fn finish(&self, id: u64, limit: usize) -> Vec<LogEntry> {
        while self.log.step(id, &triggers(), limit).await.unwrap() != Step::Ended {}
        let all = self.log.read(0, 10_000).await.unwrap();
        let added = all.into_iter().filter(|entry| entry.redelivery.is_some());
        added.collect()
    }

    /// As capture does when the walsender sends it a transaction's change.
    async fn capture(&mut self, xid: u32, event: ChangeEvent) {
        self.lsn += 8;
        let event = ChangeEvent {
            xid,
            schema: "s".into(),
            table: "t".into(),
            ..event
        };
        let lsn = tidegate_event::Lsn(self.lsn);
        let event = ChangeEvent {
            id: tidegate_event::EventId {
                commit_lsn: lsn,
                ..event.id
            },
            ..event
        };
        self.appender.append(&[event], lsn).await.unwrap();
    }
}

fn key(id: i64) -> Row {
    Row::from([("id".into(), Some(id.to_string()))])
}

fn change(operation: Operation, key: Row, old: Option<Row>) -> ChangeEvent {
    ChangeEvent {
        operation,
        key,
        old,
        ..fixture::event(8, 0)
    }
}

/// The transaction's number, as the WAL has it.
async fn xid(client: &Client) -> u32 {
    let row = client
        .query_one(
            "select (pg_current_xact_id()::text::numeric % 4294967296)::bigint",
            &[],
        )
        .await
        .unwrap();
    row.get::<_, i64>(0) as u32
}

fn ids(entries: &[LogEntry]) -> Vec<String> {
    let id = |entry: &LogEntry| entry.event.key["id"].clone().unwrap();
    entries.iter().map(id).collect()
}

#[tokio::test]
async fn every_row_is_an_event_once_in_the_order_of_its_key() {
    let stage = Stage::new(
        "id integer primary key, note text",
        "select n, 'note ' || n from generate_series(1, 25) n",
    )
    .await;
    let id = stage.start().await;
    let added = stage.finish(id, 7).await;
    let expected: Vec<String> = (1..=25).map(|n| n.to_string()).collect();
    assert_eq!(ids(&added), expected);
    let distinct: BTreeSet<_> = added.iter().map(|entry| entry.event.id).collect();
    assert_eq!(distinct.len(), 25, "each has an id of its own");
    let LogEntry {
        event, redelivery, ..
    } = &added[2];
    assert_eq!(event.operation, Operation::Insert);
    assert_eq!(
        (event.context.source, event.context.master),
        (Source::Backfill, true)
    );
    assert_eq!(
        event.new.as_ref().unwrap()["note"].as_deref(),
        Some("note 3")
    );
    let redelivery = redelivery.as_ref().unwrap();
    assert_eq!(redelivery.operation, Some(id));
    assert_eq!(redelivery.triggers, ["afterSave:s.t"]);
    let operation = stage.log.operation(id).await.unwrap().unwrap();
    assert_eq!((operation.done, operation.appended), (25, 25));
}

#[tokio::test]
async fn keys_of_several_columns_and_of_any_type_are_paged_through() {
    let columns = r#"region character(4), "At It" timestamptz, amount numeric(12,4), tag bytea, weight float8, day interval,
        _secret text, primary key ("At It", region, amount, tag, weight, day)"#;
    let rows = r"select r, '2026-01-01 10:00:00.123456+05'::timestamptz + n * interval '1 microsecond', a::numeric, '\x00ff'::bytea,
                        0.1::float8 + n, n * interval '36 hours', 'hidden'
                   from generate_series(1, 5) n, unnest(array['a''b', 'ü', '']) r, unnest(array['-1.5', 'NaN']) a";
    let stage = Stage::new(columns, rows).await;
    let id = stage.start().await;
    let added = stage.finish(id, 4).await;
    let distinct: BTreeSet<&Row> = added.iter().map(|entry| &entry.event.key).collect();
    assert_eq!((added.len(), distinct.len()), (30, 30));
    let row = added[0].event.new.as_ref().unwrap();
    // As a walsender prints them: UTC, padded, every digit.
    assert_eq!(
        row["At It"].as_deref(),
        Some("2026-01-01 05:00:00.123457+00")
    );
    assert_eq!(row["region"].as_deref(), Some("    "));
    assert_eq!(row["weight"].as_deref(), Some("1.1"));
    assert_eq!(row["tag"].as_deref(), Some(r"\x00ff"));
    assert!(!row.contains_key("_secret"));
}

#[tokio::test]
async fn a_row_that_changed_after_it_was_read_is_left_to_its_own_event() {
    let mut stage = Stage::new(
        "id bigint primary key, n integer",
        "select n, 0 from generate_series(1, 4) n",
    )
    .await;
    // In the log before anybody else sees it: its commit is in the WAL, and its session still waits for a disk.
    let unseen = stage.sql("begin; update s.t set n = 1 where id = 2").await;
    let newer = xid(&unseen).await;
    stage
        .capture(newer, change(Operation::Update, key(2), None))
        .await;
    // Seen by the read, and in the log: the row is the same or newer.
    let seen = stage.sql("begin; update s.t set n = 1 where id = 3").await;
    let older = xid(&seen).await;
    seen.batch_execute("commit").await.unwrap();
    stage
        .capture(older, change(Operation::Update, key(3), None))
        .await;
    let id = stage.start().await;
    // The writer of row 2 began before the table was seen to be captured.
    let waits = stage.log.step(id, &triggers(), 10).await.unwrap();
    assert!(matches!(waits, Step::Waiting(_)), "{waits:?}");
    drop(unseen);
    let added = stage.finish(id, 10).await;
    assert_eq!(ids(&added), ["1", "2", "3", "4"], "it was rolled back");

    // The same, begun later than the backfill.
    let id = stage.start().await;
    let before = stage.log.last_offset().await.unwrap();
    assert!(matches!(
        stage.log.step(id, &triggers(), 1).await.unwrap(),
        Step::Appended { .. }
    ));
    let unseen = stage
        .sql("begin; update s.t set n = 2 where id = 2; update s.t set id = 40 where id = 4")
        .await;
    let newer = xid(&unseen).await;
    stage
        .capture(newer, change(Operation::Update, key(2), None))
        .await;
    stage
        .capture(newer, change(Operation::Update, key(40), Some(key(4))))
        .await;
    let added = stage.finish(id, 10).await;
    let added: Vec<LogEntry> = added
        .into_iter()
        .filter(|entry| entry.log_offset > before)
        .collect();
    assert_eq!(ids(&added), ["1", "3"], "4 is 40 now");
}

#[tokio::test]
async fn nothing_is_put_behind_a_truncate_that_was_not_seen() {
    let mut stage = Stage::new(
        "id bigint primary key",
        "select n from generate_series(1, 4) n",
    )
    .await;
    let id = stage.start().await;
    assert!(matches!(
        stage.log.step(id, &triggers(), 1).await.unwrap(),
        Step::Appended { .. }
    ));
    // A number that no snapshot has seen: a transaction that is not visible yet.
    let unseen = xid(&stage.sql("begin").await).await + 1_000;
    stage
        .capture(unseen, change(Operation::Truncate, Row::new(), None))
        .await;
    assert_eq!(ids(&stage.finish(id, 10).await), ["1"]);
}

#[tokio::test]
async fn a_table_that_is_not_captured_is_waited_for_and_one_without_a_key_is_refused() {
    let stage = Stage::new("id bigint", "values (1)").await;
    let id = stage.start().await;
    let error = stage.log.step(id, &triggers(), 10).await.unwrap_err();
    assert!(matches!(error, Error::Operation { .. }), "{error}");
    assert!(error.to_string().contains("primary key"));
    let rows = stage.log.table_rows("s", "t").await.unwrap().unwrap();
    assert_eq!((rows.has_primary_key, rows.rows), (false, 1));
    assert!(
        stage
            .log
            .table_rows("s", "nothing")
            .await
            .unwrap()
            .is_none()
    );

    stage
        .sql(&format!(
            "alter table s.t add primary key (id); drop publication {PUBLICATION}"
        ))
        .await;
    let waits = stage.log.step(id, &triggers(), 10).await.unwrap();
    assert!(matches!(waits, Step::Waiting(_)), "{waits:?}");
    stage
        .sql(&format!("create publication {PUBLICATION} for table s.t"))
        .await;
    assert_eq!(ids(&stage.finish(id, 10).await), ["1"]);
}

#[tokio::test]
async fn a_value_that_is_too_large_stays_in_its_table() {
    let stage = Stage::new(
        "id bigint primary key, doc text, small text",
        "select 1, repeat('x', 9000000), 'y'",
    )
    .await;
    let id = stage.start().await;
    let added = stage.finish(id, 10).await;
    let event = &added[0].event;
    assert_eq!(event.truncated["doc"], 9_000_000);
    let new = event.new.as_ref().unwrap();
    assert!(!new.contains_key("doc") && new["small"].as_deref() == Some("y"));
}

#[tokio::test]
async fn a_partitioned_table_is_read_as_its_root() {
    let stage = Stage::new("id bigint primary key", "values (0)").await;
    stage
        .sql(&format!(
            "drop table s.t; create table s.t (id bigint primary key) partition by range (id);
             create table s.a partition of s.t for values from (0) to (10);
             create table s.b partition of s.t for values from (10) to (20);
             insert into s.t select generate_series(5, 14); drop publication {PUBLICATION};
             create publication {PUBLICATION} for table s.t with (publish_via_partition_root = true)"
        ))
        .await;
    assert_eq!(
        stage.log.table_rows("s", "t").await.unwrap().unwrap().rows,
        10
    );
    let id = stage.start().await;
    assert_eq!(stage.finish(id, 3).await.len(), 10);
}
