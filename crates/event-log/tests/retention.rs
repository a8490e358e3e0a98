//! Partitions: made ahead, dropped when all in them is done, kept when something is not.

use std::time::Duration;

use tidegate_event::Lsn;
use tidegate_event_log::{DispatchState, Outcome, Status};

use crate::fixture::{checkpoint, event, log, trigger};

const DAY_US: i64 = 86_400_000_000;

#[tokio::test]
async fn a_partition_goes_only_when_everything_in_it_is_done() {
    let (database, log) = log().await;
    let sql = database.connect().await;
    // Partitions of ten and nine days ago, as they were made then.
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
    let aged = |lsn, days| {
        let mut event = event(lsn, 0);
        event.commit_time_us -= days * DAY_US;
        event
    };
    appender
        .append(&[aged(10, 10), aged(20, 9), aged(30, 0)], Lsn(31))
        .await
        .unwrap();
    log.ensure_partitions(2).await.unwrap();
    log.ensure_partitions(2).await.unwrap();

    assert_eq!(
        log.drop_expired(7).await.unwrap(),
        Vec::<String>::new(),
        "not settled yet"
    );
    let leadership = log
        .lead_dispatch()
        .await
        .unwrap()
        .expect("nobody else leads");
    assert!(log.lead_dispatch().await.unwrap().is_none(), "one leads");
    leadership
        .record(&DispatchState {
            log_offset: 3,
            settled_offset: 3,
            generation: 1,
            triggers: Vec::new(),
        })
        .await
        .unwrap();
    let lane = log
        .lanes("worker", 1, Duration::from_secs(60))
        .await
        .unwrap()
        .renew()
        .await
        .unwrap()[0];
    let outcome = |log_offset, status| Outcome {
        log_offset,
        trigger: trigger(),
        status,
        attempts: 1,
        error: None,
        logs: None,
        duration_us: 1,
        lane,
    };
    log.record_outcomes(&[outcome(1, Status::Dead), outcome(2, Status::Done)])
        .await
        .unwrap();
    let dropped = log.drop_expired(7).await.unwrap();
    assert_eq!(
        dropped.len(),
        1,
        "the one with a dead letter stays: {dropped:?}"
    );
    let left: Vec<u64> = log
        .read(0, 10)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.log_offset)
        .collect();
    assert_eq!(left, [1, 3]);
}
