//! D38: a consumer that is told to shut down.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_queue::{ConsumerConfig, Verdict};
use tidegate_testkit::Redis;
use tokio::sync::Semaphore;

use crate::stage::{self, Consumer, Grants, Record};

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_ends_and_is_acknowledged_and_nothing_more_begins() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let (record, grants) = (Record::new(), Grants::default());
    let (started, ends) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
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
    let mut consumer = Consumer::start(&queue, grants.join(1), handler);
    queue.push(1, &stage::deliveries(100, 100)).await.unwrap();
    stage::must(started.acquire_many(16))
        .await
        .unwrap()
        .forget();
    consumer.shut_down().await;
    ends.add_permits(100);
    consumer.drained().await;
    assert_eq!(record.count(), 16);
    assert_eq!(queue.queued().await.unwrap(), 84);
    assert_eq!(grants.held_by(1), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_does_not_end_is_dropped_and_its_lane_kept_until_the_lease_runs_out() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let (record, grants) = (Record::new(), Grants::default());
    let config = ConsumerConfig {
        worker_name: "impatient".into(),
        concurrency: 4,
        max_buffered: 4,
        drain_timeout: Duration::from_millis(50),
    };
    let started = Arc::new(Semaphore::new(0));
    let mut consumer = Consumer::start_with(&queue, config, grants.join(1), {
        let started = started.clone();
        move |_| {
            started.add_permits(1);
            std::future::pending().boxed()
        }
    });
    queue.push(1, &[stage::delivery(1, "a")]).await.unwrap();
    stage::must(started.acquire()).await.unwrap().forget();
    consumer.shut_down().await;
    consumer.drained().await;
    assert_eq!(queue.queued().await.unwrap(), 1);
    assert_eq!(grants.held_by(1), 1);

    grants.expire(1);
    let next = Consumer::start(&queue, grants.join(2), stage::recording(&record));
    record.wait_for(1).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consumer_stops_at_once_also_without_redis() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let grants = Grants::default();
    let record = Record::new();
    let consumer = Consumer::start(&queue, grants.join(1), stage::recording(&record));
    queue.push(1, &stage::deliveries(10, 10)).await.unwrap();
    stage::empty(&queue).await;
    redis.kill9();
    consumer.stop().await;
    assert_eq!(grants.held_by(1), 0);
}
