//! Replay, backfill and trace, as an operator drives them: by the command line, beside a server that runs.

mod asking;
mod backfills;
mod replays;

use std::process::{Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::tidegate;
use crate::system::{System, breathe};

/// Writes down each run, and fails for objects named `bad` until the code changes.
const RECORDER: &str = r#"
Parse.Cloud.afterSave("Item", async (request) => {
  if (request.object.get("name") === "bad") throw new Error("not yet");
  await record(request);
});
async function record(request) {
  const run = new Parse.Object("Run");
  await run.save({ item: request.object.id, version: request.object.get("version"), eventId: request.eventId,
    replay: request.replay ? request.replay.operation : 0, backfill: request.backfill ? request.backfill.operation : 0,
    source: request.source }, { useMasterKey: true });
}
"#;

const ALL: &str = "proxy,capture,dispatch,worker";

/// A command that needs Postgres alone: no key, no Redis, no project.
fn command(system: &System, arguments: &[&str]) -> Command {
    let mut command = tidegate();
    command
        .args(arguments)
        .env("DATABASE_URL", system.database.url())
        .env("TIDEGATE_SLOT", system.database.name())
        .current_dir(std::env::temp_dir());
    command
}

fn run(system: &System, arguments: &[&str]) -> Output {
    command(system, arguments).output().unwrap()
}

/// Runs a command that must succeed, with `--json`, and returns what it prints.
#[track_caller]
fn ask(system: &System, arguments: &[&str]) -> Value {
    let output = run(system, &[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {:?}", output.stdout))
}

/// Runs a command that must fail with this exit code, and returns what it says.
#[track_caller]
fn refused(system: &System, arguments: &[&str], exit_code: i32) -> String {
    let output = run(system, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(exit_code),
        "{arguments:?}: {said}"
    );
    assert!(output.stdout.is_empty(), "no data on stdout");
    said
}

async fn create(system: &System, name: &str) -> String {
    let body = json!({"name": name, "version": 0});
    let reply = system.call(Method::POST, "classes/Item", body).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.body["objectId"].as_str().unwrap().to_owned()
}

/// Rows by plain SQL: (object id, version 0).
async fn insert_items(system: &System, count: usize) {
    let insert = format!(
        r#"insert into "Item" ("objectId", "createdAt", "updatedAt", name, version)
           select 'item' || to_char(n, 'FM00000'), now(), now(), 'good', 0 from generate_series(1, {count}) n"#
    );
    system.sql().await.batch_execute(&insert).await.unwrap();
}

async fn count(system: &System, query: &str) -> i64 {
    system
        .sql()
        .await
        .query_one(query, &[])
        .await
        .unwrap()
        .get(0)
}

/// Waits until so many entries of an operation are in the log.
async fn wait_for_entries(system: &System, operation: &Value, at_least: u64) {
    let appended = format!(
        "select count(*) >= {at_least} from tidegate.event where redelivery::json ->> 'operation' = '{operation}'"
    );
    system.wait_for_sql(&appended).await;
}

async fn wait_for_state(system: &System, operation: &Value, state: &str) {
    let query = format!("select state = '{state}' from tidegate.operation where id = {operation}");
    system.wait_for_sql(&query).await;
}
