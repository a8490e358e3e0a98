//! What Redis loses is queued again from the log (hazards D2, D9).

use crate::stage::Stage;

async fn redis(stage: &Stage, command: &[&str]) -> redis::Value {
    let client = redis::Client::open(stage.redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut call = redis::cmd(command[0]);
    call.arg(&command[1..]);
    call.query_async(&mut connection).await.unwrap()
}

/// A queue of twenty deliveries, and nobody who runs them.
async fn queued() -> Stage {
    let mut stage = Stage::set(&["A"], 1_000).await;
    stage.dispatch();
    stage.commit(&[("A", "x"); 20]).await;
    stage
        .until("all is in the queue", async |stage| {
            stage.queue.queued().await.unwrap() == 20
        })
        .await;
    stage
}

async fn lane(stage: &Stage) -> String {
    let keys = redis(stage, &["KEYS", "test:lane:*"]).await;
    redis::from_redis_value::<Vec<String>>(keys)
        .unwrap()
        .remove(0)
}

#[tokio::test]
async fn one_delivery_that_redis_lost_is_found_and_delivered() {
    let mut stage = queued().await;
    let lane = lane(&stage).await;
    redis(&stage, &["XDEL", &lane, "7-0"]).await;
    stage.work().await;
    stage.until_settled().await;
    let mut ran: Vec<u64> = stage.ran_of("A").iter().map(|ran| ran.number).collect();
    ran.sort_unstable();
    assert_eq!(ran, (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_lane_that_redis_lost_is_found_and_delivered() {
    let mut stage = queued().await;
    let lane = lane(&stage).await;
    redis(&stage, &["DEL", &lane]).await;
    stage.work().await;
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 20);
}

#[tokio::test]
async fn a_flushed_redis_is_filled_again() {
    let mut stage = queued().await;
    stage.redis.flushall();
    stage.work().await;
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 20);
}
