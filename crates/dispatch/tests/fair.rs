//! Fairness: what is slow waits in the log, and stops nothing else (hazards D12, D31, D32).

use crate::stage::Stage;

#[tokio::test]
async fn a_hot_object_stops_no_other() {
    let mut stage = Stage::set(&["A"], 20_000).await;
    stage.config.batch_max_events = 1_000;
    stage.slow(&["hot"]);
    stage.commit(&vec![("A", "hot"); 50_000]).await;
    let cold: Vec<String> = (0..100).map(|n| format!("cold{n}")).collect();
    let changes: Vec<(&str, &str)> = cold.iter().map(|name| ("A", name.as_str())).collect();
    stage.commit(&changes).await;
    stage.dispatch();
    stage.work().await;
    stage
        .until("every other object ran", async |stage| {
            stage.ran_of("A").len() == 100
        })
        .await;
    stage
        .until(
            "no more of it than its share is in the queue",
            async |stage| stage.queue.queued().await.unwrap() == 1_000,
        )
        .await;
    assert!(stage.held().await >= 48_000);
}

#[tokio::test]
async fn a_hot_object_goes_on_in_order_when_it_can() {
    let mut stage = Stage::set(&["A"], 20_000).await;
    stage.slow(&["hot"]);
    let mut changes = vec![("A", "hot"); 2_000];
    changes.push(("A", "cold"));
    stage.commit(&changes).await;
    stage.dispatch();
    stage.work().await;
    stage
        .until("the other ran", async |stage| !stage.ran_of("A").is_empty())
        .await;
    stage.slow(&[]);
    stage.commit(&vec![("A", "hot"); 50]).await;
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 2_051);
}

#[tokio::test]
async fn a_slow_trigger_with_a_backlog_stops_no_other_trigger() {
    let mut stage = Stage::set(&["A", "B"], 400).await;
    stage.slow(&["A"]);
    let objects: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    let mut changes: Vec<(&str, &str)> = objects.iter().map(|name| ("A", name.as_str())).collect();
    changes.push(("B", "x"));
    stage.commit(&changes).await;
    stage.dispatch();
    stage.work().await;
    stage
        .until("the other ran", async |stage| !stage.ran_of("B").is_empty())
        .await;
    let queued = stage.queue.queued().await.unwrap();
    assert!(queued <= 101, "{queued} are in the queue");
    assert_eq!(stage.held().await, 1_900);
    stage.slow(&[]);
    stage.commit(&[("A", "0"), ("A", "1999"), ("B", "x")]).await;
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 2_002);
    stage.assert_ran_in_order("B", 2);
}

#[tokio::test]
async fn a_backlog_with_nothing_behind_it_waits_unread_and_costs_nothing() {
    let mut stage = Stage::set(&["A"], 400).await;
    stage.slow(&["A"]);
    let objects: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    let changes: Vec<(&str, &str)> = objects.iter().map(|name| ("A", name.as_str())).collect();
    stage.commit(&changes).await;
    stage.dispatch();
    stage
        .until("its share is in the queue", async |stage| {
            stage.queue.queued().await.unwrap() == 100
        })
        .await;
    stage.work().await;
    stage.slow(&[]);
    stage.until_settled().await;
    stage.assert_ran_in_order("A", 2_000);
    let moved = "select count(*) from tidegate.outcome where status <> 'done'";
    assert_eq!(stage.count(moved).await, 0, "nothing was held");
    assert_eq!(stage.log.last_offset().await.unwrap(), 2_000);
}
