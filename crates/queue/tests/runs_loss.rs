//! Redis is lost in every way; the ledger still knows what is not done.

use std::sync::Arc;

use tidegate_queue::runs::RunQueue;
use tidegate_testkit::Redis;

use crate::run_stage::{self, Ledger, RunConsumer, ask, normal};
use crate::stage;

/// What a scheduler does when the incarnation has changed: pushes again what nobody has claimed.
async fn push_again(queue: &RunQueue, ledger: &Arc<Ledger>, runs: std::ops::Range<u64>) {
    let lost = normal(runs.filter(|run| !ledger.is_claimed(*run)));
    stage::eventually(|| async { queue.push(&lost).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_go_on_after_a_flush_and_a_restart() {
    for redis in [Redis::start(), Redis::durable()] {
        let queue = run_stage::open(redis.url()).await;
        let ledger = Ledger::new();
        let start = || {
            let handler = run_stage::finishing(&ledger);
            RunConsumer::start(&queue, run_stage::config(4, 8), &ledger, handler)
        };
        let consumers = [start(), start()];
        let mut incarnation = queue.incarnation().await.unwrap();
        for round in 1..=4 {
            let runs = 0..round * 2000;
            queue
                .push(&normal(runs.end - 2000..runs.end))
                .await
                .unwrap();
            ledger.wait_for(runs.end as usize - 1500).await;
            match round % 2 {
                0 => redis.restart(),
                _ => redis.flushall(),
            }
            let other = || async { queue.incarnation().await.ok() };
            let now = stage::eventually(other).await;
            assert_ne!(now, incarnation, "round {round}");
            incarnation = now;
            push_again(&queue, &ledger, runs.clone()).await;
            ledger.wait_for(runs.end as usize).await;
        }
        run_stage::empty(&queue).await;
        assert_eq!(ledger.count(), 8000);
        for consumer in consumers {
            consumer.stop().await;
        }
    }
}

/// Without a scheduler that looks: what is pushed after the loss runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consumer_makes_the_groups_itself() {
    let redis = Redis::start();
    let queue = run_stage::connect(redis.url()).await;
    let ledger = Ledger::new();
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 0), &ledger, handler);
    for run in 0..6 {
        queue.push(&normal([run])).await.unwrap();
        ledger.wait_for(run as usize + 1).await;
        match run % 3 {
            0 => redis.flushall(),
            1 => drop(ask::<u64>(redis.url(), &["DEL", "test:runs:normal"]).await),
            _ => {
                let destroy = ["XGROUP", "DESTROY", "test:runs:normal", "workers"];
                let _: u64 = ask(redis.url(), &destroy).await;
            }
        }
    }
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incarnation_is_one_unbroken_life_of_the_streams() {
    let redis = Redis::durable();
    let queue = run_stage::open(redis.url()).await;
    let mut last = queue.incarnation().await.unwrap();
    queue.push(&normal(0..100)).await.unwrap();
    let ledger = Ledger::new();
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 0), &ledger, handler);
    ledger.wait_for(100).await;
    run_stage::empty(&queue).await;
    consumer.stop().await;
    let other_handle = run_stage::connect(redis.url()).await;
    assert_eq!(other_handle.incarnation().await.unwrap(), last);

    let losses: [&dyn Fn(); 2] = [&|| redis.flushall(), &|| redis.restart()];
    for loss in losses {
        loss();
        let now = stage::eventually(|| async { queue.incarnation().await.ok() }).await;
        assert_ne!(now, last);
        assert_eq!(
            other_handle
                .incarnation()
                .await
                .ok()
                .unwrap_or_else(|| now.clone()),
            now
        );
        last = now;
    }
    for key in ["test:runs:low", "test:runs:incarnation"] {
        let _: u64 = ask(redis.url(), &["DEL", key]).await;
        let now = queue.incarnation().await.unwrap();
        assert_ne!(now, last, "{key}");
        last = now;
    }
}

/// A Redis that keeps its connections and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_redis_is_waited_for() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 2), &ledger, handler);
    queue.push(&normal(0..1000)).await.unwrap();
    ledger.wait_for(50).await;
    redis.pause();
    stage::must(queue.push(&normal([1000]))).await.unwrap_err();
    redis.resume();
    stage::eventually(|| async { queue.push(&normal([1000])).await.ok() }).await;
    ledger.wait_for(1001).await;
    run_stage::empty(&queue).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_stops_without_redis() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 2), &ledger, handler);
    queue.push(&normal(0..10)).await.unwrap();
    ledger.wait_for(10).await;
    redis.kill9();
    consumer.stop().await;
    queue.push(&normal([1])).await.unwrap_err();
    queue.queued().await.unwrap_err();
    queue.incarnation().await.unwrap_err();
}
