//! What the server hears from us, above all while nobody takes messages.

use std::time::Duration;

use postgres_replication::{Connection, Message, Stream};
use tidegate_testkit::Postgres;

use crate::fixture::{Fixture, OURS, PUBLICATION, next, until_end, until_error};

const TABLE: &str =
    "create table t (id int primary key, body text); create publication p for table t;";

/// A stream that the server would cut after a second of silence, with more waiting on it than
/// the sockets' buffers hold.
async fn burdened_stream(fixture: &Fixture, status_interval: Duration) -> Stream {
    let mut config = fixture.config();
    config.options = Some("-c wal_sender_timeout=1s".to_owned());
    config.status_interval = status_interval;
    let rows = "insert into t select id, repeat('x', 500) from generate_series(1, 60000) id";
    fixture.execute(rows).await;
    let connection = Connection::connect(&config).await;
    let connection = connection.expect("the server accepts");
    let stream = connection.start(&fixture.slot(), PUBLICATION, 0).await;
    stream.expect("the slot is free")
}

#[tokio::test]
async fn a_consumer_that_takes_nothing_for_long_stays_connected() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = burdened_stream(&fixture, Duration::from_millis(100)).await;
    let still_there =
        format!("exists (select {OURS} and reply_time > backend_start + interval '3s')");
    fixture.wait_until(&still_there).await;

    fixture.mark_end().await;
    let messages = until_end(&mut stream).await;
    let rows = messages
        .iter()
        .filter(|message| matches!(message, Message::Insert { .. }))
        .count();
    assert_eq!(rows, 60000);
}

/// Shows that the test above could fail.
#[tokio::test]
async fn without_feedback_the_server_cuts_such_a_consumer_off() {
    let fixture = Fixture::new(TABLE).await;
    let mut stream = burdened_stream(&fixture, Duration::from_secs(3600)).await;
    fixture
        .wait_until(&format!("not exists (select {OURS})"))
        .await;
    assert!(until_error(&mut stream).await.is_transient());
}

#[tokio::test]
async fn the_server_never_hears_of_more_than_was_confirmed() {
    let fixture = Fixture::new(TABLE).await;
    let mut config = fixture.config();
    config.status_interval = Duration::from_millis(10);
    let connection = Connection::connect(&config).await.unwrap();
    let mut stream = connection
        .start(&fixture.slot(), PUBLICATION, 0)
        .await
        .unwrap();
    let mut ends = Vec::new();
    for id in 1..=20 {
        fixture
            .execute(&format!("insert into t values ({id})"))
            .await;
        while ends.len() < id {
            if let Message::Commit { end_lsn, .. } = next(&mut stream).await {
                ends.push(end_lsn);
            }
        }
    }
    // Everything was received, and the server heard that, but nothing was confirmed.
    let received = ends[19];
    fixture
        .wait_until(&format!("(select write_lsn - '0/0' >= {received} {OURS})"))
        .await;
    assert!(stream.received() >= received);
    assert_eq!(stream.confirmed(), 0);
    assert_eq!(fixture.confirmed_flush().await, fixture.consistent_point);

    for end in ends {
        stream.confirm(end);
        stream.send_feedback().await.unwrap();
        fixture
            .wait_until(&format!("(select flush_lsn - '0/0' >= {end} {OURS})"))
            .await;
        assert_eq!(fixture.confirmed_flush().await, end);
    }

    // A position beyond what the server sent would skip changes: it is held back.
    stream.confirm(received + (1 << 40));
    stream.send_feedback().await.unwrap();
    fixture.execute("insert into t values (21)").await;
    while !matches!(next(&mut stream).await, Message::Commit { .. }) {}
    assert!(fixture.confirmed_flush().await <= stream.received());
}

#[tokio::test]
async fn keepalives_carry_progress_over_wal_that_is_not_published() {
    let fixture = Fixture::new(&format!("{TABLE} create table unpublished (body text);")).await;
    let mut stream = fixture.start().await;
    fixture
        .execute("insert into unpublished select repeat('x', 500) from generate_series(1, 5000)")
        .await;
    let written = fixture.position("pg_current_wal_lsn()").await;
    loop {
        match next(&mut stream).await {
            Message::Keepalive { wal_end, .. } => {
                stream.confirm(wal_end);
                stream.send_feedback().await.unwrap();
                if wal_end >= written {
                    break;
                }
            }
            message => assert!(
                matches!(message, Message::Begin { .. } | Message::Commit { .. }),
                "{message:?}"
            ),
        }
    }
    fixture
        .wait_until(&format!("(select flush_lsn - '0/0' >= {written} {OURS})"))
        .await;
    assert!(fixture.confirmed_flush().await >= written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_or_dies_is_a_passing_trouble() {
    let postgres = Postgres::start();
    let fixture = Fixture::on(&postgres, TABLE).await;
    for stop in [Postgres::stop, Postgres::kill9] {
        let mut stream = fixture.start().await;
        // A stopping server waits until all it sent is confirmed: the consumer must go on.
        let consumer = tokio::spawn(async move {
            loop {
                match stream.next().await {
                    Ok(
                        Message::Commit {
                            end_lsn: position, ..
                        }
                        | Message::Keepalive {
                            wal_end: position, ..
                        },
                    ) => stream.confirm(position),
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        });
        tokio::task::block_in_place(|| stop(&postgres));
        let error = consumer.await.unwrap();
        assert!(error.is_transient(), "{error}");
        let error = Connection::connect(&fixture.config()).await.err().unwrap();
        assert!(error.is_transient(), "{error}");
        postgres.restart();
    }
}
