//! Triggers that set one another off: they stop at a depth, and the error says how they came there.

use reqwest::Method;
use serde_json::json;

use crate::system::System;

/// The system when so many chains have ended as dead letters.
async fn stopped_at(depth: u32, chains: usize, main_js: &str) -> System {
    let mut system = System::prepare(main_js).await;
    system
        .set("max_trigger_depth", depth)
        .set("trigger_attempts", 2)
        .set("trigger_backoff_ms", 10)
        .serve("proxy,capture,dispatch,worker");
    let none = [("X-Tidegate-Wait", "none")];
    let reply = system
        .request(Method::POST, "classes/A", json!({"level": 0}), &none)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let dead = format!("select count(*) >= {chains} from tidegate.outcome where status = 'dead'");
    system.wait_for_sql(&dead).await;
    system.wait_until_settled().await;
    system
}

/// The errors of dead letters.
async fn errors(system: &System) -> Vec<String> {
    let sql = system.sql().await;
    let dead = sql
        .query(
            "select error from tidegate.outcome where status = 'dead' order by log_offset",
            &[],
        )
        .await
        .unwrap();
    dead.iter().map(|row| row.get(0)).collect()
}

/// The lines of an error's chain, each as a trigger and an event.
fn chain(error: &str) -> Vec<(&str, &str)> {
    // The stack says all of it once more.
    let (message, _) = error.split_once("\nLet the handler").unwrap();
    let lines = message
        .lines()
        .filter_map(|line| line.strip_prefix("  after"));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

#[tokio::test]
async fn a_trigger_that_saves_its_own_object_stops_at_the_depth() {
    let system = stopped_at(
        3,
        1,
        r#"Parse.Cloud.afterSave("A", async ({ object }) => {
             object.increment("level");
             await object.save(null, { useMasterKey: true });
           });"#,
    )
    .await;
    // One request and three triggers' writes; the fourth is refused, in both attempts.
    assert_eq!(system.find("A", json!({})).await[0]["level"], 3);
    let errors = errors(&system).await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    let chain = chain(&errors[0]);
    assert!(
        chain.len() == 4 && chain.iter().all(|(trigger, _)| *trigger == "Save:A"),
        "{chain:?}"
    );
    let sql = system.sql().await;
    let events = sql
        .query(
            "select epoch || '-' || replace(commit_lsn::text, '/', '.') || '-' || ordinal
               from tidegate.event order by log_offset",
            &[],
        )
        .await
        .unwrap();
    let events: Vec<&str> = events.iter().map(|row| row.get(0)).collect();
    let named: Vec<&str> = chain.iter().map(|(_, event)| *event).collect();
    assert_eq!(named, events, "each event, the first first");
    assert!(errors[0].contains("max_trigger_depth"));
}

#[tokio::test]
async fn two_triggers_that_set_each_other_off_stop_at_the_depth() {
    let system = stopped_at(
        4,
        1,
        r#"const make = (name) => async () => { await new Parse.Object(name).save({}, { useMasterKey: true }); };
           Parse.Cloud.afterSave("A", make("B"));
           Parse.Cloud.afterSave("B", make("A"));"#,
    )
    .await;
    let count = async |class| system.find(class, json!({})).await.len();
    assert_eq!((count("A").await, count("B").await), (3, 2));
    let errors = errors(&system).await;
    let triggers: Vec<&str> = chain(&errors[0])
        .iter()
        .map(|(trigger, _)| *trigger)
        .collect();
    assert_eq!(triggers, ["Save:A", "Save:B", "Save:A", "Save:B", "Save:A"]);
    assert_eq!(errors.len(), 1);
}

#[tokio::test]
async fn a_chain_that_fans_out_makes_no_more_than_its_levels_hold() {
    let system = stopped_at(
        2,
        100,
        r#"Parse.Cloud.afterSave("A", async ({ object }) => {
             const level = object.get("level") + 1;
             await Promise.all([...Array(10)].map(() => new Parse.Object("A").save({ level }, { useMasterKey: true })));
           });"#,
    )
    .await;
    let levels = async |level: u32| system.find("A", json!({"level": level})).await.len();
    assert_eq!(
        (
            levels(0).await,
            levels(1).await,
            levels(2).await,
            levels(3).await
        ),
        (1, 10, 100, 0)
    );
    let errors = errors(&system).await;
    assert_eq!(errors.len(), 100);
    assert!(errors.iter().all(|error| chain(error).len() == 3));
}
