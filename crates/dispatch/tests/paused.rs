//! Pause and resume: what a trigger holds goes on in order, each once, and nothing new overtakes it.

use crate::stage::{Stage, on};

const A: &str = "afterSave:A";

fn changes<'a>(table: &'a str, objects: &[&'a str], times: usize) -> Vec<(&'a str, &'a str)> {
    let round = objects.iter().map(|object| (table, *object));
    (0..times).flat_map(|_| round.clone()).collect()
}

#[tokio::test]
async fn a_paused_trigger_holds_and_others_go_on() {
    let mut stage = Stage::set(&["A", "B"], 1_000).await;
    stage.log.pause_trigger(A, "a test").await.unwrap();
    stage.dispatch();
    stage.work().await;
    let both = [changes("A", &["x", "y"], 20), changes("B", &["x", "y"], 20)].concat();
    stage.commit(&both).await;
    stage
        .until("B ran and A is held", async |stage| {
            stage.ran_of("B").len() == 40 && stage.held().await == 40
        })
        .await;
    assert_eq!(stage.ran_of("A"), []);
    let state = stage.log.trigger_states().await.unwrap().remove(0);
    assert_eq!(
        (&*state.trigger, state.is_paused, state.held),
        (A, true, 40)
    );
    assert_eq!(state.paused_by.as_deref(), Some("a test"));
    // What is held is settled: the log does not wait for it.
    stage
        .until("the settled offset passes what is held", async |stage| {
            stage
                .count("select settled_offset from tidegate.dispatch")
                .await
                == 80
        })
        .await;
    stage.log.resume_trigger(A).await.unwrap();
    // New changes come while the held ones go on.
    for _ in 0..20 {
        stage.commit(&changes("A", &["x", "y"], 1)).await;
    }
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 80);
    let moved = "select count(*) from tidegate.outcome where status = 'moved'";
    assert!(stage.count(moved).await >= 40);
    // Nothing is held any more: new ones go to the queue directly.
    let end = stage.log.last_offset().await.unwrap();
    stage.commit(&changes("A", &["x"], 1)).await;
    stage.until_settled().await;
    assert_eq!(stage.log.last_offset().await.unwrap(), end + 1);
    stage.assert_ran_in_order("A", 81);
}

#[tokio::test]
async fn what_the_queue_had_when_a_trigger_was_paused_is_held_by_the_worker_and_keeps_its_order() {
    let mut stage = Stage::set(&["A"], 1_000).await;
    stage.dispatch();
    stage.commit(&changes("A", &["x", "y"], 50)).await;
    stage
        .until("all is in the queue", async |stage| {
            stage.queue.queued().await.unwrap() == 100
        })
        .await;
    stage.log.pause_trigger(A, "a test").await.unwrap();
    stage.work().await;
    stage.commit(&changes("A", &["x", "y"], 5)).await;
    stage
        .until("all is held", async |stage| stage.held().await == 110)
        .await;
    // Paused once more while half of it is on its way again.
    stage.log.resume_trigger(A).await.unwrap();
    stage
        .until("it goes on", async |stage| !stage.ran_of("A").is_empty())
        .await;
    stage.log.pause_trigger(A, "a test").await.unwrap();
    stage.commit(&changes("A", &["x", "y"], 5)).await;
    stage.log.resume_trigger(A).await.unwrap();
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 120);
}

#[tokio::test]
async fn a_new_leader_knows_what_is_held() {
    let mut stage = Stage::set(&["A"], 1_000).await;
    stage.log.pause_trigger(A, "a test").await.unwrap();
    stage.dispatch();
    stage.commit(&changes("A", &["x", "y"], 300)).await;
    stage
        .until("it is held", async |stage| stage.held().await > 0)
        .await;
    stage.crash_dispatch().await;
    stage.log.resume_trigger(A).await.unwrap();
    stage.commit(&changes("A", &["x", "y"], 10)).await;
    stage.dispatch();
    stage.work().await;
    stage
        .until("it goes on", async |stage| !stage.ran_of("A").is_empty())
        .await;
    stage.crash_dispatch().await;
    stage.dispatch();
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 620);
}

#[tokio::test]
async fn a_lost_queue_brings_back_neither_what_is_held_nor_what_went_on() {
    let mut stage = Stage::set(&["A"], 1_000).await;
    stage.log.pause_trigger(A, "a test").await.unwrap();
    stage.dispatch();
    stage.work().await;
    stage.commit(&changes("A", &["x"], 30)).await;
    stage
        .until("all is held", async |stage| stage.held().await == 30)
        .await;
    stage.redis.flushall();
    stage.commit(&changes("A", &["x"], 1)).await;
    stage
        .until("all is held", async |stage| stage.held().await == 31)
        .await;
    stage.log.resume_trigger(A).await.unwrap();
    stage.until_settled().await;
    // Other triggers, another generation: everything after the settled offset is looked at again.
    let more = ["A", "B"].into_iter().map(on).collect();
    stage.triggers.send_replace(more);
    stage.commit(&changes("A", &["x"], 1)).await;
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 32);
}
