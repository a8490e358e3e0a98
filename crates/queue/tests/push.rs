//! Pushing: repeats, backpressure, refusals.

use tidegate_queue::{Config, Delivery, Error, Queue};
use tidegate_testkit::Redis;

use crate::stage::{self, Consumer, Grants, Record};

#[tokio::test(flavor = "multi_thread")]
async fn pushing_again_adds_nothing_before_and_after_acknowledgement() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let deliveries = stage::deliveries(600, 50);
    queue.push(1, &deliveries[..400]).await.unwrap();
    queue.push(1, &deliveries).await.unwrap();
    assert_eq!(queue.queued().await.unwrap(), 600);

    let record = Record::new();
    let consumer = Consumer::start(&queue, Grants::default().join(1), stage::recording(&record));
    stage::empty(&queue).await;
    queue.push(1, &deliveries).await.unwrap();
    assert_eq!(queue.queued().await.unwrap(), 0);
    assert_eq!(record.count(), 600);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_deliveries_of_one_event_are_told_apart() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let deliveries: Vec<Delivery> = [0, 1, 65535]
        .map(|position| Delivery {
            position,
            ..stage::delivery(1, "a")
        })
        .into();
    queue.push(1, &deliveries).await.unwrap();
    queue.push(1, &[stage::delivery(2, "a")]).await.unwrap();
    assert_eq!(queue.queued().await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_takes_nothing_until_there_is_room() {
    let redis = Redis::start();
    let config = Config {
        max_queued: 100,
        ..stage::config(redis.url())
    };
    let queue = Queue::connect(config).await.unwrap();
    queue.open_generation(1, 0).await.unwrap();
    let deliveries = stage::deliveries(130, 10);
    queue.push(1, &deliveries[..60]).await.unwrap();
    queue.push(1, &deliveries[60..100]).await.unwrap();
    let error = queue.push(1, &deliveries[100..]).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Full {
                queued: 100,
                max_queued: 100
            }
        ) && error.is_transient(),
        "{error:?}"
    );
    assert_eq!(queue.queued().await.unwrap(), 100);

    let record = Record::new();
    let consumer = Consumer::start(&queue, Grants::default().join(1), stage::recording(&record));
    stage::eventually(|| async { queue.push(1, &deliveries[100..]).await.ok() }).await;
    record.wait_for(130).await;
    record.assert_order();
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_queue_takes_a_push_of_any_size() {
    let redis = Redis::start();
    let config = Config {
        max_queued: 10,
        ..stage::config(redis.url())
    };
    let queue = Queue::connect(config).await.unwrap();
    queue.open_generation(1, 0).await.unwrap();
    queue.push(1, &stage::deliveries(50, 5)).await.unwrap();
    assert!(matches!(
        queue.push(1, &[stage::delivery(51, "a")]).await,
        Err(Error::Full { queued: 50, .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_beyond_one_batch_arrive_whole() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let deliveries: Vec<Delivery> = (1..=5)
        .map(|log_offset| Delivery {
            payload: vec![log_offset as u8; 700_000].into(),
            ..stage::delivery(log_offset, "big")
        })
        .collect();
    queue.push(1, &deliveries).await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let consumer = Consumer::start(&queue, Grants::default().join(1), move |received| {
        sender.send(received.delivery).unwrap();
        Box::pin(async { tidegate_queue::Verdict::Done })
    });
    for delivery in deliveries {
        assert_eq!(stage::must(receiver.recv()).await, Some(delivery));
    }
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_cannot_work_is_refused() {
    let redis = Redis::start();
    let lanes = Config {
        lanes: 0,
        ..stage::config(redis.url())
    };
    let url = stage::config("http://localhost");
    for config in [lanes, url] {
        assert!(matches!(
            Queue::connect(config).await,
            Err(Error::Config { .. })
        ));
    }
    let port = tidegate_testkit::free_port();
    let nobody = stage::config(&format!("redis://127.0.0.1:{port}/"));
    assert!(matches!(
        Queue::connect(nobody).await,
        Err(Error::Unavailable { .. })
    ));
}
