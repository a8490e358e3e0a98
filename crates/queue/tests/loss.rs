//! Redis is lost in every way; Postgres, here the list of what was pushed and the record, still has
//! everything.

use tidegate_queue::{Config, Delivery, Error, Queue};
use tidegate_testkit::Redis;

use crate::stage::{self, Consumer, Grants, Record};

/// What a dispatcher does when a generation is lost: opens the next one and queues again what has
/// no outcome.
async fn requeue(queue: &Queue, generation: u64, deliveries: &[Delivery], record: &Record) {
    let end_of_log = deliveries.last().map_or(0, |last| last.log_offset);
    stage::eventually(|| async { queue.open_generation(generation, end_of_log).await.ok() }).await;
    let pending: Vec<Delivery> = deliveries
        .iter()
        .filter(|delivery| !record.is_done(delivery.log_offset))
        .cloned()
        .collect();
    queue.push(generation, &pending).await.unwrap();
}

fn is_lost(error: &Error, expected_found: Option<u64>) -> bool {
    matches!(error, Error::GenerationLost { found, .. } if *found == expected_found)
}

/// D9: FLUSHALL in the middle of work.
#[tokio::test(flavor = "multi_thread")]
async fn flushall_costs_delay_but_no_delivery() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let record = Record::new();
    let consumer = Consumer::start(&queue, Grants::default().join(1), stage::recording(&record));
    let deliveries = stage::deliveries(6000, 53);
    for round in 0..3u64 {
        let pushed = &deliveries[..(2000 * (round as usize + 1))];
        queue
            .push(round + 1, &pushed[2000 * round as usize..])
            .await
            .unwrap();
        record.wait_for(2000 * round as usize + 700).await;
        redis.flushall();
        assert_eq!(queue.generation().await.unwrap(), None);
        let error = queue.push(round + 1, &deliveries[..1]).await.unwrap_err();
        assert!(is_lost(&error, None), "{error:?}");
        requeue(&queue, round + 2, pushed, &record).await;
    }
    record.wait_for(6000).await;
    record.assert_order();
    stage::empty(&queue).await;
    consumer.stop().await;
}

/// D9: a crash of Redis, with and without a file that brings its keys back. Either way the
/// generation is over, because the last second of the file may be missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_redis_is_a_lost_generation() {
    for (redis, expected_found) in [(Redis::start(), None), (Redis::durable(), Some(1))] {
        let queue = stage::open(redis.url()).await;
        let record = Record::new();
        let consumer =
            Consumer::start(&queue, Grants::default().join(1), stage::recording(&record));
        let deliveries = stage::deliveries(3000, 53);
        queue.push(1, &deliveries).await.unwrap();
        record.wait_for(500).await;
        redis.kill9();
        let error = queue.push(1, &deliveries[..1]).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        redis.restart();
        let error = stage::eventually(|| async {
            let error = queue.push(1, &deliveries[..1]).await.unwrap_err();
            (!error.is_transient()).then_some(error)
        })
        .await;
        assert!(is_lost(&error, expected_found), "{error:?}");
        assert_eq!(queue.generation().await.unwrap(), None);
        requeue(&queue, 2, &deliveries, &record).await;
        record.wait_for(3000).await;
        record.assert_order();
        stage::empty(&queue).await;
        consumer.stop().await;
    }
}

/// D18: a Redis that keeps its connections and says nothing. What runs ends, and its
/// acknowledgement waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_redis_is_waited_for() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let record = Record::new();
    let consumer = Consumer::start(&queue, Grants::default().join(1), stage::recording(&record));
    queue.push(1, &stage::deliveries(2000, 53)).await.unwrap();
    record.wait_for(100).await;
    redis.pause();
    let late = [stage::delivery(2001, "late")];
    let error = stage::must(queue.push(1, &late)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    redis.resume();
    stage::eventually(|| async { queue.push(1, &late).await.ok() }).await;
    record.wait_for(2001).await;
    record.assert_order();
    stage::empty(&queue).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_never_goes_back_and_takes_the_older_lanes_away() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    queue.push(1, &stage::deliveries(100, 10)).await.unwrap();
    queue.open_generation(1, 0).await.unwrap();
    assert_eq!(queue.queued().await.unwrap(), 100);

    queue.open_generation(3, 100).await.unwrap();
    assert_eq!(queue.generation().await.unwrap(), Some(3));
    assert_eq!(queue.queued().await.unwrap(), 0);
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(keys, ["test:generation"]);

    let error = queue.push(1, &stage::deliveries(1, 1)).await.unwrap_err();
    assert!(is_lost(&error, Some(3)), "{error:?}");
    let error = queue.open_generation(2, 100).await.unwrap_err();
    assert!(is_lost(&error, Some(3)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_lanes_is_another_generation() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let config = Config {
        lanes: stage::LANES + 1,
        ..stage::config(redis.url())
    };
    let wider = Queue::connect(config).await.unwrap();
    assert_eq!(wider.generation().await.unwrap(), None);
    assert!(is_lost(
        &wider.push(1, &stage::deliveries(1, 1)).await.unwrap_err(),
        Some(1)
    ));
    wider.open_generation(2, 0).await.unwrap();
    assert_eq!(queue.generation().await.unwrap(), None);
}

/// D9: what a Redis that can no longer write answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_out_of_memory_or_demoted_is_unavailable() {
    let redis = Redis::start();
    let queue = stage::open(redis.url()).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut tell = async |command: &[&str]| {
        let _: () = redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(&mut connection)
            .await
            .unwrap();
    };
    let deliveries = stage::deliveries(300, 10);
    tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(matches!(
        queue.push(1, &deliveries).await,
        Err(Error::Unavailable { .. })
    ));
    tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    queue.push(1, &deliveries).await.unwrap();

    let port = tidegate_testkit::free_port().to_string();
    tell(&["REPLICAOF", "127.0.0.1", &port]).await;
    let late = [stage::delivery(301, "late")];
    for _ in 0..2 {
        assert!(matches!(
            queue.push(1, &late).await,
            Err(Error::Unavailable { .. })
        ));
    }
    tell(&["REPLICAOF", "NO", "ONE"]).await;
    stage::eventually(|| async { queue.push(1, &late).await.ok() }).await;
    assert_eq!(queue.queued().await.unwrap(), 301);
}

/// A consumer may be there before the first generation.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_waits_for_the_first_generation() {
    let redis = Redis::start();
    let queue = Queue::connect(stage::config(redis.url())).await.unwrap();
    let (record, grants) = (Record::new(), Grants::default());
    let consumer = Consumer::start(&queue, grants.join(1), stage::recording(&record));
    stage::eventually(|| async { (grants.held_by(1) > 0).then_some(()) }).await;
    queue.open_generation(1, 0).await.unwrap();
    queue.push(1, &stage::deliveries(10, 3)).await.unwrap();
    record.wait_for(10).await;
    consumer.stop().await;
}
