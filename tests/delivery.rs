//! Pausing a trigger, and the way of what was held: nothing is lost, repeated or overtaken, also when the dispatcher is
//! killed where it holds and where it lets go on.

use std::collections::BTreeMap;

use serde_json::json;
use tidegate_event::failpoint;
use tokio_postgres::Client;

use crate::system::{PATIENCE, System, breathe};

const RECORDER: &str = r#"
Parse.Cloud.afterSave("Item", async (request) => {
  const run = new Parse.Object("Run");
  await run.save({ item: request.object.id, version: request.object.get("version") }, { useMasterKey: true });
});
Parse.Cloud.afterSave("Other", async (request) => {
  await new Parse.Object("OtherRun").save({}, { useMasterKey: true });
});
"#;

const PAUSE: &str =
    "insert into tidegate.trigger (trigger, paused_at) values ('afterSave:Item', now())
    on conflict (trigger) do update set paused_at = now()";
const RESUME: &str = "update tidegate.trigger set paused_at = null, resumed_at = clock_timestamp()";

/// Makes the class, so that its table can be written by SQL.
async fn prepare(system: &System) {
    for class in ["Item", "Other"] {
        let item = json!({"version": 0, "name": "first"});
        let path = format!("classes/{class}");
        let reply = system.call(reqwest::Method::POST, &path, item).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    system.wait_until_settled().await;
}

/// Pauses the trigger, and writes to an object that is not counted until that has had its effect.
async fn pause(system: &System) {
    let sql = system.sql().await;
    sql.batch_execute(PAUSE).await.unwrap();
    let begun = std::time::Instant::now();
    let held = "select exists (select from tidegate.outcome where status = 'held')";
    while !sql.query_one(held, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(begun.elapsed() < PATIENCE, "nothing is ever held");
        write_object(&sql, "probe", 0).await;
        breathe().await;
    }
}

async fn write_object(sql: &Client, object: &str, version: i32) {
    sql.execute(
        r#"insert into "Item" ("objectId", "createdAt", "updatedAt", version)
           values ($1, now(), now(), $2) on conflict ("objectId") do update set version = $2"#,
        &[&object, &f64::from(version)],
    )
    .await
    .unwrap();
}

/// Commits `versions` of each of five objects.
async fn write(system: &System, versions: std::ops::Range<i32>) {
    let sql = system.sql().await;
    for version in versions {
        for object in 0..5 {
            write_object(&sql, &format!("item{object}"), version).await;
        }
    }
}

/// The versions that ran, of each of the five objects, in order.
async fn ran(system: &System) -> BTreeMap<String, Vec<i64>> {
    let mut ran: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let runs = system.find("Run", json!({})).await;
    for run in runs.iter().filter(|run| {
        run["item"]
            .as_str()
            .is_some_and(|item| item.starts_with("item"))
    }) {
        let item = run["item"].as_str().unwrap().to_owned();
        let version = run["version"].as_i64().unwrap();
        ran.entry(item).or_default().push(version);
    }
    ran
}

fn each_in_order(versions: i64) -> BTreeMap<String, Vec<i64>> {
    let all: Vec<i64> = (1..versions).collect();
    (0..5)
        .map(|object| (format!("item{object}"), all.clone()))
        .collect()
}

async fn wait_until_nothing_is_held(system: &System) {
    // In one look: a worker that has not heard of the resume holds again what was let go on.
    system
        .wait_for_sql(
            "select settled_offset >= last_offset
                and not exists (select from tidegate.outcome where status in ('held', 'retry'))
               from tidegate.dispatch, tidegate.log",
        )
        .await;
}

#[tokio::test]
async fn a_paused_trigger_holds_what_is_written_and_goes_on_in_order() {
    let system = System::start(RECORDER).await;
    prepare(&system).await;
    let sql = system.sql().await;
    pause(&system).await;
    write(&system, 1..10).await;
    let other = json!({"name": "second"});
    system
        .call(reqwest::Method::POST, "classes/Other", other)
        .await;
    system.wait_for_objects("OtherRun", json!({}), 2).await;
    system.wait_until_settled().await;
    assert_eq!(ran(&system).await, BTreeMap::new(), "all of it is held");
    sql.batch_execute(RESUME).await.unwrap();
    write(&system, 10..15).await;
    wait_until_nothing_is_held(&system).await;
    assert_eq!(ran(&system).await, each_in_order(15));
}

#[tokio::test]
async fn a_dispatcher_killed_where_it_holds_loses_nothing() {
    killed_at(failpoint::DISPATCH_HELD).await;
}

#[tokio::test]
async fn a_dispatcher_killed_where_it_lets_go_on_repeats_nothing() {
    killed_at(failpoint::DISPATCH_RESUMED).await;
}

async fn killed_at(place: &str) {
    let mut system = System::prepare(RECORDER).await;
    system.serve("proxy,capture,worker");
    let mut doomed = system.spawn_armed("dispatch", place, 1);
    doomed.wait_for("leading dispatch");
    prepare(&system).await;
    let sql = system.sql().await;
    pause(&system).await;
    write(&system, 1..5).await;
    if place == failpoint::DISPATCH_RESUMED {
        sql.batch_execute(RESUME).await.unwrap();
    }
    let begun = std::time::Instant::now();
    while doomed.is_running() {
        assert!(begun.elapsed() < PATIENCE, "{place} was never passed");
        write_object(&sql, "probe", 0).await;
        breathe().await;
    }
    system.serve("dispatch");
    write(&system, 5..8).await;
    sql.batch_execute(RESUME).await.unwrap();
    wait_until_nothing_is_held(&system).await;
    assert_eq!(ran(&system).await, each_in_order(8));
    let log = sql
        .query_one("select count(*), max(log_offset) from tidegate.event", &[])
        .await
        .unwrap();
    let (rows, last): (i64, i64) = (log.get(0), log.get(1));
    assert_eq!(rows, last, "offsets are dense");
}
