//! Schedules fire, each due time once, however many schedulers there are and whenever one of them ends.

use std::time::Instant;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, give_way};

/// Due times of a schedule of each second, and of those the ones that no fire followed or that two did.
const GAPS: &str = "
select count(*) >= 8 and bool_and(due_at - before = interval '1 second')
  from (select due_at, coalesce(lag(due_at) over (order by due_at), due_at - interval '1 second') as before
          from tidegate.fire) as fire";

#[tokio::test]
async fn each_due_time_fires_once_while_schedulers_come_and_go() {
    let stage = Stage::new().await;
    stage
        .put_schedule("tick", "report", json!({"every": "1s", "overlap": "allow"}))
        .await;
    let mut schedulers: Vec<_> = (0..3).map(|_| stage.schedule()).collect();
    let client = stage.sql().await;
    let begun = Instant::now();
    // Whoever leads is ended with each fire, in the middle of whatever it does.
    for fires in 1..=8_i64 {
        let count = "select count(*) from tidegate.fire";
        while client.query_one(count, &[]).await.unwrap().get::<_, i64>(0) < fires {
            give_way(begun, "nothing fires any more").await;
        }
        schedulers.remove(0).abort();
        schedulers.push(stage.schedule());
    }
    stage.until(GAPS).await;
    let runs = "select (select count(*) from tidegate.run) = (select count(*) from tidegate.fire where run_id is not null)";
    stage.until(runs).await;
}

#[tokio::test]
async fn a_change_takes_effect_at_once() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    let daily = json!({"daily": "03:00"});
    stage.put_schedule("tick", "report", daily.clone()).await;
    stage
        .until("select next_due > now() from tidegate.schedule")
        .await;
    stage
        .put_schedule("tick", "report", json!({"every": "1s"}))
        .await;
    stage.until("select count(*) > 0 from tidegate.fire").await;
    stage.put_schedule("tick", "report", daily).await;
    let quiet = "select next_due > now() + interval '1 second' or extract(hour from now() at time zone 'utc') in (2, 3)
                   from tidegate.schedule";
    stage.until(quiet).await;
}

#[tokio::test]
async fn what_overlaps_is_skipped_and_says_so() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    stage
        .put_schedule("tick", "report", json!({"every": "1s"}))
        .await;
    let skipped = "select count(*) filter (where result = 'started') = 1 and count(*) filter (where result = 'skipped') >= 2
                     from tidegate.fire";
    stage.until(skipped).await;
}

#[tokio::test]
async fn a_scheduler_that_is_told_to_ends() {
    let stage = Stage::new().await;
    let shutdown = CancellationToken::new();
    let leading = stage.schedule_until(shutdown.clone());
    let standing_by = stage.schedule_until(shutdown.clone());
    stage.start("report", Default::default()).await;
    stage.until_queued(1).await;
    shutdown.cancel();
    leading.await.unwrap();
    standing_by.await.unwrap();
}

#[tokio::test]
async fn without_redis_schedules_fire_and_lost_workers_are_noticed() {
    let stage = Stage::new().await;
    let _scheduler = stage.schedule();
    stage.log.join("silent").await.unwrap();
    let run = stage.start("report", Default::default()).await;
    stage.claim("silent", run).await;
    stage.redis.kill9();
    let tick = json!({"every": "1s", "overlap": "allow"});
    stage.put_schedule("tick", "report", tick).await;
    stage
        .until("select count(*) >= 2 from tidegate.fire where result = 'started'")
        .await;
    let given_up = format!(
        "select state <> 'running' from tidegate.run where id = {}",
        run.0
    );
    stage.until(&given_up).await;
    stage.redis.restart();
    stage.until_queued(3).await;
}
