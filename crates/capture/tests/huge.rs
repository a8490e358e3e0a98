//! One transaction of very many rows: bounded memory, and going on within it after an end.

use std::time::Instant;

use tidegate_testkit::Postgres;

use crate::fixture::{Fixture, TABLE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_many_rows_goes_on_where_it_was_ended() {
    const ROWS: i64 = 50_000;
    let mut fixture = Fixture::new(TABLE, &["t"]).await;
    fixture
        .execute(&format!(
            "insert into t select n, 'x', n from generate_series(1, {ROWS}) n"
        ))
        .await;
    fixture.start();
    fixture
        .wait_for("exists (select from tidegate.event)")
        .await;
    fixture.abort().await;
    let checkpoint = fixture
        .log
        .checkpoint(&fixture.config.slot)
        .await
        .unwrap()
        .unwrap();
    let (ordinal, end) = (i64::from(checkpoint.ordinal), checkpoint.end_lsn);
    assert!(
        ordinal > 0 && ordinal < ROWS,
        "ended within the transaction, at {ordinal}"
    );
    assert!(
        end < checkpoint.commit_lsn,
        "it is not confirmed before it is whole"
    );
    fixture.start();
    fixture.wait_until_caught_up().await;
    let entries = fixture.entries().await;
    let ordinals = entries
        .iter()
        .map(|entry| i64::from(entry.event.id.ordinal));
    assert!(ordinals.eq(0..ROWS), "each once, in order");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn a_million_rows_in_one_transaction() {
    const ROWS: i64 = 1_000_000;
    let postgres = Postgres::start_with(&["wal_sender_timeout=5s"]);
    let mut fixture = Fixture::on(
        &postgres,
        "create table t (id integer primary key, name text, doc text)",
        &["t"],
    )
    .await;
    // The server's own limit holds, not the session's.
    fixture.config.database_url += "?options=-c%20wal_sender_timeout=5s";
    fixture
        .execute(&format!(
            "insert into t select n, 'name ' || n, repeat('d', 200) from generate_series(1, {ROWS}) n"
        ))
        .await;
    let begun = Instant::now();
    fixture.start();
    fixture
        .wait_for("(select last_offset > 300000 from tidegate.log)")
        .await;
    fixture.abort().await;
    eprintln!("ended at {:?}, peak {}", begun.elapsed(), peak());
    fixture.start();
    let sql = fixture.sql().await;
    loop {
        let last: i64 = sql
            .query_one("select last_offset from tidegate.log, pg_sleep(0.2)", &[])
            .await
            .unwrap()
            .get(0);
        if last >= ROWS {
            break;
        }
        assert!(
            begun.elapsed().as_secs() < 500,
            "at {last} after {:?}",
            begun.elapsed()
        );
    }
    eprintln!("all at {:?}, peak {}", begun.elapsed(), peak());
    let row = sql
        .query_one(
            "select count(*), count(distinct ordinal), max(log_offset) from tidegate.event",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (
            row.get::<_, i64>(0),
            row.get::<_, i64>(1),
            row.get::<_, i64>(2)
        ),
        (ROWS, ROWS, ROWS)
    );
    fixture.stop().await;
}

/// The most memory that this process ever held.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.to_owned()
}
