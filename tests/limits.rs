//! Limits: code that misbehaves costs its own caller one clear error, and nobody else anything.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::code::listener::Listener;
use crate::system::{APP_ID, PATIENCE, Reply, Server, System, breathe};

/// Functions of [`HOSTILE`] that never end, each of which is ended by another means.
const ENDLESS: &[&str] = &["loop", "native", "microtasks", "regex", "never"];

/// Those that take more than there is of something, and the words of the error that their callers get.
const EXHAUSTING: &[(&str, &str)] = &[
    ("memory", "memory"),
    ("string", "string too long"),
    ("recursion", "call stack"),
    ("output", "too large"),
    ("circular", "call stack"),
];

const HOSTILE: &str = r#"
    const define = (name, handler) => Parse.Cloud.define(name, handler);
    define("loop", () => { while (true) {} });
    define("native", () => [].join.call({ length: 2 ** 53 - 1 }));
    define("microtasks", async () => { while (true) await null; });
    define("regex", () => /(?=(a+))\1b/.test("a".repeat(1e6)));
    define("never", () => new Promise(() => {}));
    define("memory", () => { const all = []; while (true) all.push(new Uint8Array(1e6).fill(1)); });
    define("string", () => { let text = "x"; while (true) text += text; });
    define("recursion", () => { const f = () => f() + 1; return f(); });
    define("output", () => "x".repeat(20e6));
    define("circular", () => { const a = {}; a.a = a; return a; });
    define("polite", ({ params }) => params.n);
    define("saving", async ({ params }) => (await new Parse.Object("Entry").save({ n: params.n })).get("n"));
    "#;

async fn call(system: &System, name: &str, params: Value) -> Reply {
    system.call(Method::POST, &format!("functions/{name}"), params).await
}

/// Calls a function with the numbers below `count` at once and expects each back.
async fn all_succeed(system: &System, name: &str, count: usize, beside: &str) {
    let replies = join_all((0..count).map(|n| call(system, name, json!({"n": n})))).await;
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!((reply.status, &reply.body["result"]), (200, &json!(n)), "{name} beside {beside}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_function_that_never_ends_costs_its_caller_one_error_and_nobody_else_anything() {
    let mut system = System::prepare(HOSTILE).await;
    system.set("function_timeout_ms", 1000).serve("proxy,capture,dispatch,worker");
    for name in ENDLESS {
        let endless = join_all((0..3).map(|_| call(&system, name, json!({}))));
        let (endless, ()) = tokio::join!(endless, all_succeed(&system, "polite", 30, name));
        for reply in endless {
            let message = reply.expect_error(400, 124);
            assert_eq!(message, format!("function {name} was ended: it took longer than 1 s"));
        }
    }
    all_succeed(&system, "saving", 10, "nothing").await;
}

#[tokio::test]
async fn a_function_that_takes_too_much_costs_its_caller_one_error_and_nobody_else_anything() {
    let mut system = System::prepare(HOSTILE).await;
    system.set("isolate_memory_mb", 64).serve("proxy,capture,dispatch,worker");
    for (name, words) in EXHAUSTING {
        let exhausting = join_all((0..3).map(|_| call(&system, name, json!({}))));
        let (exhausting, ()) = tokio::join!(exhausting, all_succeed(&system, "polite", 30, name));
        for reply in exhausting {
            let message = reply.expect_error(400, 141);
            assert!(message.contains(words), "{name}: {message}");
        }
    }
    all_succeed(&system, "saving", 10, "nothing").await;
}

#[tokio::test]
async fn others_work_on_while_a_function_burns() {
    let mut system = System::prepare(HOSTILE).await;
    system.set("function_timeout_ms", 3000);
    let server = system.serve("proxy,capture,dispatch,worker");
    let pid = system.server(server).pid();
    for (n, name) in ["loop", "native"].into_iter().enumerate() {
        let others = async {
            wait_until_burning(pid).await;
            all_succeed(&system, "saving", 30, name).await;
        };
        let (hostile, ()) = tokio::join!(call(&system, name, json!({})), others);
        hostile.expect_error(400, 124);
        assert_eq!(system.find("Entry", json!({})).await.len(), 30 * (n + 1), "none was run twice");
    }
}

#[tokio::test]
async fn a_hostile_trigger_writes_nothing_and_stops_nobody() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.beforeSave("Item", ({ object }) => {
          if (object.get("n") === 0) while (true) {}
          object.set("ran", true);
        });
        Parse.Cloud.afterSave("Slow", async ({ object }) => {
          if (object.get("n") === 0) [].join.call({ length: 2 ** 53 - 1 });
          await new Parse.Object("Done").save({ n: object.get("n") }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    system.set("trigger_timeout_ms", 3000).set("trigger_attempts", 1);
    let server = system.serve("proxy,capture,dispatch,worker");
    let pid = system.server(server).pid();
    let save = async |class: &str, n: usize| {
        system.request(Method::POST, &format!("classes/{class}"), json!({"n": n}), &[("X-Tidegate-Wait", "none")]).await
    };
    let others = async {
        wait_until_burning(pid).await;
        join_all((1..10).map(|n| save("Item", n))).await
    };
    let (hostile, others) = tokio::join!(save("Item", 0), others);
    assert!(hostile.expect_error(400, 124).contains("beforeSave trigger of Item"), "{}", hostile.body);
    for reply in others {
        assert_eq!((reply.status, &reply.body["ran"]), (201, &json!(true)), "{}", reply.body);
    }
    assert_eq!(system.find("Item", json!({})).await.len(), 9);

    assert_eq!(save("Slow", 0).await.status, 201);
    wait_until_burning(pid).await;
    assert!(join_all((1..10).map(|n| save("Slow", n))).await.iter().all(|reply| reply.status == 201));
    system.wait_for_objects("Done", json!({}), 9).await;
    system.wait_until_settled().await;
    let dead = "select count(*) from tidegate.outcome where status = 'dead'";
    let dead: i64 = system.sql().await.query_one(dead, &[]).await.unwrap().get(0);
    assert_eq!((dead, system.find("Done", json!({})).await.len()), (1, 9), "the hostile one alone is a dead letter");
}

#[tokio::test]
async fn what_a_function_did_before_it_failed_stays_done() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.define("half", async ({ params }) => {
          await new Parse.Object("Step").save({ how: params.how });
          if (params.how === "throw") throw new Parse.Error(999, "halfway");
          if (params.how === "loop") while (true) {}
          await new Promise(() => {});
        });
        "#,
    )
    .await;
    system.set("function_timeout_ms", 300).serve("proxy,capture,dispatch,worker");
    for (how, code) in [("throw", 999), ("loop", 124), ("never", 124)] {
        let reply = call(&system, "half", json!({"how": how})).await;
        assert!(!reply.expect_error(400, code).is_empty());
        // Once: a run that has had an effect is not run again by itself.
        assert_eq!(system.find("Step", json!({"how": how})).await.len(), 1, "{how}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut system = System::prepare("Parse.Cloud.define('length', ({ params }) => params.text.length)").await;
    system.set("max_body_bytes", 1000).serve("proxy,capture,dispatch,worker");
    let frame = json!({"text": ""}).to_string().len();
    let text = |bytes: usize| json!({"text": "x".repeat(bytes - frame)});
    assert_eq!(call(&system, "length", text(1000)).await.body, json!({"result": 1000 - frame}));
    for bytes in [1001, 100_000] {
        let reply = call(&system, "length", text(bytes)).await;
        assert!(reply.expect_error(413, 116).contains("1000 bytes"), "{}", reply.body);
    }
    let deep = format!("{}1{}", "[".repeat(400), "]".repeat(400));
    let request = reqwest::Client::new().post(format!("{}/parse/functions/length", system.url()));
    let request = request.header("X-Parse-Application-Id", APP_ID);
    let reply: Value = request.body(format!(r#"{{"text":{deep}}}"#)).send().await.unwrap().json().await.unwrap();
    assert_eq!(reply["code"], 107, "{reply}");
}

#[tokio::test]
async fn a_handler_that_talks_too_much_is_cut_off_and_nothing_else_is() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.define("flood", () => {
          for (let n = 0; n < 100; n += 1) console.log("FLOOD " + "x".repeat(100_000));
          for (let n = 0; n < 10_000; n += 1) console.log("FLOOD " + "y".repeat(1000));
          return "done";
        });
        Parse.Cloud.define("talk", () => console.log("TALK"));
        "#,
    )
    .await;
    let server = system.serve("proxy,capture,dispatch,worker");
    assert_eq!(system.function("flood", json!({})).await, "done");
    system.function("talk", json!({})).await;
    system.server(server).wait_for("TALK");
    let lines = system.server(server).wait_for_lines("FLOOD", 1);
    let lengths: Vec<usize> = lines.iter().map(|line| line["message"].as_str().unwrap().len()).collect();
    assert!(lengths.iter().all(|length| *length <= 8 * 1024 + 10), "a line has at most 8 KiB");
    assert!(lengths.iter().sum::<usize>() <= 3 * 1024 * 1024, "{} bytes of one run", lengths.iter().sum::<usize>());
}

/// State and parent of every process.
fn processes() -> BTreeMap<i32, (char, i32)> {
    let names = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before them is in brackets and may hold anything.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The processes whose ancestor is this one, with their states.
fn descendants(ancestor: i32) -> BTreeMap<i32, char> {
    let all = processes();
    let parent_of = |pid: &i32| all.get(pid).map(|(_, parent)| *parent);
    let descends = |pid: &i32| std::iter::successors(parent_of(pid), parent_of).any(|one| one == ancestor);
    all.iter().filter(|(pid, _)| descends(pid)).map(|(pid, (state, _))| (*pid, *state)).collect()
}

/// Waits until none of them runs. A zombie does not: it only has not been asked for its exit code.
async fn wait_until_gone(pids: &[i32]) {
    let begun = Instant::now();
    while let Some(pid) = pids.iter().find(|pid| stat(**pid).is_some_and(|(state, _)| state != 'Z')) {
        assert!(begun.elapsed() < PATIENCE, "process {pid} is still there");
        breathe().await;
    }
}

/// Waits until one of the server's isolates computes.
async fn wait_until_burning(server: i32) {
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

/// A server with two isolates, one of them in an endless loop, and all its processes.
async fn busy_server() -> (System, Server, Vec<i32>) {
    let mut system = System::prepare(HOSTILE).await;
    // The loop itself would go on for longer than any test may.
    system.set("function_timeout_ms", 600_000).set("drain_timeout_ms", 500);
    let mut server = system.spawn("proxy,capture,dispatch,worker");
    server.wait_for("this process is ready");
    let url = format!("{}/parse/functions/loop", server.url.clone().expect("it listens"));
    tokio::spawn(reqwest::Client::new().post(url).header("X-Parse-Application-Id", APP_ID).send());
    wait_until_burning(server.pid()).await;
    let children: Vec<i32> = descendants(server.pid()).into_keys().collect();
    assert!(children.len() >= 3, "two isolates and what forks them: {children:?}");
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
        let killed = std::process::Command::new("kill").arg("-9").args(children.iter().map(i32::to_string)).status();
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
        assert!(std::process::Command::new("kill").arg(pid.to_string()).status().unwrap().success());
        system.wait_until_refused().await;
        held.answer(200, "done").await;
    });
    assert_eq!((reply.status, &reply.body["result"]), (200, &json!("done")), "{}", reply.body);
    assert_eq!(system.server(server).wait(), Some(0));
    let entries = r#"select count(*) from "Entry""#;
    assert_eq!(system.sql().await.query_one(entries, &[]).await.unwrap().get::<_, i64>(0), 1);
}
