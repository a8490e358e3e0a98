//! The same executable as separate processes on one Postgres and one Redis.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::json;

use crate::system::System;

/// Says which process ran it: a cloud function cannot know, but the log can.
const WHO_RAN: &str = r#"
Parse.Cloud.define("ping", () => "pong");
Parse.Cloud.afterSave("Thing", async (request) => {
  const entry = new Parse.Object("Note");
  await entry.save({ thing: request.object.id, n: request.object.get("n") }, { useMasterKey: true });
});
"#;

#[tokio::test]
async fn each_role_runs_in_a_process_of_its_own_and_two_workers_share_the_load() {
    let mut system = System::prepare(WHO_RAN).await;
    system.serve("capture,dispatch");
    system.serve("worker");
    system.serve("worker");
    system.serve("proxy");
    assert_eq!(system.function("ping", json!({})).await, "pong");
    let sql = system.sql().await;
    system
        .wait_for_sql("select count(distinct owner) = 2 and bool_and(owner is not null) from tidegate.lane where expires_at > now()")
        .await;
    let shares = sql
        .query_one("select min(n), max(n) from (select count(*) as n from tidegate.lane group by owner) as share", &[])
        .await
        .unwrap();
    assert_eq!(
        (shares.get::<_, i64>(0), shares.get::<_, i64>(1)),
        (40, 40),
        "64 lanes and 16 for limited triggers, half for each"
    );
    for n in 0..20 {
        let saved = system
            .call(Method::POST, "classes/Thing", json!({"n": n}))
            .await;
        assert_eq!(
            saved.header("x-tidegate-wait"),
            Some("done"),
            "the proxy waits across processes"
        );
    }
    let notes = system.find("Note", json!({})).await;
    let things: HashSet<&str> = notes
        .iter()
        .filter_map(|note| note["thing"].as_str())
        .collect();
    assert_eq!((notes.len(), things.len()), (20, 20), "each ran once");
}

#[tokio::test]
async fn a_class_made_by_one_process_is_known_to_another() {
    let mut system = System::prepare(WHO_RAN).await;
    system.serve("proxy,capture,dispatch,worker");
    let first = system.url();
    system.serve("proxy");
    assert_ne!(system.url(), first);
    let saved = system
        .call(Method::POST, "classes/New", json!({"a": 1}))
        .await;
    let id = saved.body["objectId"].as_str().unwrap().to_owned();
    let read = reqwest::Client::new()
        .get(format!("{first}/parse/classes/New/{id}"))
        .header("X-Parse-Application-Id", crate::system::APP_ID)
        .send();
    // The notification travels by Postgres; a read that comes before it finds nothing yet.
    let mut status = read.await.unwrap().status();
    for _ in 0..200 {
        if status == 200 {
            break;
        }
        crate::system::breathe().await;
        let again = reqwest::Client::new().get(format!("{first}/parse/classes/New/{id}"));
        status = again
            .header("X-Parse-Application-Id", crate::system::APP_ID)
            .send()
            .await
            .unwrap()
            .status();
    }
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_worker_that_ends_gives_its_lanes_to_the_other() {
    let mut system = System::prepare(WHO_RAN).await;
    system.serve("proxy,capture,dispatch");
    let leaving = system.serve("worker");
    system.serve("worker");
    system
        .wait_for_sql(
            "select count(distinct owner) = 2 from tidegate.lane where expires_at > now()",
        )
        .await;
    assert_eq!(
        system.server(leaving).terminate(),
        Some(0),
        "a drained worker ends well"
    );
    system.wait_for_sql("select count(distinct owner) = 1 and count(*) = 80 from tidegate.lane where expires_at > now()").await;
    // The proxy was started first, so it is not the last to listen.
    let saved = reqwest::Client::new()
        .post(format!(
            "{}/parse/classes/Thing",
            system.server(0).url.clone().unwrap()
        ))
        .header("X-Parse-Application-Id", crate::system::APP_ID)
        .json(&json!({"n": 1}))
        .send()
        .await
        .unwrap();
    assert_eq!(saved.headers()["x-tidegate-wait"], "done");
}

#[tokio::test]
async fn a_slot_of_another_database_is_left_alone() {
    let mut first = System::prepare(WHO_RAN).await;
    first
        .set("slot", "shared_name")
        .serve("proxy,capture,dispatch,worker");
    let mut second = System::prepare(WHO_RAN).await;
    let mut refused = second.set("slot", "shared_name").spawn("capture");
    assert_eq!(refused.wait(), Some(1));
    refused.wait_for("slot shared_name belongs to another database");
    let saved = first
        .call(Method::POST, "classes/Thing", json!({"n": 1}))
        .await;
    assert_eq!(
        saved.header("x-tidegate-wait"),
        Some("done"),
        "the first works on"
    );
}

#[tokio::test]
async fn code_with_triggers_that_would_not_run_is_refused_unless_that_is_wanted() {
    let code =
        "Parse.Cloud.beforeFind('Thing', () => {}); Parse.Cloud.define('ping', () => 'pong')";
    let mut system = System::prepare(code).await;
    let mut refused = system.spawn("proxy,capture,dispatch,worker");
    assert_eq!(refused.wait(), Some(1));
    refused.wait_for("does not run beforeFind:Thing");
    system
        .set("unsupported_triggers", "ignore")
        .serve("proxy,capture,dispatch,worker");
    assert_eq!(system.function("ping", json!({})).await, "pong");
}
