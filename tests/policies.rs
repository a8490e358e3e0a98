//! How after-triggers are run: retries as their authors ask, limits over all workers, quarantine, take-overs.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_event::failpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::code::listener::Listener;
use crate::system::{PATIENCE, System, breathe};

async fn save(system: &System, class: &str, fields: Value) -> String {
    let reply = system
        .master(Method::POST, &format!("classes/{class}"), fields)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.body["objectId"].as_str().unwrap().to_owned()
}

/// Status, attempts, crashes, error and logs of the one outcome of this trigger.
async fn outcome(system: &System, trigger: &str) -> (String, i32, i32, String, String) {
    let sql = "select status, attempts, crashes, coalesce(error, ''), coalesce(logs, '')
                 from tidegate.outcome where trigger = $1";
    let row = system
        .sql()
        .await
        .query_one(sql, &[&trigger])
        .await
        .unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))
}

#[tokio::test]
async fn a_thrown_error_says_when_to_try_again_and_when_not_to() {
    let mut system = System::prepare(
        r#"
        const note = (request) => new Parse.Object("Run").save(
          { item: request.object.id, attempt: request.attempt, at: Date.now() }, { useMasterKey: true });
        Parse.Cloud.afterSave("Later", async (request) => {
          await note(request);
          if (request.attempt === 1) throw Object.assign(new Error("busy"), { retryAfter: 1 });
        }, { effects: "off", backoff: { initial: 1, factor: 1, max: 1 } });
        Parse.Cloud.afterSave("Never", async (request) => {
          console.log("looking for the customer");
          request.giveUp("there is no such customer");
        });
        Parse.Cloud.afterSave("Twice", async (request) => { await note(request); throw new Error("no"); },
          { attempts: 2, backoff: { initial: 1, factor: 1, max: 1 } });
        Parse.Cloud.afterSave("Short", () => new Promise(() => {}), { attempts: 1, timeout: 50 });
        "#,
    )
    .await;
    system.set("wait", false);
    system.serve("proxy,capture,dispatch,worker");
    let later = save(&system, "Later", json!({})).await;
    for class in ["Never", "Twice", "Short"] {
        save(&system, class, json!({})).await;
    }
    system.wait_until_settled().await;
    let runs = system.find("Run", json!({"item": later})).await;
    let at = |run: usize| runs[run]["at"].as_i64().unwrap();
    assert_eq!(runs.len(), 2);
    assert!(at(1) - at(0) >= 1000, "{} ms", at(1) - at(0));

    let (status, attempts, _, error, logs) = outcome(&system, "afterSave:Never").await;
    assert_eq!((&*status, attempts), ("dead", 1));
    assert!(error.starts_with("there is no such customer\n") && error.contains("main.js"));
    assert!(logs.contains("looking for the customer"), "{logs}");
    let (status, attempts, ..) = outcome(&system, "afterSave:Twice").await;
    assert_eq!((&*status, attempts), ("dead", 2));
    let (status, _, _, error, _) = outcome(&system, "afterSave:Short").await;
    assert_eq!((&*status, &*error), ("dead", "it took longer than 0.05 s"));
}

/// D11. All is queued before the first worker starts, and so marked from its first run on.
#[tokio::test]
async fn an_event_that_kills_its_worker_is_quarantined_and_its_neighbours_are_done() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.afterSave("Item", (request) =>
          new Parse.Object("Run").save({ item: request.object.id }, { useMasterKey: true }));
        "#,
    )
    .await;
    system
        .set("wait", false)
        .set("custom_object_ids", true)
        .set("lane_lease_ms", 1000);
    system.serve("proxy,capture,dispatch");
    let mut ids = vec!["poisonous0".to_owned()];
    ids.extend((1..20).map(|number| format!("innocent{number:02}")));
    for id in &ids {
        save(&system, "Item", json!({"objectId": id})).await;
    }
    for end in 1..=3 {
        let mut worker = system.spawn_armed("worker", failpoint::WORKER_POISON, "poisonous0");
        let begun = Instant::now();
        while worker.is_running() {
            assert!(
                begun.elapsed() < PATIENCE,
                "it lives: {end}\n{}",
                worker.log()
            );
            breathe().await;
        }
    }
    let mut worker = system.spawn_armed("worker", failpoint::WORKER_POISON, "poisonous0");
    system.wait_until_settled().await;
    assert!(worker.is_running());

    let client = system.sql().await;
    let counts =
        "select count(*) filter (where status = 'done'), count(*) filter (where status = 'dead')
                    from tidegate.outcome";
    let counts = client.query_one(counts, &[]).await.unwrap();
    assert_eq!((counts.get::<_, i64>(0), counts.get::<_, i64>(1)), (19, 1));
    let dead = "select crashes, error from tidegate.outcome where status = 'dead'";
    let dead = client.query_one(dead, &[]).await.unwrap();
    let expected = "quarantined: its worker ended 3 times while it ran";
    assert_eq!(
        (dead.get::<_, i32>(0), dead.get::<_, &str>(1)),
        (3, expected)
    );
    let marked = "select count(*) from tidegate.outcome where status = 'done' and crashes > 0";
    let marked = client.query_one(marked, &[]).await.unwrap();
    assert_eq!(marked.get::<_, i64>(0), 0, "what is done has no mark");
    let runs = system.find("Run", json!({})).await;
    for id in &ids[1..] {
        assert!(
            runs.iter().any(|run| run["item"] == json!(id)),
            "{id} did not run"
        );
    }
    assert!(!runs.iter().any(|run| run["item"] == json!(ids[0])));
}

/// D31.
#[tokio::test]
async fn limits_hold_over_all_workers() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.afterSave("Slow", ({ object }) => fetch(object.get("url")), { concurrency: 2 });
        Parse.Cloud.afterSave("Rare", (request) =>
          new Parse.Object("Run").save({ at: Date.now() }, { useMasterKey: true }), { rate: "10/s" });
        "#,
    )
    .await;
    system.set("wait", false);
    system.serve("proxy,capture,dispatch");
    system.serve("worker");
    system.serve("worker");
    let listener = Arc::new(Listener::start().await);
    let url = listener.url("/");
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counting = (Arc::clone(&open), Arc::clone(&most));
    let answering = tokio::spawn(async move {
        loop {
            let request = listener.next().await;
            let (open, most) = counting.clone();
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::spawn(async move {
                breathe().await;
                open.fetch_sub(1, Ordering::SeqCst);
                request.answer(200, "").await;
            });
        }
    });
    for _ in 0..30 {
        save(&system, "Slow", json!({"url": url})).await;
    }
    for _ in 0..25 {
        save(&system, "Rare", json!({})).await;
    }
    system.wait_until_settled().await;
    answering.abort();
    assert_eq!(most.load(Ordering::SeqCst), 2);

    let runs = system.find("Run", json!({})).await;
    let mut times: Vec<i64> = runs.iter().map(|run| run["at"].as_i64().unwrap()).collect();
    times.sort_unstable();
    assert_eq!(times.len(), 25);
    // A handler begins a little after its delivery was taken: some milliseconds, however slow the machine is.
    let closest = times
        .windows(11)
        .map(|some| some[10] - some[0])
        .min()
        .unwrap();
    assert!(closest > 500, "11 within {closest} ms");
}

/// D10: a worker that stands still for longer than its lease, in the middle of a handler.
#[tokio::test]
async fn a_worker_that_was_stopped_comes_too_late() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.afterSave("Item", async (request) => {
          await fetch(request.object.get("url"));
          await new Parse.Object("Done").save({ item: request.object.id, eventId: request.eventId }, { useMasterKey: true });
        }, { timeout: 120000 });
        "#,
    )
    .await;
    system.set("wait", false).set("lane_lease_ms", 1000);
    system.serve("proxy,capture,dispatch");
    let first = system.serve("worker");
    let listener = Listener::start().await;
    save(&system, "Item", json!({"url": listener.url("/")})).await;
    let held = listener.next().await;
    let pid = system.server(first).pid().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(signal("-STOP").success());
    system.serve("worker");
    listener.next().await.answer(200, "").await;
    system.wait_until_settled().await;
    assert!(signal("-CONT").success());
    held.answer(200, "").await;
    system.server(first).wait_for("the outcome came too late");

    let (status, attempts, ..) = outcome(&system, "afterSave:Item").await;
    assert_eq!((&*status, attempts), ("done", 1));
    assert_eq!(system.find("Done", json!({})).await.len(), 1, "one effect");
}

/// D34, in part: workers of two releases at once.
#[tokio::test]
async fn a_delivery_waits_for_a_worker_that_has_its_trigger() {
    let with = r#"Parse.Cloud.afterSave("Item", (request) =>
        new Parse.Object("Run").save({ attempt: request.attempt }, { useMasterKey: true }));"#;
    let mut system = System::prepare(with).await;
    let main = system.project.path().join("cloud/main.js");
    system.set("wait", false).set("lane_lease_ms", 1000);
    system.serve("proxy,capture,dispatch");
    std::fs::write(&main, "").unwrap();
    let old = system.serve("worker");
    save(&system, "Item", json!({})).await;
    system.server(old).wait_for("has no such trigger");
    std::fs::write(&main, with).unwrap();
    system.serve("worker");
    system.server(old).kill();
    system.wait_until_settled().await;
    let (status, attempts, ..) = outcome(&system, "afterSave:Item").await;
    assert_eq!((&*status, attempts), ("done", 1));
    assert_eq!(system.find("Run", json!({})).await.len(), 1);
}

#[tokio::test]
async fn what_the_queue_cannot_give_whole_is_read_from_the_log_or_a_dead_letter() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.afterSave("Item", (request) =>
          new Parse.Object("Run").save({ size: request.object.get("text").length }, { useMasterKey: true }));
        "#,
    )
    .await;
    system.set("wait", false);
    system.serve("proxy,capture,dispatch");
    let text = "x".repeat(200_000);
    for _ in 0..2 {
        save(&system, "Item", json!({"text": text})).await;
    }
    save(&system, "Item", json!({"text": ""})).await;
    let client = system.sql().await;
    system
        .wait_for_sql("select log_offset >= 3 from tidegate.dispatch")
        .await;
    client
        .execute("delete from tidegate.event where log_offset = 2", &[])
        .await
        .unwrap();
    spoil_entry(system.redis.port(), 3).await;
    system.serve("worker");
    system.wait_until_settled().await;
    let sql = "select status, coalesce(error, '') from tidegate.outcome order by log_offset";
    let outcomes = client.query(sql, &[]).await.unwrap();
    let outcomes: Vec<(&str, &str)> = outcomes
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let [whole, dropped, spoilt] = outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(whole, ("done", ""));
    assert!(
        dropped.0 == "dead" && dropped.1.contains("no longer in the log"),
        "{dropped:?}"
    );
    assert!(
        spoilt.0 == "dead" && spoilt.1.contains("cannot be decoded"),
        "{spoilt:?}"
    );
    let runs = system.find("Run", json!({})).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["size"], json!(200_000));
}

/// Puts nonsense in the place of the entry of this event, whichever lane it is in.
async fn spoil_entry(port: u16, log_offset: u64) {
    let script = format!(
        "for _, key in ipairs(redis.call('KEYS', '*:lane:*')) do
           local found = redis.call('XRANGE', key, '{log_offset}', '{log_offset}')
           if #found > 0 then
             local kept = redis.call('XRANGE', key, '-', '+')
             redis.call('DEL', key)
             for _, entry in ipairs(kept) do
               local payload = entry[2][4]
               if entry[1] == found[1][1] then payload = 'nonsense' end
               redis.call('XADD', key, entry[1], 'k', entry[2][2], 'p', payload)
             end
             return 'spoilt'
           end
         end
         return 'nothing'"
    );
    let arguments = ["EVAL", &script, "0"];
    let mut command = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        command.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    let mut redis = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    redis.write_all(command.as_bytes()).await.unwrap();
    let mut answer = [0; 64];
    let length = redis.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.contains("spoilt"), "{answer}");
}
