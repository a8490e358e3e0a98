//! Lanes change hands, and leases are lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_queue::{ConsumerConfig, Verdict};
use tidegate_testkit::Redis;
use tokio::sync::Semaphore;

use crate::stage::{self, Consumer, Grants, LANES, Record};

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_come_and_go_keep_order_and_lose_nothing() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let (record, grants) = (Record::new(), Grants::default());
    let deliveries = stage::deliveries(8000, 61);
    let first = Consumer::start(&queue, grants.join(1), stage::recording(&record));
    queue.push(1, &deliveries[..3000]).await.unwrap();
    record.wait_for(500).await;
    let second = Consumer::start(&queue, grants.join(2), stage::recording(&record));
    queue.push(1, &deliveries[3000..6000]).await.unwrap();
    stage::eventually(|| async { (grants.held_by(2) == usize::from(LANES) / 2).then_some(()) })
        .await;
    queue.push(1, &deliveries[6000..7000]).await.unwrap();
    first.stop().await;
    grants.expire(1);
    queue.push(1, &deliveries[7000..]).await.unwrap();
    record.wait_for(8000).await;
    record.assert_order();
    stage::empty(&queue).await;
    assert_eq!(grants.held_by(2), usize::from(LANES));
    second.stop().await;
    assert_eq!(grants.held_by(2), 0);
}

/// D10: a consumer that is gone without a word.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_consumer_had_is_run_by_the_next() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let (record, grants) = (Record::new(), Grants::default());
    queue.push(1, &stage::deliveries(3000, 61)).await.unwrap();
    let first = Consumer::start(&queue, grants.join(1), stage::recording(&record));
    record.wait_for(700).await;
    first.kill().await;
    record.at_rest().await;
    grants.expire(1);
    let second = Consumer::start(&queue, grants.join(2), stage::recording(&record));
    record.wait_for(3000).await;
    record.assert_order();
    stage::empty(&queue).await;
    second.stop().await;
}

/// The lane waits for its running delivery, however long: it is not granted to another before it is
/// released.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_released_only_when_nothing_of_it_runs() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let (record, grants) = (Record::new(), Grants::default());
    let (started, ends) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let held = {
        let (record, started, ends) = (record.clone(), started.clone(), ends.clone());
        move |received| {
            let (record, started, ends) = (record.clone(), started.clone(), ends.clone());
            async move {
                let begun = record.begin(&received).unwrap();
                started.add_permits(1);
                ends.acquire().await.unwrap().forget();
                begun.finish();
                Verdict::Done
            }
            .boxed()
        }
    };
    let config = ConsumerConfig {
        worker_name: "wide".into(),
        concurrency: 64,
        max_buffered: 64,
        drain_timeout: Duration::from_secs(30),
    };
    let first = Consumer::start_with(&queue, config, grants.join(1), held);
    // So many keys that every lane has something running; nothing ends.
    queue.push(1, &stage::deliveries(128, 64)).await.unwrap();
    stage::must(started.acquire_many(64))
        .await
        .unwrap()
        .forget();
    let second = Consumer::start(&queue, grants.join(2), stage::recording(&record));
    let both_renewed = |times| (1..=2).all(|member| grants.renewals(member) >= times);
    let times = grants.renewals(1) + 5;
    stage::eventually(|| async { both_renewed(times).then_some(()) }).await;
    assert_eq!((grants.held_by(2), record.count()), (0, 0));
    ends.add_permits(128);
    record.wait_for(128).await;
    record.assert_order();
    stage::eventually(|| async { (grants.held_by(2) == usize::from(LANES) / 2).then_some(()) })
        .await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leases_nothing_is_run_and_with_them_again_everything() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let (record, grants) = (Record::new(), Grants::default());
    let member = grants
        .join(1)
        .with_lease_duration(Duration::from_millis(300));
    let consumer = Consumer::start(&queue, member, stage::recording(&record));
    queue.push(1, &stage::deliveries(10, 3)).await.unwrap();
    record.wait_for(10).await;
    grants.set_down(true);
    // The lanes are dropped when the lease has run out, so that a delivery stays queued while it is
    // pushed after that.
    let mut log_offset = 10;
    stage::eventually(|| {
        log_offset += 1;
        let (queue, record) = (&queue, &record);
        async move {
            queue
                .push(1, &[stage::delivery(log_offset, "probe")])
                .await
                .unwrap();
            let pending = record.count() < log_offset as usize - 1;
            pending.then_some(())
        }
    })
    .await;
    grants.set_down(false);
    record.wait_for(log_offset as usize).await;
    record.assert_order();
    consumer.stop().await;
}
