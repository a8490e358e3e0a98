//! A gap is filled with exactly what was missed, whatever happens meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_capture::{Error, Resynced};
use tidegate_event::{ChangeEvent, Operation, Source};

use crate::fixture::{Fixture, TABLE};

const DROP_SLOT: &str = "select pg_drop_replication_slot(current_database())";

fn recovered(entries: &[tidegate_event_log::LogEntry]) -> Vec<&ChangeEvent> {
    let events = entries.iter().map(|entry| &entry.event);
    events
        .filter(|event| event.context.source == Source::Recovered)
        .collect()
}

#[tokio::test]
async fn inserts_updates_deletes_and_new_keys_are_found_and_nothing_else() {
    let mut fixture = Fixture::new(
        &format!(
            "create type pair as (a integer, b text);
             create table u (a char(4), b integer, price numeric, at timestamptz, raw bytea, p pair, d double precision,
                             twice integer generated always as (b * 2) stored, primary key (a, b));
             create table nokey (n integer);
             create table \"_Session\" (\"objectId\" text primary key, \"sessionToken\" text, n integer);
             {TABLE}; insert into t select n, 'before', n from generate_series(1, 10) n"
        ),
        &["t", "u", "nokey", "_Session"],
    )
    .await;
    fixture.start();
    let values = "1.50, '2026-03-29 01:30:00+01', '\\x00ff', row(null, null), 0.1::float4";
    fixture
        .execute(&format!(
            "insert into t select n, 'kept', n from generate_series(11, 20) n;
             insert into u values ('ab', 1, {values}), ('ab', 2, {values});
             insert into nokey values (1); insert into \"_Session\" values ('s1', 'r:secret', 1)"
        ))
        .await;
    fixture.wait_until_caught_up().await;
    fixture.stop().await;
    let before = fixture.entries().await.len();
    fixture.execute(DROP_SLOT).await;
    fixture
        .execute(
            "insert into t values (21, 'missed', null);
             update t set name = 'changed' where id = 11;
             update t set name = name where id = 12;
             delete from t where id in (13, 14);
             insert into t values (14, 'again', 14);
             update t set id = 100 where id = 15;
             update t set name = 'unknown before' where id = 1;
             insert into nokey values (2);
             update u set price = 1.5 where b = 2;
             update \"_Session\" set \"sessionToken\" = 'r:other' where \"objectId\" = 's1';
             insert into \"_Session\" values ('s2', 'r:third', 2);
             alter table t add column later text default 'x'",
        )
        .await;
    let Resynced { tables, gap } = fixture.resync().await.unwrap();
    let found: Vec<_> = tables
        .iter()
        .map(|table| {
            (
                table.table.as_str(),
                table.inserted,
                table.updated,
                table.deleted,
                table.skipped,
            )
        })
        .collect();
    let expected = [
        ("public.\"_Session\"", 1, 0, 0, false),
        ("public.nokey", 0, 0, 0, true),
        // 21, 100, and 1, which was there before capture began.
        ("public.t", 3, 3, 2, false),
        ("public.u", 0, 1, 0, false),
    ];
    assert_eq!(found, expected);
    assert_eq!(gap.recovered, Some(10));
    let entries = fixture.entries().await;
    let events = recovered(&entries);
    assert_eq!((events.len(), entries.len()), (10, before + 10));
    let of = |table: &str, id: &str| {
        let key = Some(Some(id.to_owned()));
        let mut found = events
            .iter()
            .filter(|event| event.table == table && event.key.values().next().cloned() == key);
        let event = found.next().unwrap();
        assert!(found.next().is_none(), "one change for {id}");
        event
    };
    let changed = of("t", "11");
    assert_eq!(changed.operation, Operation::Update);
    assert_eq!(changed.old.as_ref().unwrap()["name"], Some("kept".into()));
    assert_eq!(
        changed.new.as_ref().unwrap()["name"],
        Some("changed".into())
    );
    assert!(changed.changed.contains(&"name".to_owned()));
    let gone = of("t", "13");
    assert_eq!(gone.operation, Operation::Delete);
    assert_eq!(gone.old.as_ref().unwrap()["name"], Some("kept".into()));
    assert_eq!(
        (of("t", "15").operation, of("t", "100").operation),
        (Operation::Delete, Operation::Insert)
    );
    assert_eq!(
        of("t", "12").changed,
        ["later"],
        "written late, and it has a column that the log does not know"
    );
    assert_eq!(
        of("u", "ab  ").changed,
        ["price"],
        "printed as the stream prints it"
    );
    assert_eq!(
        of("u", "ab  ").new.as_ref().unwrap()["p"],
        Some("(,)".into())
    );
    assert!(
        events
            .iter()
            .all(|event| event.id.epoch == 2 && event.context.master)
    );
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains("r:"), "no secret");
}

#[tokio::test]
async fn a_truncated_table_and_an_old_key_do_not_come_back() {
    let mut fixture = Fixture::new(TABLE, &["t"]).await;
    fixture.start();
    fixture
        .execute(
            "insert into t select n, 'gone', n from generate_series(1, 5) n; truncate t;
             insert into t values (3, 'new', 3), (6, 'six', 6); update t set id = 7 where id = 6;
             select pg_logical_emit_message(true, 'tidegate', '{\"context\": {\"note\": \"a\\u0000b\"}}');
             insert into t values (8, 'with a NUL in its context', 8)",
        )
        .await;
    fixture.wait_until_caught_up().await;
    fixture.stop().await;
    fixture.execute(DROP_SLOT).await;
    fixture.execute("delete from t where id = 3").await;
    let resynced = fixture.resync().await.unwrap();
    let table = &resynced.tables[0];
    assert_eq!((table.inserted, table.updated, table.deleted), (0, 0, 1));
    assert_eq!(fixture.replayed("t").await, fixture.rows("t", "id").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_made_while_it_runs_come_once_and_in_order() {
    let mut fixture = Fixture::new(TABLE, &["t"]).await;
    fixture.start();
    fixture
        .execute("insert into t select n, 'kept', 0 from generate_series(1, 3000) n")
        .await;
    fixture.wait_until_caught_up().await;
    fixture.stop().await;
    fixture.execute(DROP_SLOT).await;
    fixture
        .execute("update t set n = 1 where id <= 1500; delete from t where id > 2500")
        .await;
    fixture.start();
    fixture.wait_for_gap().await;
    let writer = fixture.sql().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let writing = tokio::spawn(async move {
        let mut round = 0;
        while !over.load(Ordering::Acquire) || round < 50 {
            round += 1;
            let id = round % 3000 + 1;
            let sql = format!(
                "insert into t values ({id}, 'live', {round}) on conflict (id) do update set n = {round};
                 delete from t where id = {id} + 7"
            );
            writer.batch_execute(&sql).await.unwrap();
        }
    });
    fixture.resync().await.unwrap();
    is_over.store(true, Ordering::Release);
    writing.await.unwrap();
    fixture.wait_until_caught_up().await;
    assert_eq!(fixture.replayed("t").await, fixture.rows("t", "id").await);
    let entries = fixture.entries().await;
    assert!(recovered(&entries).len() >= 1900, "the gap's own changes");
    assert!(
        entries.len() > 3000 + recovered(&entries).len(),
        "and live ones after them"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn one_that_is_ended_in_the_middle_is_done_again_without_doubles() {
    let mut fixture = Fixture::new(TABLE, &["t"]).await;
    fixture.start();
    fixture
        .execute("insert into t select n, 'kept', 0 from generate_series(1, 100) n")
        .await;
    fixture.wait_until_caught_up().await;
    fixture.stop().await;
    fixture.execute(DROP_SLOT).await;
    fixture
        .execute("insert into t select n, 'missed', 0 from generate_series(101, 12000) n")
        .await;
    fixture.start();
    let gap = fixture.wait_for_gap().await;

    let (config, log, triggers) = (
        fixture.config.clone(),
        fixture.log.clone(),
        fixture.triggers(),
    );
    let (appended, first) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut appended = Some(appended);
        let stop = |_: &tidegate_capture::resync::Progress<'_>| {
            // As a kill between two appends: the future is never polled again.
            appended.take().unwrap().send(()).unwrap();
            panic!("ended here by the test");
        };
        tidegate_capture::resync(&config, &log, &triggers, stop).await
    });
    first.await.unwrap();
    assert!(task.await.unwrap_err().is_panic());
    let partly = fixture.entries().await.len();
    assert_eq!(partly, 100 + 5000);
    let open = fixture
        .log
        .open_gap(&fixture.config.slot)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (open.id, open.recovered),
        (gap.id, Some(5000)),
        "still open"
    );
    fixture
        .execute(
            "update t set name = 'changed between' where id = 101; delete from t where id = 102",
        )
        .await;

    let resynced = loop {
        match fixture.resync().await {
            // The session of the one that was ended has not ended yet.
            Err(Error::ResyncAtWork { .. }) => tokio::task::yield_now().await,
            resynced => break resynced.unwrap(),
        }
    };
    let table = &resynced.tables[0];
    assert_eq!(
        (table.inserted, table.updated, table.deleted),
        (11_900 - 5_000, 1, 1)
    );
    assert_eq!(resynced.gap.recovered, Some(11_902));
    fixture
        .execute("insert into t values (20000, 'live', 1)")
        .await;
    fixture
        .wait_for("exists (select from tidegate.event where body like '%20000%')")
        .await;
    assert_eq!(fixture.replayed("t").await, fixture.rows("t", "id").await);
    fixture.stop().await;
}

#[tokio::test]
async fn a_slot_that_is_well_or_followed_is_refused() {
    let mut fixture = Fixture::new(TABLE, &["t"]).await;
    let refused = fixture.resync().await.unwrap_err();
    assert!(
        matches!(refused, Error::NothingToResync { .. }),
        "{refused}"
    );
    fixture.start();
    fixture
        .wait_for("exists (select from pg_replication_slots where slot_name = current_database() and active)")
        .await;
    let refused = fixture.resync().await.unwrap_err();
    let is_busy = matches!(
        &refused,
        Error::Replication {
            source: postgres_replication::Error::SlotBusy { .. }
        }
    );
    assert!(is_busy, "{refused}");
    fixture.execute("insert into t values (1, 'live', 1)").await;
    fixture
        .wait_for("(select count(*) = 1 from tidegate.event)")
        .await;
    fixture.stop().await;
}
