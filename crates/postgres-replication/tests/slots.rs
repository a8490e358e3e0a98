//! Slots: their life, their holder, their loss, and where streaming begins.

use postgres_replication::{Connection, Error, Message};
use tidegate_testkit::Postgres;

use crate::describe::describe;
use crate::fixture::{Fixture, OURS, PUBLICATION, config, next_change, until_end, until_error};

const TABLE: &str = "create table t (id int primary key); create publication p for table t;";

#[tokio::test]
async fn a_server_identifies_itself() {
    let fixture = Fixture::new(TABLE).await;
    let identity = fixture.connect().await.identify_system().await.unwrap();
    let query = "select system_identifier::text, (select timeline_id from pg_control_checkpoint())
        from pg_control_system()";
    let row = fixture.admin.query_one(query, &[]).await.unwrap();
    assert_eq!(identity.system_identifier, row.get::<_, String>(0));
    assert_eq!(
        i64::from(identity.timeline),
        i64::from(row.get::<_, i32>(1))
    );
    assert_eq!(identity.dbname, fixture.database.name());
    assert!(identity.xlogpos >= fixture.consistent_point);
}

#[tokio::test]
async fn a_slot_is_created_once_and_dropped_once() {
    let fixture = Fixture::new(TABLE).await;
    let slot = fixture.slot();
    let mut connection = fixture.connect().await;
    let error = connection.create_slot(&slot).await.unwrap_err();
    assert!(
        matches!(&error, Error::SlotExists { slot: named } if *named == slot),
        "{error}"
    );
    assert!(!error.is_transient());
    connection.drop_slot(&slot).await.unwrap();
    let error = connection.drop_slot(&slot).await.unwrap_err();
    assert!(
        matches!(&error, Error::SlotMissing { slot: named } if *named == slot),
        "{error}"
    );
    connection.create_slot(&slot).await.unwrap();
}

#[tokio::test]
async fn a_missing_slot_is_named_and_not_created() {
    let fixture = Fixture::new(TABLE).await;
    let error = fixture
        .connect()
        .await
        .start("absent", PUBLICATION, 0)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::SlotMissing { slot } if slot == "absent"),
        "{error}"
    );
    assert!(!error.is_transient());
    let query = "select count(*) from pg_replication_slots where slot_name = 'absent'";
    assert_eq!(
        fixture
            .admin
            .query_one(query, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );
}

#[tokio::test]
async fn a_busy_slot_names_its_holder_and_is_free_after_close() {
    let fixture = Fixture::new(TABLE).await;
    let holder = fixture.start().await;
    let pid: i32 = fixture
        .admin
        .query_one(
            "select active_pid from pg_replication_slots where slot_name = $1",
            &[&fixture.slot()],
        )
        .await
        .unwrap()
        .get(0);
    let error = fixture.start_from(0).await.err().unwrap();
    let busy = Error::SlotBusy {
        slot: fixture.slot(),
        pid,
    };
    assert_eq!(error.to_string(), busy.to_string());
    assert!(error.is_transient());
    let error = fixture
        .connect()
        .await
        .drop_slot(&fixture.slot())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), busy.to_string());

    holder.close().await.unwrap();
    drop(fixture.start().await);
    fixture
        .wait_until(&format!("not exists (select {OURS})"))
        .await;
}

#[tokio::test]
async fn a_slot_that_lost_wal_is_lost_for_good() {
    let postgres = Postgres::start_with(&["max_slot_wal_keep_size=4MB", "max_wal_size=8MB"]);
    let fixture = Fixture::on(&postgres, TABLE).await;
    for _ in 0..5 {
        fixture
            .execute("insert into t values (1); delete from t")
            .await;
        fixture
            .admin
            .batch_execute("select pg_switch_wal()")
            .await
            .unwrap();
    }
    fixture.admin.batch_execute("checkpoint").await.unwrap();
    let error = fixture.start_from(0).await.err().unwrap();
    assert!(
        matches!(&error, Error::SlotLost { slot } if *slot == fixture.slot()),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn another_reason_not_to_start_is_not_taken_for_loss() {
    let fixture = Fixture::new(TABLE).await;
    let other = Postgres::shared().create_database().await;
    let connection = Connection::connect(&config(&other)).await.unwrap();
    let error = connection
        .start(&fixture.slot(), PUBLICATION, 0)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::Server { code, .. } if code == "55000"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stream_starts_after_what_was_confirmed_or_given() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = fixture.start().await;
    fixture.execute("insert into t values (1)").await;
    fixture.execute("insert into t values (2)").await;
    fixture.mark_end().await;
    let messages = until_end(&mut stream).await;
    let ends: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Commit { end_lsn, .. } => Some(*end_lsn),
            _ => None,
        })
        .collect();

    // Nothing was confirmed: all of it comes again.
    stream.close().await.unwrap();
    let mut stream = fixture.start().await;
    assert_eq!(until_end(&mut stream).await, messages);

    // The first transaction is confirmed: it does not come again.
    stream.confirm(ends[0]);
    stream.close().await.unwrap();
    assert_eq!(fixture.confirmed_flush().await, ends[0]);
    let mut stream = fixture.start().await;
    let lines: Vec<_> = until_end(&mut stream).await.iter().map(describe).collect();
    assert_eq!(lines[2], r#"insert t ("2")"#);

    // The caller holds the second too, though the slot does not know.
    stream.close().await.unwrap();
    let mut stream = fixture.start_from(ends[1]).await.unwrap();
    assert_eq!(until_end(&mut stream).await, []);
}

#[tokio::test]
async fn a_position_that_the_server_never_reached_is_refused() {
    let fixture = Fixture::new(TABLE).await;
    let ahead = fixture.position("pg_current_wal_lsn()").await + (1 << 40);
    let error = fixture.start_from(ahead).await.err().unwrap();
    assert!(
        matches!(error, Error::PositionAhead { from, .. } if from == ahead),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn names_are_quoted_whatever_they_hold() {
    let fixture = Fixture::new(
        r#"create table t (id int primary key); create publication "It's ""odd"", \no?" for table t"#,
    )
    .await;
    let connection = fixture.connect().await;
    let mut stream = connection
        .start(&fixture.slot(), r#"It's "odd", \no?"#, 0)
        .await
        .unwrap();
    fixture.execute("insert into t values (1)").await;
    assert!(matches!(
        next_change(&mut stream).await,
        Message::Begin { .. }
    ));
    // Slots may have only plain names: the server says so (42602), or does not parse the rest (42601).
    for name in ["It's odd", r#"a"; drop"#, ""] {
        let error = fixture.connect().await.create_slot(name).await.unwrap_err();
        assert!(
            matches!(&error, Error::Server { code, .. } if code.starts_with("4260")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_missing_publication_ends_the_stream() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = fixture
        .connect()
        .await
        .start(&fixture.slot(), "absent", 0)
        .await
        .unwrap();
    fixture.execute("insert into t values (1)").await;
    let error = until_error(&mut stream).await;
    assert!(
        matches!(&error, Error::Server { code, .. } if code == "42704"),
        "{error}"
    );
    assert!(!error.is_transient());

    // A failed stream lets go of the slot though its owner still holds it.
    fixture
        .wait_until(&format!("not exists (select {OURS})"))
        .await;
    fixture.start().await;
    drop(stream);
}
