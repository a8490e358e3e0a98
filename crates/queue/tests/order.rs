//! Deliveries of one key run in order, one at a time; other keys do not wait for them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_queue::{ConsumerConfig, Delivery, Verdict};
use tidegate_testkit::Redis;
use tokio::sync::{Barrier, Semaphore};

use crate::stage::{self, Consumer, Grants, Record};

#[tokio::test(flavor = "multi_thread")]
async fn every_key_keeps_its_order_under_concurrency() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let record = Record::new();
    let consumer = Consumer::start(&queue, Grants::default().join(1), stage::recording(&record));
    let deliveries = stage::deliveries(5000, 37);
    for some in deliveries.chunks(300) {
        queue.push(1, some).await.unwrap();
    }
    record.wait_for(5000).await;
    record.assert_order();
    stage::empty(&queue).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_is_what_is_run() {
    let redis = Redis::start();
    let queue = stage::open(&redis.socket_url()).await;
    let pushed = Delivery {
        position: 7,
        payload: vec![0, 159, 146, 150, 13, 10].into(),
        ..stage::delivery(42, "Comm\u{e4}nt:x\r\n$5")
    };
    queue.push(1, std::slice::from_ref(&pushed)).await.unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let consumer = Consumer::start(&queue, Grants::default().join(1), move |received| {
        sender.send(received).unwrap();
        async { Verdict::Done }.boxed()
    });
    let received = stage::must(receiver.recv()).await.unwrap();
    assert_eq!(received.delivery, pushed);
    assert!(
        received.maybe_repeated,
        "it was there before the lane was taken"
    );
    assert_eq!(
        (received.retry, received.lane.index < stage::LANES),
        (0, true)
    );
    assert!(received.lane.fence > 0);
    queue.push(1, &[stage::delivery(43, "b")]).await.unwrap();
    assert!(!stage::must(receiver.recv()).await.unwrap().maybe_repeated);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unordered_deliveries_of_one_key_run_together() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let together = Arc::new(Barrier::new(8));
    let deliveries: Vec<Delivery> = (1..=8)
        .map(|log_offset| Delivery {
            unordered: true,
            ..stage::delivery(log_offset, "one key")
        })
        .collect();
    let consumer = Consumer::start(&queue, Grants::default().join(1), {
        let together = together.clone();
        move |_| {
            let together = together.clone();
            async move {
                together.wait().await;
                Verdict::Done
            }
            .boxed()
        }
    });
    queue.push(1, &deliveries).await.unwrap();
    stage::empty(&queue).await;
    consumer.stop().await;
}

/// D32: one object changed over and over while its handler hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_key_does_not_hold_up_its_lane() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let record = Record::new();
    let gate = Arc::new(Semaphore::new(0));
    let consumer = Consumer::start(&queue, Grants::default().join(1), {
        let (record, gate) = (record.clone(), gate.clone());
        move |received| {
            let (record, gate) = (record.clone(), gate.clone());
            async move {
                if received.delivery.order_key == "hot" {
                    gate.acquire().await.unwrap().forget();
                }
                record.begin(&received).unwrap().finish();
                Verdict::Done
            }
            .boxed()
        }
    });
    let hot: Vec<Delivery> = (1..=2000)
        .map(|log_offset| stage::delivery(log_offset, "hot"))
        .collect();
    queue.push(1, &hot).await.unwrap();
    let others: Vec<Delivery> = (2001..=2200)
        .map(|log_offset| stage::delivery(log_offset, &log_offset.to_string()))
        .collect();
    queue.push(1, &others).await.unwrap();
    record.wait_for(200).await;
    assert_eq!(record.order_of("hot"), [0; 0]);
    gate.add_permits(2000);
    record.wait_for(2200).await;
    record.assert_order();
    stage::empty(&queue).await;
    consumer.stop().await;
}

/// D31: no more is held in memory, and no more runs at once, than the config says.
#[tokio::test(flavor = "multi_thread")]
async fn concurrency_is_used_and_kept() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let config = ConsumerConfig {
        worker_name: "narrow".into(),
        concurrency: 3,
        max_buffered: 1,
        drain_timeout: Duration::from_secs(30),
    };
    let running = Arc::new(Semaphore::new(3));
    let record = Record::new();
    let consumer = Consumer::start_with(&queue, config, Grants::default().join(1), {
        let record = record.clone();
        move |received| {
            let (running, record) = (running.clone(), record.clone());
            async move {
                let permit = running
                    .try_acquire_owned()
                    .expect("no more than three run at once");
                tokio::task::yield_now().await;
                drop(permit);
                record.begin(&received).unwrap().finish();
                Verdict::Done
            }
            .boxed()
        }
    });
    queue.push(1, &stage::deliveries(500, 500)).await.unwrap();
    record.wait_for(500).await;
    consumer.stop().await;
}
