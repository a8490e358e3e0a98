//! What stops capture: named, recorded as a gap, never skipped; and it goes on once that is mended.

use std::process::Command;

use tidegate_capture::Error;
use tidegate_capture::guardian::Cause;
use tidegate_testkit::Postgres;

use crate::fixture::{Fixture, TABLE};

/// A capture that has followed its slot, and is stopped; one row is in the log.
async fn followed_on(postgres: &Postgres) -> Fixture {
    let mut fixture = Fixture::on(postgres, TABLE, &["t"]).await;
    fixture.start();
    fixture
        .execute("insert into t values (1, 'before', 1)")
        .await;
    fixture.wait_until_caught_up().await;
    fixture.stop().await;
    fixture
}

/// A change is made in the gap; capture does not skip it, says what is the matter, resync finds it, and capture goes on.
async fn is_stopped_and_mended(fixture: &mut Fixture, reason: &str) {
    fixture
        .execute("insert into t values (2, 'missed', 2)")
        .await;
    let checkpoint = fixture
        .log
        .checkpoint(&fixture.config.slot)
        .await
        .unwrap()
        .unwrap();
    fixture.start();
    let gap = fixture.wait_for_gap().await;
    assert!(gap.reason.contains(reason), "{}", gap.reason);
    assert_eq!(
        (gap.from_lsn, gap.epoch),
        (checkpoint.end_lsn, checkpoint.epoch)
    );
    fixture
        .execute("insert into t values (3, 'missed', 3)")
        .await;
    let status = tidegate_capture::slot_status(&fixture.config, &fixture.log)
        .await
        .unwrap();
    let problem = status.problem.unwrap().to_string();
    for part in [
        &fixture.config.slot,
        reason,
        &gap.from_lsn.to_string(),
        "tidegate slot resync",
    ] {
        assert!(problem.contains(part), "{part} is not in: {problem}");
    }
    assert_eq!(fixture.entries().await.len(), 1, "nothing was skipped over");

    let resynced = fixture.resync().await.unwrap();
    assert_eq!(resynced.tables[0].inserted, 2);
    assert_eq!(resynced.gap.recovered, Some(2));
    assert!(resynced.gap.to_lsn > Some(gap.from_lsn));
    fixture.execute("insert into t values (4, 'live', 4)").await;
    fixture
        .wait_for("(select count(*) = 4 from tidegate.event)")
        .await;
    assert!(fixture.is_running());
    assert_eq!(fixture.replayed("t").await, fixture.rows("t", "id").await);
    let epochs: Vec<u32> = fixture
        .entries()
        .await
        .iter()
        .map(|entry| entry.event.id.epoch)
        .collect();
    assert_eq!(epochs, [1, 2, 2, 2]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_dropped_slot() {
    let mut fixture = followed_on(Postgres::shared()).await;
    fixture
        .execute("select pg_drop_replication_slot(current_database())")
        .await;
    is_stopped_and_mended(&mut fixture, "does not exist").await;
}

#[tokio::test]
async fn a_slot_made_anew_by_hand() {
    let mut fixture = followed_on(Postgres::shared()).await;
    fixture
        .execute(
            "select pg_drop_replication_slot(current_database());
             select pg_create_logical_replication_slot(current_database(), 'pgoutput')",
        )
        .await;
    is_stopped_and_mended(&mut fixture, "moved it or made it anew").await;
}

#[tokio::test]
async fn a_slot_advanced_by_hand() {
    let mut fixture = followed_on(Postgres::shared()).await;
    fixture
        .execute(
            "insert into t values (9, 'skipped', 9); delete from t where id = 9;
             select pg_replication_slot_advance(current_database(), pg_current_wal_lsn())",
        )
        .await;
    is_stopped_and_mended(&mut fixture, "moved it or made it anew").await;
}

#[tokio::test]
async fn a_slot_that_lost_its_wal() {
    let postgres = Postgres::start_with(&["max_slot_wal_keep_size=4MB", "max_wal_size=8MB"]);
    let mut fixture = followed_on(&postgres).await;
    lose(&fixture).await;
    is_stopped_and_mended(&mut fixture, "wal_status is lost").await;
}

/// Writes more WAL than the slot may keep.
async fn lose(fixture: &Fixture) {
    let admin = fixture.database.connect_as_superuser().await;
    admin
        .batch_execute("create table filler (n integer)")
        .await
        .unwrap();
    loop {
        admin
            .batch_execute("insert into filler values (1); select pg_switch_wal(); checkpoint")
            .await
            .unwrap();
        let status: String = admin
            .query_one("select wal_status from pg_replication_slots", &[])
            .await
            .unwrap()
            .get(0);
        if status == "lost" {
            return;
        }
    }
}

#[tokio::test]
async fn a_slot_of_another_kind_is_left_alone() {
    let mut fixture = followed_on(Postgres::shared()).await;
    fixture
        .execute(
            "select pg_drop_replication_slot(current_database());
             select pg_create_physical_replication_slot(current_database())",
        )
        .await;
    fixture.start();
    let gap = fixture.wait_for_gap().await;
    assert!(
        gap.reason.contains("no persistent logical slot"),
        "{}",
        gap.reason
    );
    let refused = fixture.resync().await.unwrap_err();
    assert!(matches!(refused, Error::Unusable { .. }), "{refused}");
    fixture
        .execute("select pg_drop_replication_slot(current_database())")
        .await;
    fixture.resync().await.unwrap();
    fixture.execute("insert into t values (2, 'live', 2)").await;
    fixture
        .wait_for("(select count(*) = 2 from tidegate.event)")
        .await;
    fixture.stop().await;
}

#[tokio::test]
async fn another_server_and_one_that_is_behind() {
    let mut fixture = followed_on(Postgres::shared()).await;
    // A log that was restored into another server by a dump remembers the server that it came from.
    fixture
        .execute("update tidegate.capture set system_identifier = '1' || system_identifier")
        .await;
    fixture.start();
    let gap = fixture.wait_for_gap().await;
    assert!(gap.reason.contains("another server"), "{}", gap.reason);
    // The right server is back: the same capture closes its gap, and nothing was missed.
    fixture.execute("insert into t values (2, 'kept', 2)").await;
    fixture
        .execute("update tidegate.capture set system_identifier = substr(system_identifier, 2)")
        .await;
    fixture
        .wait_for("(select count(*) = 2 from tidegate.event)")
        .await;
    fixture
        .wait_for("(select bool_and(resolved_at is not null and recovered = 0) from tidegate.gap)")
        .await;
    fixture.stop().await;

    fixture
        .execute("update tidegate.capture set end_lsn = 'FF/0'")
        .await;
    fixture.start();
    let gap = fixture.wait_for_gap().await;
    assert!(
        gap.reason.contains("this server's WAL ends at"),
        "{}",
        gap.reason
    );
    fixture.resync().await.unwrap();
    fixture.execute("insert into t values (3, 'live', 3)").await;
    fixture
        .wait_for("(select count(*) = 3 from tidegate.event)")
        .await;
    fixture.stop().await;
}

#[tokio::test]
async fn an_open_gap_holds_after_a_restart_of_capture() {
    let mut fixture = followed_on(Postgres::shared()).await;
    let slot = fixture.config.slot.clone();
    let end = fixture
        .log
        .checkpoint(&slot)
        .await
        .unwrap()
        .unwrap()
        .end_lsn;
    fixture
        .log
        .begin_gap(&slot, 1, end, "the log went back")
        .await
        .unwrap();
    fixture.execute("insert into t values (2, 'late', 2)").await;
    fixture.start();
    let confirmed = "(select confirmed_flush_lsn::text from pg_replication_slots where slot_name = current_database())";
    let before: String = fixture
        .sql()
        .await
        .query_one(&format!("select {confirmed}"), &[])
        .await
        .unwrap()
        .get(0);
    let resynced = fixture.resync().await.unwrap();
    assert_eq!(
        resynced.tables[0].inserted, 1,
        "nobody had followed the slot"
    );
    fixture
        .wait_for(&format!("{confirmed} <> '{before}'"))
        .await;
    fixture.stop().await;
    let refused = fixture.resync().await.unwrap_err();
    assert!(
        matches!(refused, Error::NothingToResync { .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_restored_from_an_older_copy() {
    let postgres = Postgres::start();
    let mut fixture = followed_on(&postgres).await;
    let data = postgres.directory().join("data");
    let copy = postgres.directory().join("copy");
    postgres.stop();
    run(Command::new("cp").arg("-a").arg(&data).arg(&copy));
    postgres.restart();
    fixture.start();
    fixture
        .execute("insert into t values (2, 'after the copy', 2)")
        .await;
    fixture.wait_until_caught_up().await;
    assert_eq!(fixture.entries().await.len(), 2);

    postgres.stop();
    run(Command::new("rm").arg("-r").arg(&data));
    run(Command::new("mv").arg(&copy).arg(&data));
    postgres.restart();
    let gap = fixture.wait_for_gap().await;
    assert!(
        gap.reason.contains("the log itself went back"),
        "{}",
        gap.reason
    );
    fixture
        .execute("insert into t values (5, 'since', 5)")
        .await;
    let resynced = fixture.resync().await.unwrap();
    assert_eq!(resynced.tables[0].inserted, 1);
    fixture.execute("insert into t values (6, 'live', 6)").await;
    fixture
        .wait_for("(select count(*) = 3 from tidegate.event)")
        .await;
    let entries = fixture.entries().await;
    assert_eq!(
        entries[2].event.id.epoch, 2,
        "no id of the lost history comes again"
    );
    assert_eq!(fixture.replayed("t").await, fixture.rows("t", "id").await);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_server_that_has_all_is_followed_and_one_that_has_not_stops_capture() {
    let postgres = Postgres::start_with(&["restore_command=false"]);
    let mut fixture = followed_on(&postgres).await;
    fixture.start();
    postgres.stop();
    // Recovery to the end of the WAL, and a timeline of its own, as a promoted standby has.
    std::fs::write(postgres.directory().join("data/recovery.signal"), "").unwrap();
    postgres.restart();
    fixture.wait_for("not pg_is_in_recovery()").await;
    fixture
        .execute("insert into t values (2, 'on the new timeline', 2)")
        .await;
    fixture
        .wait_for("(select count(*) = 2 from tidegate.event)")
        .await;
    fixture
        .wait_for("(select timeline = 2 from tidegate.capture)")
        .await;
    fixture.stop().await;

    fixture
        .execute("update tidegate.capture set timeline = 1")
        .await;
    let status = tidegate_capture::slot_status(&fixture.config, &fixture.log)
        .await
        .unwrap();
    let cause = status.problem.unwrap().cause;
    assert!(
        matches!(
            cause,
            Cause::OtherTimeline {
                expected: 1,
                found: 2,
                left_at: Some(_)
            }
        ),
        "the log has what was written after the switch: {cause}"
    );
    is_stopped_and_mended_on_timeline(&mut fixture).await;
}

async fn is_stopped_and_mended_on_timeline(fixture: &mut Fixture) {
    fixture.start();
    let gap = fixture.wait_for_gap().await;
    assert!(
        gap.reason.contains("the log is ahead of this server"),
        "{}",
        gap.reason
    );
    fixture
        .execute("insert into t values (3, 'missed', 3)")
        .await;
    assert_eq!(fixture.resync().await.unwrap().tables[0].inserted, 1);
    fixture.execute("insert into t values (4, 'live', 4)").await;
    fixture
        .wait_for("(select count(*) = 4 from tidegate.event)")
        .await;
    fixture.stop().await;
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
