//! Partitions: made ahead, dropped when they are over; what is unfinished in them is kept.

use tidegate_event::Lsn;
use tidegate_event_log::{DispatchState, EventLog, Holding};
use tidegate_testkit::Database;

use crate::fixture::{checkpoint, event, log, trigger};

/// A log with partitions of ten and nine days ago, as they were made then: events 1 to 4 of ten days ago, 5 and 6 of
/// nine days ago, 7 of today. Everything up to 5 is settled.
async fn aged() -> (Database, EventLog) {
    let (database, log) = log().await;
    let sql = database.connect().await;
    for days in [10, 9] {
        let statement = format!(
            "do $$ declare day date := (now() at time zone 'UTC')::date - {days}; begin
               execute format('create table tidegate.event_%s partition of tidegate.event for values from (%L) to (%L)',
                              to_char(day, 'YYYY_MM_DD'), day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
             end $$"
        );
        sql.batch_execute(&statement).await.unwrap();
    }
    log.create_checkpoint(&checkpoint()).await.unwrap();
    let mut appender = log.appender(checkpoint()).await.unwrap();
    let events: Vec<_> = (1..=7).map(|n| event(10 * n, 0)).collect();
    appender.append(&events, Lsn(71)).await.unwrap();
    // Updating the partition key moves a row to its partition.
    sql.batch_execute(
        "update tidegate.event set logged_at = logged_at - interval '10 days' where log_offset <= 4;
         update tidegate.event set logged_at = logged_at - interval '9 days' where log_offset in (5, 6)",
    )
    .await
    .unwrap();
    let leadership = log
        .lead_dispatch()
        .await
        .unwrap()
        .expect("nobody else leads");
    assert!(log.lead_dispatch().await.unwrap().is_none(), "one leads");
    let state = DispatchState {
        log_offset: 7,
        settled_offset: 5,
        generation: 1,
        triggers: Vec::new(),
    };
    leadership.record(&state).await.unwrap();
    // 1 and 5 are done, 2 is dead, 3 is held, 4 fired nothing, 6 has no outcome yet.
    sql.batch_execute(
        "insert into tidegate.outcome (log_offset, trigger, status, attempts, duration_us)
         values (1, 'afterSave:Item', 'done', 1, 1), (2, 'afterSave:Item', 'dead', 5, 1),
                (2, 'afterSave:Item@hook', 'done', 1, 1), (5, 'afterSave:Item', 'done', 1, 1);
         insert into tidegate.effect (cause, position, log_offset, kind, class, answer)
         values ('a', '0', 1, 'create', 'Log', '{}'), ('b', '0', 2, 'create', 'Log', '{}')",
    )
    .await
    .unwrap();
    let held = Holding {
        log_offset: 3,
        trigger: trigger().to_string(),
        place: 3,
        key: None,
    };
    log.hold(&[held]).await.unwrap();
    log.ensure_partitions(2).await.unwrap();
    log.ensure_partitions(2).await.unwrap();
    (database, log)
}

/// Offsets of events, outcomes and effects.
async fn left(database: &Database) -> [Vec<i64>; 3] {
    let sql = database.connect().await;
    let mut left = [Vec::new(), Vec::new(), Vec::new()];
    for (table, offsets) in ["event", "outcome", "effect"].iter().zip(&mut left) {
        let query = format!("select distinct log_offset from tidegate.{table} order by 1");
        let rows = sql.query(&query, &[]).await.unwrap();
        *offsets = rows.iter().map(|row| row.get(0)).collect();
    }
    left
}

#[tokio::test]
async fn a_partition_goes_and_what_is_unfinished_in_it_stays() {
    let (database, log) = aged().await;
    assert_eq!(
        log.drop_expired(10).await.unwrap(),
        Vec::<String>::new(),
        "ten whole days are kept"
    );
    assert_eq!(log.drop_expired(9).await.unwrap().len(), 1);
    assert_eq!(
        left(&database).await,
        [vec![2, 3, 5, 6, 7], vec![2, 3, 5], vec![2]]
    );
    assert_eq!(log.drop_expired(7).await.unwrap().len(), 1);
    assert_eq!(
        left(&database).await,
        [vec![2, 3, 6, 7], vec![2, 3], vec![2]]
    );
    let size = log.size(7).await.unwrap();
    assert_eq!(size.kept_beyond, 3);
    assert!(size.bytes > 0 && size.oldest.unwrap().as_secs() > 9 * 86_400);
    let moved = log.read(1, 5).await.unwrap();
    assert_eq!(moved[0].event, event_like(&moved[0].event, 20));
}

/// The event as it was appended, but for its commit time.
fn event_like(found: &tidegate_event::ChangeEvent, lsn: u64) -> tidegate_event::ChangeEvent {
    tidegate_event::ChangeEvent {
        commit_time_us: found.commit_time_us,
        ..event(lsn, 0)
    }
}

#[tokio::test]
async fn what_was_kept_goes_when_it_is_finished_or_its_own_time_is_over() {
    let (database, log) = aged().await;
    log.drop_expired(7).await.unwrap();
    assert_eq!(
        log.prune_kept(7, 90).await.unwrap(),
        0,
        "nothing is finished"
    );
    assert_eq!(left(&database).await[0], [2, 3, 6, 7]);
    let sql = database.connect().await;
    sql.batch_execute("update tidegate.outcome set status = 'moved' where log_offset = 3")
        .await
        .unwrap();
    assert_eq!(log.prune_kept(7, 90).await.unwrap(), 0);
    assert_eq!(left(&database).await, [vec![2, 6, 7], vec![2], vec![2]]);
    assert_eq!(
        log.prune_kept(7, 8).await.unwrap(),
        1,
        "the dead letter's time is over"
    );
    assert_eq!(
        left(&database).await,
        [vec![6, 7], vec![], vec![]],
        "what is not settled stays whatever its age"
    );
}
