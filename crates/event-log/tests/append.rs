//! Appending: each event once, in order, whoever tries what.

use tidegate_event::Lsn;
use tidegate_event_log::Error;

use crate::fixture::{SLOT, checkpoint, connect, event, log};

#[tokio::test]
async fn events_come_back_as_they_were_with_dense_offsets() {
    let (_database, log) = log().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut appender = log.appender(checkpoint()).await.unwrap();
    let events = [event(10, 0), event(10, 1), event(20, 0)];
    assert_eq!(appender.append(&events[..2], Lsn(11)).await.unwrap(), 2);
    assert_eq!(appender.append(&events[2..], Lsn(21)).await.unwrap(), 3);
    let read = log.read(0, 10).await.unwrap();
    assert_eq!(
        read.iter()
            .map(|entry| entry.log_offset)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(
        read.into_iter()
            .map(|entry| entry.event)
            .collect::<Vec<_>>(),
        events
    );
    assert_eq!(log.read(1, 1).await.unwrap()[0].log_offset, 2);
    assert_eq!(
        (
            log.read(3, 10).await.unwrap().len(),
            log.last_offset().await.unwrap()
        ),
        (0, 3)
    );
}

#[tokio::test]
async fn a_restarted_appender_knows_what_is_there() {
    let (_database, log) = log().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut appender = log.appender(checkpoint()).await.unwrap();
    // Killed in the middle of the transaction that commits at 20.
    appender
        .append(&[event(10, 0), event(20, 0), event(20, 1)], Lsn(11))
        .await
        .unwrap();
    drop(appender);
    let found = log.checkpoint(SLOT).await.unwrap().unwrap();
    assert_eq!(
        (found.commit_lsn, found.ordinal, found.end_lsn),
        (Lsn(20), 2, Lsn(11))
    );
    let mut appender = log.appender(found).await.unwrap();
    let known = [(10, 0), (20, 0), (20, 1), (20, 2), (30, 0)]
        .map(|(lsn, ordinal)| appender.has(Lsn(lsn), ordinal));
    assert_eq!(known, [true, true, true, false, false]);
    assert_eq!(appender.append(&[event(20, 2)], Lsn(21)).await.unwrap(), 4);
}

#[tokio::test]
async fn of_two_appenders_the_slower_adds_nothing() {
    let (database, log) = log().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut slow = log.appender(checkpoint()).await.unwrap();
    let mut quick = connect(&database)
        .await
        .appender(checkpoint())
        .await
        .unwrap();
    quick.append(&[event(10, 0)], Lsn(11)).await.unwrap();
    let refused = slow.append(&[event(10, 0), event(20, 0)], Lsn(21)).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    assert_eq!(log.read(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reader_is_woken_by_an_append() {
    let (_database, log) = log().await;
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut listener = log.listen().await.unwrap();
    let mut appender = log.appender(checkpoint()).await.unwrap();
    appender.append(&[event(10, 0)], Lsn(11)).await.unwrap();
    let begun = std::time::Instant::now();
    let at_most = std::time::Duration::from_secs(60);
    listener.changed(at_most).await.unwrap();
    assert!(begun.elapsed() < at_most, "it was woken, not timed out");
}
