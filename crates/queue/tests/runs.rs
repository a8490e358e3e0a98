//! Runs from push to handler.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tidegate_queue::Error;
use tidegate_queue::runs::{Band, RunQueue, Waiting, consume_runs};
use tidegate_testkit::Redis;

use crate::run_stage::{self, Gate, Ledger, RunConsumer, ask, normal};
use crate::stage;

#[tokio::test(flavor = "multi_thread")]
async fn each_run_goes_to_one_of_several_consumers() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    let consumers: Vec<RunConsumer> = (0..3)
        .map(|_| {
            let handler = run_stage::finishing(&ledger);
            RunConsumer::start(&queue, run_stage::config(4, 8), &ledger, handler)
        })
        .collect();
    for chunk in 0..50u64 {
        let runs: Vec<(u64, Band)> = (chunk * 100..chunk * 100 + 100)
            .map(|run| (run, Band::ALL[(run % 3) as usize]))
            .collect();
        queue.push(&runs).await.unwrap();
    }
    ledger.wait_for(5000).await;
    run_stage::empty(&queue).await;
    let mut done = ledger.done();
    done.sort_unstable();
    assert!(done.into_iter().eq(0..5000));
    assert_eq!(ledger.offers(), 5000);
    for consumer in consumers {
        consumer.stop().await;
    }
    let names: Vec<redis::Value> = ask(
        redis.url(),
        &["XINFO", "CONSUMERS", "test:runs:normal", "workers"],
    )
    .await;
    assert!(names.is_empty(), "{names:?}");
}

/// With one slot, and with ids read ahead.
#[tokio::test(flavor = "multi_thread")]
async fn higher_bands_begin_first() {
    for prefetch in [0, 64] {
        let redis = Redis::start();
        let queue = run_stage::open(redis.url()).await;
        let (ledger, gate) = (Ledger::new(), Gate::new());
        let config = run_stage::config(1, prefetch);
        let consumer = RunConsumer::start(&queue, config, &ledger, gate.handler(&ledger));
        queue.push(&[(0, Band::Low)]).await.unwrap();
        gate.wait_for_begun(1).await;
        let runs = [30, 31, 20, 10, 21, 11].map(|run| match run / 10 {
            1 => (run, Band::High),
            2 => (run, Band::Normal),
            _ => (run, Band::Low),
        });
        // In one step, so that reading ahead sees all or nothing.
        let mut push = redis::pipe();
        push.atomic();
        for (run, band) in runs {
            let key = format!("test:runs:{band:?}").to_lowercase();
            push.cmd("XADD").arg(key).arg(&["*", "r"]).arg(run);
        }
        let client = redis::Client::open(redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let () = push.ignore().query_async(&mut connection).await.unwrap();
        let ahead = prefetch.min(6);
        let read = || async { (run_stage::pending(redis.url()).await == ahead).then_some(()) };
        stage::eventually(read).await;
        gate.ends.add_permits(7);
        ledger.wait_for(7).await;
        assert_eq!(ledger.done(), [0, 10, 11, 20, 21, 30, 31], "{prefetch}");
        consumer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_refuses_does_not_run_and_does_not_stay() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::refusing(|run| run % 2 == 1);
    queue.push(&normal(0..100)).await.unwrap();
    // A run that is there twice.
    queue.push(&normal(0..10)).await.unwrap();
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(4, 0), &ledger, handler);
    ledger.wait_for(50).await;
    run_stage::empty(&queue).await;
    assert_eq!(run_stage::pending(redis.url()).await, 0);
    assert!(ledger.done().iter().all(|run| run % 2 == 0));
    assert_eq!(ledger.count(), 50);
    assert!(ledger.largest_claim() <= 4);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_wait_for_a_claim_that_fails() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    ledger.set_away(true);
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(4, 4), &ledger, handler);
    queue.push(&normal(0..20)).await.unwrap();
    stage::eventually(|| async { (ledger.offers_of(0) >= 3).then_some(()) }).await;
    assert!(run_stage::pending(redis.url()).await > 0);
    assert_eq!(queue.queued().await.unwrap().normal, 20);
    assert_eq!(ledger.count(), 0);
    ledger.set_away(false);
    ledger.wait_for(20).await;
    run_stage::empty(&queue).await;
    consumer.stop().await;
}

/// Whoever died between reading and claiming.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_consumer_read_is_taken_over() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let (dead, ledger) = (Ledger::new(), Ledger::new());
    dead.set_slow(true);
    let handler = run_stage::finishing(&dead);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 6), &dead, handler);
    queue.push(&normal(0..8)).await.unwrap();
    let read = || async { (run_stage::pending(redis.url()).await == 8).then_some(()) };
    stage::eventually(read).await;
    consumer.kill().await;

    let killed = Instant::now();
    let handler = run_stage::finishing(&ledger);
    let next = RunConsumer::start(&queue, run_stage::config(8, 0), &ledger, handler);
    ledger.wait_for(8).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    run_stage::empty(&queue).await;
    assert_eq!(dead.count(), 0);
    next.stop().await;
}

/// Whoever died in the middle of an acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_removed_and_still_pending_is_dropped() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    queue.push(&normal([1])).await.unwrap();
    let group = ["XREADGROUP", "GROUP", "workers", "dead", "STREAMS"];
    let read = [&group[..], &["test:runs:normal", ">"]].concat();
    let _: redis::Value = ask(redis.url(), &read).await;
    let _: u64 = ask(redis.url(), &["XTRIM", "test:runs:normal", "MAXLEN", "0"]).await;
    assert_eq!(run_stage::pending(redis.url()).await, 1);
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 0), &ledger, handler);
    let gone = || async { (run_stage::pending(redis.url()).await == 0).then_some(()) };
    stage::eventually(gone).await;
    assert_eq!(ledger.offers(), 0);
    consumer.stop().await;
}

/// Ids that a busy consumer read ahead do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_long_run_is_taken_over_by_an_idle_consumer() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let (ledger, gate) = (Ledger::new(), Gate::new());
    let busy = RunConsumer::start(
        &queue,
        run_stage::config(1, 4),
        &ledger,
        gate.handler(&ledger),
    );
    queue.push(&normal(0..5)).await.unwrap();
    gate.wait_for_begun(1).await;
    let read = || async { (run_stage::pending(redis.url()).await == 4).then_some(()) };
    stage::eventually(read).await;
    let handler = run_stage::finishing(&ledger);
    let idle = RunConsumer::start(&queue, run_stage::config(2, 0), &ledger, handler);
    ledger.wait_for(4).await;
    // The busy one still has them, and is refused.
    gate.ends.add_permits(5);
    ledger.wait_for(5).await;
    stage::eventually(|| async { (ledger.offers_of(4) == 2).then_some(()) }).await;
    run_stage::empty(&queue).await;
    assert_eq!(ledger.count(), 5);
    for consumer in [busy, idle] {
        consumer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_at_once_drain() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    queue.push(&normal(0..50_000)).await.unwrap();
    let waiting = queue.queued().await.unwrap();
    let expected = Waiting {
        normal: 50_000,
        ..Waiting::default()
    };
    assert_eq!((waiting, waiting.total()), (expected, 50_000));
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(16, 64), &ledger, handler);
    ledger.wait_for(50_000).await;
    run_stage::empty(&queue).await;
    assert_eq!(ledger.count(), 50_000);
    assert!(ledger.done().iter().all(|run| ledger.is_claimed(*run)));
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_run_and_no_slot() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    let handler = {
        let ledger = ledger.clone();
        move |run| {
            let ledger = ledger.clone();
            async move {
                assert!(run % 3 != 0, "a run that panics");
                ledger.finish(run);
            }
            .boxed()
        }
    };
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 2), &ledger, handler);
    queue.push(&normal(0..60)).await.unwrap();
    ledger.wait_for(40).await;
    run_stage::empty(&queue).await;
    consumer.stop().await;
}

/// Somebody else's entries, and ids of any size.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_run_is_removed() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    for fields in [["x", "1"], ["r", "one"], ["r", "-1"], ["r", ""]] {
        let command = ["XADD", "test:runs:high", "*", fields[0], fields[1]];
        let _: String = ask(redis.url(), &command).await;
    }
    queue.push(&normal([u64::MAX, 0])).await.unwrap();
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 2), &ledger, handler);
    ledger.wait_for(2).await;
    run_stage::empty(&queue).await;
    assert_eq!(ledger.offers(), 2);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consumer_begins_at_once() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let ledger = Ledger::new();
    let handler = run_stage::finishing(&ledger);
    let consumer = RunConsumer::start(&queue, run_stage::config(2, 0), &ledger, handler);
    queue.push(&normal([0])).await.unwrap();
    ledger.wait_for(1).await;
    let mut delays = Vec::new();
    for run in 1..=100 {
        // Empty means that the consumer is on its way to a blocking read, or in one.
        run_stage::empty(&queue).await;
        let pushed = Instant::now();
        queue.push(&normal([run])).await.unwrap();
        ledger.wait_for(run as usize + 1).await;
        delays.push(pushed.elapsed());
    }
    delays.sort_unstable();
    println!(
        "from push to handler: p50 {:?}, p99 {:?}",
        delays[50], delays[99]
    );
    // A tenth of it when the machine is idle; a poll would take longer.
    assert!(delays[50] < Duration::from_millis(20), "{:?}", delays[50]);
    consumer.stop().await;
}

/// Waiting, and read by a consumer that does not decide.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_little_memory() {
    let redis = Redis::start();
    let queue = run_stage::open(redis.url()).await;
    let size = || async {
        let command = ["MEMORY", "USAGE", "test:runs:normal", "SAMPLES", "0"];
        let bytes: u64 = ask(redis.url(), &command).await;
        bytes
    };
    let before = size().await;
    queue.push(&normal(1_000_000..1_001_000)).await.unwrap();
    let waiting = (size().await - before) / 1000;
    assert!(waiting <= 100, "{waiting}");
    let _: redis::Value = ask(
        redis.url(),
        &[
            "XREADGROUP",
            "GROUP",
            "workers",
            "reader",
            "COUNT",
            "1000",
            "STREAMS",
            "test:runs:normal",
            ">",
        ],
    )
    .await;
    let read = (size().await - before) / 1000;
    println!("bytes per run: {waiting} waiting, {read} read and undecided");
    assert!(read <= 1000, "{read}");
}

#[tokio::test]
async fn a_config_that_cannot_work_is_refused() {
    let redis = Redis::start();
    let queue: RunQueue = run_stage::open(redis.url()).await;
    for (concurrency, prefetch) in [(0, 1), (1, 100_000), (usize::MAX, usize::MAX)] {
        let config = run_stage::config(concurrency, prefetch);
        let never = std::future::pending::<()>();
        let handler = |_| async {};
        let refused = consume_runs(queue.clone(), config, Ledger::new(), handler, never).await;
        assert!(matches!(refused, Err(Error::Config { .. })), "{refused:?}");
    }
}
