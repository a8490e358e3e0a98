//! A consumer of runs that is told to shut down.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_testkit::Redis;
use tokio::sync::Semaphore;

use crate::run_stage::{self, Gate, Ledger, RunConsumer, normal};
use crate::stage;

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_hands_back_what_is_not_claimed_and_lets_the_rest_end() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let (ledger, gate) = (Ledger::new(), Gate::new());
    let config = run_stage::config(2, 6);
    let mut consumer = RunConsumer::start(&queue, config, &ledger, gate.handler(&ledger));
    queue.push(&normal(0..10)).await.unwrap();
    gate.wait_for_begun(2).await;
    let read = || async { (run_stage::pending(redis.url()).await == 6).then_some(()) };
    stage::eventually(read).await;
    consumer.shut_down();
    // Before the running ones end, and without the wait for a dead consumer.
    let back = || async { (run_stage::pending(redis.url()).await == 0).then_some(()) };
    stage::eventually(back).await;
    assert_eq!(queue.queued().await.unwrap().normal, 8);
    queue.push(&normal([10])).await.unwrap();
    gate.ends.add_permits(20);
    consumer.drained().await;
    assert_eq!(ledger.count(), 2);
    assert_eq!(queue.queued().await.unwrap().normal, 9);

    let handler = run_stage::finishing(&ledger);
    let next = RunConsumer::start(&queue, run_stage::config(2, 0), &ledger, handler);
    ledger.wait_for(11).await;
    assert_eq!(ledger.offers(), 11);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_does_not_end_is_dropped() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    let begun = Arc::new(Semaphore::new(0));
    let held = Arc::new(Mutex::new(()));
    let handler = {
        let (begun, held) = (begun.clone(), held.clone());
        move |_| {
            let (begun, held) = (begun.clone(), held.clone());
            async move {
                begun.add_permits(1);
                std::future::pending::<()>().await;
                drop(held);
            }
            .boxed()
        }
    };
    let mut config = run_stage::config(4, 0);
    config.drain_timeout = Duration::from_millis(50);
    let consumer = RunConsumer::start(&queue, config, &ledger, handler);
    queue.push(&normal(0..2)).await.unwrap();
    stage::must(begun.acquire_many(2)).await.unwrap().forget();
    consumer.stop().await;
    let dropped = || async { (Arc::strong_count(&held) == 1).then_some(()) };
    stage::eventually(dropped).await;
    assert_eq!(queue.queued().await.unwrap().total(), 0);
}

/// Its ids go back, as far as anyone knows they are not claimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_an_answer_does_not_hold_up_shutdown() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    for is_slow in [true, false] {
        let ledger = Ledger::new();
        ledger.set_slow(is_slow);
        ledger.set_away(!is_slow);
        let handler = run_stage::finishing(&ledger);
        let consumer = RunConsumer::start(&queue, run_stage::config(2, 2), &ledger, handler);
        queue.push(&normal(0..4)).await.unwrap();
        let read = || async { (run_stage::pending(redis.url()).await > 0).then_some(()) };
        stage::eventually(read).await;
        consumer.stop().await;
        assert_eq!(run_stage::pending(redis.url()).await, 0);
    }
    assert_eq!(queue.queued().await.unwrap().normal, 8);
}
