//! A failing delivery parks its key; nothing else waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_queue::{Delivery, Verdict};
use tidegate_testkit::Redis;

use crate::stage::{self, Consumer, Grants, Record};

const AT_ONCE: Verdict = Verdict::Retry {
    after: Duration::from_millis(1),
};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_delivery_keeps_its_turn_and_others_flow_on() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let record = Record::new();
    let others_done = Arc::new(AtomicUsize::new(0));
    let consumer = Consumer::start(&queue, Grants::default().join(1), {
        let (record, others_done) = (record.clone(), others_done.clone());
        move |received| {
            let (record, others_done) = (record.clone(), others_done.clone());
            async move {
                let begun = record.begin(&received).unwrap();
                // Fails until all others are done, and then for three more times.
                let fails = others_done.load(Ordering::SeqCst) < 90 || received.retry < 3;
                if received.delivery.log_offset == 10 && fails {
                    return AT_ONCE;
                }
                if received.delivery.order_key != "key 0" {
                    others_done.fetch_add(1, Ordering::SeqCst);
                }
                begun.finish();
                Verdict::Done
            }
            .boxed()
        }
    });
    queue.push(1, &stage::deliveries(100, 10)).await.unwrap();
    record.wait_for(100).await;
    assert_eq!(
        record.order_of("key 0"),
        [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    );
    record.assert_order();
    stage::empty(&queue).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_is_tried_again() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let record = Record::new();
    let consumer = Consumer::start(&queue, Grants::default().join(1), {
        let record = record.clone();
        move |received| {
            let record = record.clone();
            async move {
                assert!(
                    received.retry > 0 || received.delivery.log_offset != 1,
                    "as it should"
                );
                record.begin(&received).unwrap().finish();
                Verdict::Done
            }
            .boxed()
        }
    });
    queue
        .push(
            1,
            &[
                stage::delivery(1, "a"),
                stage::delivery(2, "a"),
                stage::delivery(3, "b"),
            ],
        )
        .await
        .unwrap();
    record.wait_for(3).await;
    assert_eq!(record.order_of("a"), [1, 2]);
    consumer.stop().await;
}

/// D12: more retries due at once than fit in memory.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_due_retries_drain() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let record = Record::new();
    let consumer = Consumer::start(&queue, Grants::default().join(1), {
        let record = record.clone();
        move |received| {
            let record = record.clone();
            async move {
                if received.retry == 0 {
                    return AT_ONCE;
                }
                assert!(received.maybe_repeated);
                record.begin(&received).unwrap().finish();
                Verdict::Done
            }
            .boxed()
        }
    });
    let deliveries: Vec<Delivery> = (1..=10_000)
        .map(|log_offset| stage::delivery(log_offset, &log_offset.to_string()))
        .collect();
    queue.push(1, &deliveries).await.unwrap();
    record.wait_for(10_000).await;
    stage::empty(&queue).await;
    consumer.stop().await;
}
