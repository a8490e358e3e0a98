//! The processes that run cloud code: none is left behind, one that dies is replaced.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::{HOSTILE, all_succeed, call};
use crate::code::listener::Listener;
use crate::server::Server;
use crate::system::{APP_ID, PATIENCE, System, breathe};

/// A server with two isolates, one of them in an endless loop, and all its processes.
async fn busy_server() -> (System, Server, Vec<i32>) {
    let mut system = System::prepare(HOSTILE).await;
    // The loop itself would go on for longer than any test may.
    system
        .set("function_timeout_ms", 600_000)
        .set("drain_timeout_ms", 500);
    let mut server = system.spawn("proxy,capture,dispatch,worker");
    server.wait_for("this process is ready");
    let url = format!(
        "{}/parse/functions/loop",
        server.url.clone().expect("it listens")
    );
    tokio::spawn(
        reqwest::Client::new()
            .post(url)
            .header("X-Parse-Application-Id", APP_ID)
            .send(),
    );
    wait_until_burning(server.pid()).await;
    let children: Vec<i32> = descendants(server.pid()).into_keys().collect();
    assert!(
        children.len() >= 3,
        "two isolates and what forks them: {children:?}"
    );
    (system, server, children)
}

#[tokio::test]
async fn no_isolate_outlives_a_server_that_is_killed() {
    let (_system, mut server, children) = busy_server().await;
    server.kill();
    wait_until_gone(&children).await;
}

#[tokio::test]
async fn no_isolate_outlives_a_server_that_is_terminated() {
    let (_system, mut server, children) = busy_server().await;
    assert_eq!(server.terminate(), Some(0));
    wait_until_gone(&children).await;
}

#[tokio::test]
async fn an_isolate_that_is_killed_is_replaced() {
    let mut system = System::prepare(HOSTILE).await;
    let server = system.serve("proxy,capture,dispatch,worker");
    let pid = system.server(server).pid();
    for _ in 0..3 {
        let children: Vec<i32> = descendants(pid).into_keys().collect();
        let killed = std::process::Command::new("kill")
            .arg("-9")
            .args(children.iter().map(i32::to_string))
            .status();
        assert!(killed.unwrap().success());
        all_succeed(&system, "saving", 10, "kills").await;
        wait_until_gone(&children).await;
        assert!(!descendants(pid).is_empty());
    }
    assert_eq!(system.find("Entry", json!({})).await.len(), 30);
}

#[tokio::test]
async fn a_server_that_is_terminated_finishes_what_it_runs() {
    let mut system = System::prepare(
        "Parse.Cloud.define('slow', async ({ params }) => {
           const response = await fetch(params.url);
           await new Parse.Object('Entry').save();
           return response.text();
         });",
    )
    .await;
    let server = system.serve("proxy,capture,dispatch,worker");
    let pid = system.server(server).pid();
    let listener = Listener::start().await;
    let params = json!({"url": listener.url("/")});
    let (reply, ()) = tokio::join!(call(&system, "slow", params), async {
        let held = listener.next().await;
        assert!(
            std::process::Command::new("kill")
                .arg(pid.to_string())
                .status()
                .unwrap()
                .success()
        );
        system.wait_until_refused().await;
        held.answer(200, "done").await;
    });
    assert_eq!(
        (reply.status, &reply.body["result"]),
        (200, &json!("done")),
        "{}",
        reply.body
    );
    assert_eq!(system.server(server).wait(), Some(0));
    let entries = r#"select count(*) from "Entry""#;
    assert_eq!(
        system
            .sql()
            .await
            .query_one(entries, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        1
    );
}

/// State and parent of every process.
fn processes() -> BTreeMap<i32, (char, i32)> {
    let names = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them is in brackets and may hold anything.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The processes whose ancestor is this one, with their states.
pub fn descendants(ancestor: i32) -> BTreeMap<i32, char> {
    let all = processes();
    let parent_of = |pid: &i32| all.get(pid).map(|(_, parent)| *parent);
    let descends =
        |pid: &i32| std::iter::successors(parent_of(pid), parent_of).any(|one| one == ancestor);
    all.iter()
        .filter(|(pid, _)| descends(pid))
        .map(|(pid, (state, _))| (*pid, *state))
        .collect()
}

/// Waits until none of them runs. A zombie does not: it only has not been asked for its exit code.
async fn wait_until_gone(pids: &[i32]) {
    let begun = Instant::now();
    while let Some(pid) = pids
        .iter()
        .find(|pid| stat(**pid).is_some_and(|(state, _)| state != 'Z'))
    {
        assert!(begun.elapsed() < PATIENCE, "process {pid} is still there");
        breathe().await;
    }
}

/// Waits until one of the server's isolates computes.
pub async fn wait_until_burning(server: i32) {
    let begun = Instant::now();
    let mut looks = 0;
    // One that has something short to do may be met computing once, but not in a row.
    while looks < 3 {
        let burns = descendants(server).values().any(|state| *state == 'R');
        looks = if burns { looks + 1 } else { 0 };
        assert!(begun.elapsed() < PATIENCE, "nothing computes");
        breathe().await;
    }
}
