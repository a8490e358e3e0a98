//! Outcomes: recorded under the lane's fence, and final ones stay.

use std::time::Duration;

use tidegate_event_log::{EventLog, LaneLease, Outcome, Status};

use crate::fixture::{log, trigger};

fn outcome(log_offset: u64, status: Status, attempts: u32, lane: LaneLease) -> Outcome {
    let error = (status != Status::Done).then(|| "it failed\0 badly".to_owned());
    Outcome {
        log_offset,
        trigger: trigger(),
        status,
        attempts,
        crashes: 0,
        error,
        logs: None,
        duration_us: 5,
        lane,
    }
}

async fn leased(log: &EventLog) -> LaneLease {
    log.lanes("worker", 1, Duration::from_secs(60))
        .await
        .unwrap()
        .renew(&[])
        .await
        .unwrap()[0]
}

#[tokio::test]
async fn a_retry_is_replaced_and_a_final_outcome_is_not() {
    let (_database, log) = log().await;
    let lane = leased(&log).await;
    log.record_outcomes(&[
        outcome(1, Status::Retry, 1, lane),
        outcome(2, Status::Done, 1, lane),
    ])
    .await
    .unwrap();
    assert_eq!(log.unfinished().await.unwrap(), (1, 0));
    log.record_outcomes(&[
        outcome(1, Status::Dead, 2, lane),
        outcome(2, Status::Retry, 9, lane),
    ])
    .await
    .unwrap();
    let recorded = |offset| {
        let log = log.clone();
        async move {
            log.recorded_outcome(offset, &trigger())
                .await
                .unwrap()
                .map(|found| (found.status, found.attempts))
        }
    };
    assert_eq!(recorded(1).await, Some((Status::Dead, 2)));
    assert_eq!(
        recorded(2).await,
        Some((Status::Done, 1)),
        "a late repeat changes nothing"
    );
    assert_eq!(recorded(3).await, None);
    let item = trigger().to_string();
    let mut finished = log.finished_among(&[1, 2, 3]).await.unwrap();
    finished.sort_unstable();
    assert_eq!(finished, [(1, item.clone(), false), (2, item, false)]);
    assert_eq!(log.settled_deliveries(1, 10).await.unwrap().len(), 1);
    assert_eq!(log.unfinished().await.unwrap(), (0, 1));
}

#[tokio::test]
async fn a_worker_that_lost_its_lane_is_refused() {
    let (_database, log) = log().await;
    let lane = leased(&log).await;
    let former = LaneLease {
        fence: lane.fence - 1,
        ..lane
    };
    log.record_outcomes(&[
        outcome(1, Status::Done, 1, former),
        outcome(2, Status::Done, 1, lane),
    ])
    .await
    .unwrap();
    assert_eq!(log.recorded_outcome(1, &trigger()).await.unwrap(), None);
    assert!(log.recorded_outcome(2, &trigger()).await.unwrap().is_some());
}
