//! What is confirmed to Postgres, and that it goes on where nothing is captured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fixture::{Fixture, TABLE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_never_confirms_more_than_the_checkpoint_says() {
    let mut fixture = Fixture::new(
        &format!("{TABLE}; create table unpublished (id integer)"),
        &["t"],
    )
    .await;
    fixture.start();
    let (writer, sampler) = (fixture.sql().await, fixture.sql().await);
    let is_written = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&is_written);
    let writing = tokio::spawn(async move {
        for n in 0..300 {
            let sql = format!(
                "insert into t values ({n}, 'x', 0); insert into unpublished select generate_series(1, 200)"
            );
            writer.batch_execute(&sql).await.unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let mut moved = 0;
    let mut last = String::new();
    while !is_written.load(Ordering::Acquire) || moved < 5 {
        let confirmed: String = sampler
            .query_one(
                "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = current_database()",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        let row = sampler
            .query_one(
                "select end_lsn >= $1::text::pg_lsn, end_lsn::text from tidegate.capture",
                &[&confirmed],
            )
            .await
            .unwrap();
        assert!(
            row.get::<_, bool>(0),
            "confirmed {confirmed}, stored {}",
            row.get::<_, &str>(1)
        );
        moved += usize::from(last != confirmed);
        last = confirmed;
    }
    writing.await.unwrap();
    fixture.wait_until_caught_up().await;
    assert_eq!(fixture.entries().await.len(), 300);
    fixture.stop().await;
}

#[tokio::test]
async fn an_idle_database_beside_a_busy_one_retains_no_wal() {
    let postgres = tidegate_testkit::Postgres::start();
    let mut fixture = Fixture::on(&postgres, TABLE, &["t"]).await;
    fixture.start();
    let busy = postgres.create_database().await;
    let (sql, admin) = (busy.connect().await, busy.connect_as_superuser().await);
    sql.batch_execute("create table filler (id integer, text text)")
        .await
        .unwrap();
    let before: String = admin
        .query_one("select pg_current_wal_lsn()::text", &[])
        .await
        .unwrap()
        .get(0);
    for _ in 0..4 {
        sql.batch_execute(
            "insert into filler select n, repeat('x', 500) from generate_series(1, 10000) n",
        )
        .await
        .unwrap();
    }
    let retained = format!(
        "select pg_wal_lsn_diff(pg_current_wal_lsn(), '{before}') > 16e6,
                confirmed_flush_lsn > '{before}' and restart_lsn > '{before}'
                and pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) < 4e6
           from pg_replication_slots where slot_name = '{}'",
        fixture.config.slot
    );
    loop {
        // The slot's oldest WAL moves on where a checkpoint has noted which transactions run.
        admin.batch_execute("checkpoint").await.unwrap();
        let row = admin.query_one(&retained, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "much WAL was written");
        if row.get(1) {
            break;
        }
        assert!(fixture.is_running());
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_heartbeat_is_stored_with_the_position() {
    let mut fixture = Fixture::new(TABLE, &["t"]).await;
    let first = fixture
        .log
        .checkpoint(&fixture.config.slot)
        .await
        .unwrap()
        .unwrap();
    assert!(
        first.oldest_xid.is_some(),
        "known from the slot's beginning"
    );
    fixture.execute("insert into t values (1, 'a', 1)").await;
    fixture.start();
    fixture
        .wait_for(&format!(
            "(select heartbeat_at is not null and oldest_xid > {} and end_lsn > '{}' from tidegate.capture)",
            first.oldest_xid.unwrap(),
            first.end_lsn
        ))
        .await;
    // Another transaction that stays open holds the number back: what it writes is not older than the heartbeat.
    let open = fixture.sql().await;
    open.batch_execute("begin; insert into t values (2, 'b', 2)")
        .await
        .unwrap();
    let xid: i64 = open
        .query_one("select pg_current_xact_id()::text::bigint", &[])
        .await
        .unwrap()
        .get(0);
    for _ in 0..2 {
        let at: String = fixture
            .sql()
            .await
            .query_one("select heartbeat_at::text from tidegate.capture", &[])
            .await
            .unwrap()
            .get(0);
        fixture
            .wait_for(&format!(
                "(select heartbeat_at > '{at}' from tidegate.capture)"
            ))
            .await;
    }
    fixture
        .wait_for(&format!(
            "(select oldest_xid <= {xid} from tidegate.capture)"
        ))
        .await;
    open.batch_execute("commit").await.unwrap();
    fixture
        .wait_for(&format!(
            "(select oldest_xid > {xid} from tidegate.capture)"
        ))
        .await;
    assert_eq!(fixture.entries().await.len(), 2, "heartbeats are no events");
    fixture.stop().await;
}
