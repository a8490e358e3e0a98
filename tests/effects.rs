//! The effect ledger: whatever happens between a handler's writes and its outcome, each is made once, and a repeated
//! attempt cannot tell.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_event::failpoint;

use crate::code::listener::Listener;
use crate::system::{System, breathe};

/// Every way in which a handler can write. What it was answered goes into `Result`, the last write.
const WRITES: &str = r#"
const master = { useMasterKey: true };
const make = (name, fields) => new (Parse.Object.extend(name))(fields);

Parse.Cloud.beforeSave("Audited", async (request) => {
  await make("Audit", { of: request.object.get("n") }).save(null, master);
  request.object.set("seen", true);
});
Parse.Cloud.define("bill", async (request) => {
  await make("Bill", { n: request.params.n }).save(null, master);
  return "billed";
});

Parse.Cloud.afterSave("Order", async (request) => {
  // Attempts read differently.
  for (let n = 1; n < request.attempt; n++) await new Parse.Query("Counter").find(master);
  const counter = make("Counter", { id: request.object.get("counter") });
  counter.increment("n");
  await counter.save(null, master);
  const log = await make("Log", { text: "placed" }).save(null, master);
  if (request.object.get("fails") === "early" && request.attempt === 1) throw new Error("half way");
  const many = await Parse.Object.saveAll([...Array(25).keys()].map((n) => make("Line", { n })), master);
  const both = await Parse.Object.saveAll([make("Pair", { n: 1 }), make("Pair", { n: 2 })], { ...master, transaction: true });
  const audited = await make("Audited", { n: 7 }).save(null, master);
  const billed = await Parse.Cloud.run("bill", { n: 3 }, master);
  const gone = await make("Gone", {}).save(null, master);
  await gone.destroy(master);
  await make("Result", {
    log: log.id, at: log.createdAt.toISOString(), n: counter.get("n"), updated: counter.updatedAt.toISOString(),
    lines: many.map((line) => line.id), pairs: both.map((pair) => pair.id), seen: audited.get("seen"), billed,
    attempt: request.attempt,
  }).save(null, master);
  if (request.object.get("fails") === "late" && request.attempt < 3) throw new Error("all for nothing");
});
"#;

/// How many objects of each class one delivery makes.
const MADE: [(&str, usize); 7] = [
    ("Log", 1),
    ("Line", 25),
    ("Pair", 2),
    ("Audited", 1),
    ("Audit", 1),
    ("Bill", 1),
    ("Gone", 0),
];

async fn counter(system: &System) -> String {
    let created = system.master(Method::POST, "classes/Counter", json!({"n": 0}));
    created.await.body["objectId"].as_str().unwrap().to_owned()
}

async fn order(system: &System, body: Value) {
    let none = [("X-Tidegate-Wait", "none")];
    let reply = system
        .request(Method::POST, "classes/Order", body, &none)
        .await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    // Else there is nothing that could be unsettled.
    system
        .wait_for_sql("select exists (select from tidegate.event where body like '%\"Order\"%')")
        .await;
}

/// Each write was made once, and what the last attempt was answered is what is in the database.
async fn check_all_once(system: &System, counter: &str, attempt: u32) {
    system.wait_until_settled().await;
    let counted = &system.find("Counter", json!({"objectId": counter})).await[0];
    assert_eq!(counted["n"], 1);
    for (class, count) in MADE {
        assert_eq!(system.find(class, json!({})).await.len(), count, "{class}");
    }
    let results = system.find("Result", json!({})).await;
    assert_eq!(results.len(), 1);
    let log = &system.find("Log", json!({})).await[0];
    let ids = |objects: Vec<Value>| -> Vec<Value> {
        objects
            .iter()
            .map(|line| line["objectId"].clone())
            .collect()
    };
    let mut lines = system.find("Line", json!({})).await;
    lines.sort_by_key(|line| line["n"].as_i64());
    let mut pairs = system.find("Pair", json!({})).await;
    pairs.sort_by_key(|pair| pair["n"].as_i64());
    let mut result = results[0].clone();
    let result = result.as_object_mut().unwrap();
    result.retain(|name, _| !["objectId", "createdAt", "updatedAt"].contains(&name.as_str()));
    let expected = json!({
        "log": log["objectId"], "at": log["createdAt"], "n": 1, "updated": counted["updatedAt"],
        "lines": ids(lines), "pairs": ids(pairs), "seen": true, "billed": "billed", "attempt": attempt,
    });
    assert_eq!(Value::Object(result.clone()), expected);
}

#[tokio::test]
async fn a_throw_after_the_second_write_repeats_neither() {
    let mut system = System::prepare(WRITES).await;
    system
        .set("trigger_backoff_ms", 10)
        .serve("proxy,capture,dispatch,worker");
    let counter = counter(&system).await;
    order(&system, json!({"counter": counter, "fails": "early"})).await;
    check_all_once(&system, &counter, 2).await;
}

#[tokio::test]
async fn a_throw_after_the_last_write_repeats_none() {
    let mut system = System::prepare(WRITES).await;
    system
        .set("trigger_backoff_ms", 10)
        .serve("proxy,capture,dispatch,worker");
    let counter = counter(&system).await;
    order(&system, json!({"counter": counter, "fails": "late"})).await;
    check_all_once(&system, &counter, 1).await;
    let sql = system.sql().await;
    // The SDK sends 25 objects as batches of 20 and 5: writes 3 and 4.
    let rows = sql
        .query(
            "select position || ' ' || kind || ' ' || class from tidegate.effect
              where log_offset = 1 and position !~ '^[34][.]'",
            &[],
        )
        .await
        .unwrap();
    let mut effects: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let mut expected = [
        "1 update Counter",
        "2 create Log",
        "5.1 create Pair",
        "5.2 create Pair",
        "6 create Audited",
        "6/1 create Audit",
        "7/1 create Bill",
        "8 create Gone",
        "9 delete Gone",
        "10 create Result",
    ];
    effects.sort_unstable();
    expected.sort_unstable();
    assert_eq!(effects, expected);
    let outcome = sql
        .query_one("select attempts, status from tidegate.outcome", &[])
        .await
        .unwrap();
    assert_eq!((outcome.get::<_, i32>(0), outcome.get(1)), (3, "done"));
}

#[tokio::test]
async fn a_worker_killed_before_the_outcome_is_recorded_repeats_no_write() {
    let mut system = System::prepare(WRITES).await;
    system
        .set("lane_lease_ms", 1500)
        .serve("proxy,capture,dispatch");
    let counter = counter(&system).await;
    let mut doomed = system.spawn_armed("worker", failpoint::WORKER_RAN, 1);
    order(&system, json!({"counter": counter})).await;
    assert_eq!(doomed.wait(), None, "it was ended by a signal");
    assert_eq!(system.find("Result", json!({})).await.len(), 1);
    system.serve("worker");
    check_all_once(&system, &counter, 1).await;
}

#[tokio::test]
async fn workers_killed_between_two_writes_repeat_none() {
    let mut system = System::prepare(WRITES).await;
    system
        .set("lane_lease_ms", 1500)
        .serve("proxy,capture,dispatch");
    let counter = counter(&system).await;
    order(&system, json!({"counter": counter})).await;
    // The first commits the counter; the second all up to what the beforeSave of Audited writes.
    for nth in [1, 28] {
        let mut doomed = system.spawn_armed("worker", failpoint::WORKER_WROTE, nth);
        assert_eq!(doomed.wait(), None, "it was ended by a signal");
    }
    assert_eq!(system.find("Audit", json!({})).await.len(), 1);
    assert!(system.find("Audited", json!({})).await.is_empty());
    system.serve("worker");
    check_all_once(&system, &counter, 1).await;
}

const WAITS_IN_THE_MIDDLE: &str = r#"
Parse.Cloud.afterSave("Order", async (request) => {
  for (let n = 1; n < request.attempt; n++) await new Parse.Query("Counter").find({ useMasterKey: true });
  const counter = Parse.Object.extend("Counter").createWithoutData(request.object.get("counter"));
  counter.increment("n");
  await counter.save(null, { useMasterKey: true });
  await fetch(request.object.get("url"), { method: "POST" });
  counter.increment("m");
  await counter.save(null, { useMasterKey: true });
});
"#;

#[tokio::test]
async fn isolates_killed_under_a_handler_repeat_no_write_and_no_key() {
    let mut system = System::prepare(WAITS_IN_THE_MIDDLE).await;
    system
        .set("trigger_backoff_ms", 10)
        .serve("proxy,capture,dispatch");
    let worker = system.serve("worker");
    let worker = system.server(worker).pid();
    let listener = Listener::start().await;
    let counter = counter(&system).await;
    order(
        &system,
        json!({"counter": counter, "url": listener.url("/")}),
    )
    .await;
    let first = listener.next().await;
    // Begun again in another isolate while it may, then given up: that ends the attempt.
    let sql = system.sql().await;
    let attempts = "select coalesce(max(attempts), 0) from tidegate.outcome";
    while sql.query_one(attempts, &[]).await.unwrap().get::<_, i32>(0) < 1 {
        kill_descendants(worker);
        breathe().await;
    }
    let second = listener.next().await;
    let key = |held: &crate::code::listener::Held| -> String {
        let key = held
            .headers
            .iter()
            .find(|header| header.starts_with("idempotency-key"));
        key.expect("a key").clone()
    };
    assert_eq!(key(&first), key(&second));
    second.answer(200, "").await;
    system.wait_until_settled().await;
    let counted = &system.find("Counter", json!({})).await[0];
    assert_eq!((&counted["n"], &counted["m"]), (&json!(1), &json!(1)));
}

/// kill -9 to every process below `ancestor`.
fn kill_descendants(ancestor: i32) {
    let parent_of = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse().ok()
    };
    let pids: Vec<i32> = std::fs::read_dir(Path::new("/proc"))
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for pid in pids {
        let mut above = parent_of(pid);
        while let Some(parent) = above.filter(|parent| *parent > 1) {
            if parent == ancestor {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                break;
            }
            above = parent_of(parent);
        }
    }
}

#[tokio::test]
async fn an_attempt_that_loses_against_another_gets_the_other_s_answer() {
    let system = System::start(
        r#"
        Parse.Cloud.afterSave("Order", async (request) => {
          await fetch(request.object.get("url"), { method: "POST" });
          const log = await new Parse.Object("Log").save({ n: 1 }, { useMasterKey: true });
          await new Parse.Object("Result").save({ log: log.id }, { useMasterKey: true });
        });
        "#,
    )
    .await;
    let listener = Listener::start().await;
    order(&system, json!({"url": listener.url("/")})).await;
    let held = listener.next().await;
    // What an attempt in a worker that lost its lane would write at this moment.
    system
        .sql()
        .await
        .batch_execute(
            r#"insert into tidegate.effect (cause, position, kind, class, object_id, answer)
               select (body::json ->> 'id') || ':afterSave:Order', '1', 'create', 'Log', 'theirs',
                      '{"objectId": "theirs", "createdAt": "2026-01-01T00:00:00.000Z"}'
                 from tidegate.event"#,
        )
        .await
        .unwrap();
    held.answer(200, "").await;
    system.wait_until_settled().await;
    assert!(system.find("Log", json!({})).await.is_empty());
    let results = system.find("Result", json!({})).await;
    assert_eq!((results.len(), &results[0]["log"]), (1, &json!("theirs")));
}

#[tokio::test]
async fn another_write_in_the_place_of_the_first_is_reported_and_not_made() {
    let mut system = System::prepare(
        r#"
        const handler = async (request) => {
          await new Parse.Object(request.attempt === 1 ? "Log" : "Mail").save({}, { useMasterKey: true });
          throw new Error("never");
        };
        Parse.Cloud.afterSave("Order", handler);
        Parse.Cloud.afterSave("Free", handler, { effects: "off" });
        "#,
    )
    .await;
    system
        .set("trigger_backoff_ms", 10)
        .set("trigger_attempts", 3)
        .serve("proxy,capture,dispatch,worker");
    order(&system, json!({})).await;
    system.wait_until_settled().await;
    let count = async |class| system.find(class, json!({})).await.len();
    assert_eq!((count("Log").await, count("Mail").await), (1, 0));
    let sql = system.sql().await;
    let dead = sql
        .query_one(
            "select error from tidegate.outcome where status = 'dead'",
            &[],
        )
        .await
        .unwrap();
    let error: &str = dead.get(0);
    assert!(
        error.starts_with("write 1 of this attempt is create of Mail, that of an earlier attempt was create of Log"),
        "{error}"
    );
    // Whose author turns the ledger off is taken at their word.
    system.call(Method::POST, "classes/Free", json!({})).await;
    system
        .wait_for_sql("select count(*) = 2 from tidegate.outcome where status = 'dead'")
        .await;
    assert_eq!((count("Log").await, count("Mail").await), (2, 2));
}

#[tokio::test]
async fn a_handler_that_looks_first_finds_what_it_made() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.afterSave("Order", async (request) => {
          const found = await new Parse.Query("Total").first({ useMasterKey: true });
          const total = found ?? new Parse.Object("Total");
          total.increment("orders");
          await total.save(null, { useMasterKey: true });
          if (request.attempt === 1) throw new Error("half way");
        });
        "#,
    )
    .await;
    system
        .set("trigger_backoff_ms", 10)
        .serve("proxy,capture,dispatch,worker");
    for orders in [1, 2] {
        order(&system, json!({})).await;
        let done =
            format!("select count(*) = {orders} from tidegate.outcome where status = 'done'");
        system.wait_for_sql(&done).await;
        let totals = system.find("Total", json!({})).await;
        assert_eq!((totals.len(), &totals[0]["orders"]), (1, &json!(orders)));
    }
}
