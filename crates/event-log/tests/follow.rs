//! Following the log from outside: bodies as they are stored, holes that retention left, cursors of sinks.

use tidegate_event::Lsn;
use tidegate_event_log::sink::Begin;

use crate::fixture::{checkpoint, event, log};

#[tokio::test]
async fn a_follower_gets_bodies_as_they_are_stored_and_sees_holes() {
    let (database, log) = log().await;
    let sql = database.connect().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut appender = log.appender(checkpoint()).await.unwrap();
    let first = event(10, 0).commit_time_us;
    let events = (1..=6).map(|n| {
        let mut event = event(10 * n, 0);
        event.commit_time_us = first + n as i64;
        event
    });
    appender
        .append(&events.collect::<Vec<_>>(), Lsn(61))
        .await
        .unwrap();
    let offsets = async |after, max_lines, max_bytes| {
        let found = log.follow(after, max_lines, max_bytes).await.unwrap();
        let offsets: Vec<u64> = found.lines.iter().map(|line| line.log_offset).collect();
        (offsets, found.dropped_to)
    };
    assert_eq!(offsets(0, 4, 1 << 20).await, (vec![1, 2, 3, 4], None));
    assert_eq!(offsets(0, 4, 1).await, (vec![1], None), "one at least");
    assert_eq!(offsets(6, 4, 1 << 20).await, (vec![], None));
    assert_eq!(log.offset_at(first + 3).await.unwrap(), 2);
    assert_eq!(log.offset_at(first + 3_600_000_000).await.unwrap(), 6);

    let line = log.follow(0, 1, 1).await.unwrap().lines.remove(0);
    let stored = sql.query_one("select body from tidegate.event where log_offset = 1", &[]);
    let stored: String = stored.await.unwrap().get(0);
    assert_eq!(line.body, stored);
    assert_eq!(line.json(), stored.replacen('{', "{\"logOffset\":1,", 1));

    sql.batch_execute("delete from tidegate.event where log_offset in (1, 2, 4)")
        .await
        .unwrap();
    assert_eq!(log.start_offset().await.unwrap(), 2);
    assert_eq!(
        offsets(0, 2, 1 << 20).await,
        (vec![], Some(2)),
        "all it asked for is gone"
    );
    assert_eq!(offsets(0, 6, 1 << 20).await, (vec![3, 5, 6], None));
    sql.batch_execute("delete from tidegate.event")
        .await
        .unwrap();
    assert_eq!(offsets(3, 6, 1 << 20).await, (vec![], Some(6)));
    assert_eq!(offsets(6, 6, 1 << 20).await, (vec![], None));
    assert_eq!(log.start_offset().await.unwrap(), 6);
}

#[tokio::test]
async fn a_follower_is_woken_by_every_append() {
    let (_database, log) = log().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut appender = log.appender(checkpoint()).await.unwrap();
    let mut wake_ups = log.wake_ups();
    for n in 1..=40 {
        let lsn = 10 * n;
        appender
            .append(&[event(lsn, 0)], Lsn(lsn + 1))
            .await
            .unwrap();
        while log.follow(n - 1, 10, 1 << 20).await.unwrap().lines.len() != 1 {
            wake_ups.changed().await.unwrap();
        }
        wake_ups.changed().await.unwrap();
    }
}

#[tokio::test]
async fn one_claim_at_a_time_moves_a_sinks_cursor() {
    let (database, log) = log().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut appender = log.appender(checkpoint()).await.unwrap();
    appender
        .append(&[event(10, 0), event(20, 0)], Lsn(21))
        .await
        .unwrap();
    let take = async |name: &str| log.sink(name).await.unwrap().claim().await.unwrap();
    let Ok(first) = take("a").await else {
        panic!("nobody else has it")
    };
    let Err(waiting) = take("a").await else {
        panic!("the first has it")
    };
    let Ok(other) = take("b").await else {
        panic!("another sink is another right")
    };
    assert_eq!(first.cursor(Begin::Now).await.unwrap(), 2);
    assert_eq!(other.cursor(Begin::Start).await.unwrap(), 0);
    other.record(1).await.unwrap();
    assert_eq!(
        other.cursor(Begin::Now).await.unwrap(),
        1,
        "it is not new any more"
    );

    let sql = database.connect().await;
    // Its connection breaks.
    let end = "select pg_terminate_backend(pid) from pg_locks, hashtextextended('tidegate sink a', 0) as key
                where locktype = 'advisory' and granted
                  and (classid::bigint << 32) | objid::bigint = key
                  and database = (select oid from pg_database where datname = current_database())";
    sql.execute(end, &[]).await.unwrap();
    let mut waiting = waiting;
    let second = loop {
        match waiting.claim().await.unwrap() {
            Ok(claim) => break claim,
            Err(candidate) => waiting = candidate,
        }
    };
    assert!(
        first.record(2).await.is_err(),
        "who lost the lock cannot record"
    );
    assert!(first.is_lost());
    assert_eq!(second.cursor(Begin::Now).await.unwrap(), 2);
}
