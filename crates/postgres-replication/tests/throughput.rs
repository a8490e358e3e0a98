//! How fast rows come, beside `pg_recvlogical`. Run by hand:
//! `cargo test -p postgres-replication throughput -- --ignored --nocapture`.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use postgres_replication::Message;

use crate::fixture::Fixture;

const ROWS: usize = 1_000_000;

#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn a_million_rows_of_ten_columns() {
    let fixture = Fixture::new(
        "create table t (id int primary key, a text, b text, c text, d int, e int, f int, g bool, h timestamptz, i jsonb);
         create publication p for table t;",
    )
    .await;
    let (slot, copy) = (fixture.slot(), format!("{}_copy", fixture.slot()));
    let query = "select pg_copy_logical_replication_slot($1, $2)::text";
    fixture
        .admin
        .query_one(query, &[&slot, &copy])
        .await
        .unwrap();
    fixture
        .execute(&format!(
            "insert into t select n, 'name ' || n, repeat('b', 40), 'c', n, n, n, true, now(),
                 '{{\"key\": \"value\", \"list\": [1, 2, 3]}}' from generate_series(1, {ROWS}) n"
        ))
        .await;
    let end = fixture.position("pg_current_wal_lsn()").await;

    let start = Instant::now();
    let status = Command::new("pg_recvlogical")
        .args([
            "--start",
            "-f",
            "/dev/null",
            "-S",
            &copy,
            "-d",
            fixture.database.url(),
        ])
        .args(["-o", "proto_version=1", "-o", "publication_names=p"])
        .args([
            "--endpos",
            &format!("{:X}/{:X}", end >> 32, end & 0xFFFF_FFFF),
        ])
        .args(["--fsync-interval=0", "--no-loop"])
        .status();
    eprintln!("pg_recvlogical: {:?} ({status:?})", start.elapsed());

    let (start, cpu) = (Instant::now(), cpu_time());
    let mut stream = fixture.start().await;
    let (mut rows, mut first) = (0, None);
    loop {
        match stream.next().await.unwrap() {
            Message::Insert { new, .. } => {
                first.get_or_insert_with(|| start.elapsed());
                rows += usize::from(new.len() == 10);
            }
            Message::Commit { .. } => break,
            _ => {}
        }
    }
    let cpu = cpu_time() - cpu;
    eprintln!(
        "ours: {:?}, of it {cpu:?} CPU; first row after {first:?}",
        start.elapsed()
    );
    assert_eq!(rows, ROWS);
}

/// Of this process, its children left out.
fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let spent = usage.user_time() + usage.system_time();
    Duration::from_micros(spent.num_microseconds().cast_unsigned())
}
