//! A slot that is lost, dropped, moved or held by a process that hangs: nothing is skipped silently, requests are
//! answered, the gap is named, and `tidegate slot resync` brings what was missed to its after-triggers.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_testkit::Postgres;

use crate::system::{PATIENCE, System, breathe};

/// Writes down what each after-trigger was given.
const RECORDER: &str = r#"
const note = async (request) => {
  const entry = new Parse.Object("Note");
  await entry.save({
    trigger: request.triggerName,
    name: request.object.get("name"),
    // Always a string: a column that came with a later note may be unknown to the process that is asked.
    was: request.original ? request.original.get("name") : "",
    source: request.source,
  }, { useMasterKey: true });
};
Parse.Cloud.afterSave("Item", note);
Parse.Cloud.afterDelete("Item", note);
"#;

async fn save(system: &System, name: &str) -> String {
    let reply = system
        .call(Method::POST, "classes/Item", json!({"name": name}))
        .await;
    assert_eq!(reply.status, 201, "writes are accepted: {}", reply.body);
    reply.body["objectId"].as_str().unwrap().to_owned()
}

/// A running system that has captured three objects; returns their ids.
async fn with_items(postgres: &Postgres) -> (System, usize, Vec<String>) {
    let mut system = System::prepare_on(postgres, RECORDER).await;
    // Nobody waits for after-triggers that cannot come.
    system.set("wait_timeout_ms", 50);
    let first = system.serve("proxy,capture,dispatch,worker");
    let mut ids = Vec::new();
    for name in ["kept", "to be changed", "to be deleted"] {
        ids.push(save(&system, name).await);
    }
    system.wait_for_objects("Note", json!({}), 3).await;
    (system, first, ids)
}

async fn ready(system: &System) -> (u16, String) {
    let reply = reqwest::get(format!("{}/readyz", system.url()))
        .await
        .unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn wait_until_ready_says(system: &System, status: u16, part: &str) -> String {
    let begun = std::time::Instant::now();
    loop {
        let (found, text) = ready(system).await;
        if found == status && text.contains(part) {
            return text;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "not {status} with {part:?}: {found} {text}"
        );
        breathe().await;
    }
}

/// Changes in the gap through the API, the gap named by every process, resync by the command, and live changes after it.
async fn is_named_and_filled(system: &System, ids: &[String], reason: &str) {
    let text = wait_until_ready_says(system, 503, reason).await;
    for part in [
        "tidegate slot resync",
        system.database.name(),
        "Changes after ",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    save(system, "inserted in the gap").await;
    let changed = format!("classes/Item/{}", ids[1]);
    let reply = system
        .call(Method::PUT, &changed, json!({"name": "changed in the gap"}))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let deleted = format!("classes/Item/{}", ids[2]);
    let reply = system.call(Method::DELETE, &deleted, Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(
        system.find("Note", json!({})).await.len(),
        3,
        "nothing is captured in a gap"
    );

    resync(system).await;
    let notes = system
        .wait_for_objects("Note", json!({"source": "recovered"}), 3)
        .await;
    let mut seen: Vec<Value> = notes
        .iter()
        .map(|note| json!([note["trigger"], note["name"], note["was"]]))
        .collect();
    seen.sort_by_key(Value::to_string);
    let expected = [
        json!(["afterDelete", "to be deleted", ""]),
        json!(["afterSave", "changed in the gap", "to be changed"]),
        json!(["afterSave", "inserted in the gap", ""]),
    ];
    assert_eq!(seen, expected);
    wait_until_ready_says(system, 200, "").await;
    save(system, "live again").await;
    let live = json!({"name": "live again", "source": "api"});
    system.wait_for_objects("Note", live, 1).await;
    system.wait_until_settled().await;
    let notes = system.find("Note", json!({})).await;
    assert_eq!(notes.len(), 7, "each once: {notes:?}");
}

/// `tidegate slot resync`, as an operator runs it beside the server.
async fn resync(system: &System) {
    let mut command = crate::server::tidegate();
    command
        .args(["slot", "resync"])
        .current_dir(system.project.path())
        .env("DATABASE_URL", system.database.url())
        .env("REDIS_URL", system.redis.url())
        .env("TIDEGATE_SLOT", system.database.name());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_dropped_while_capture_is_down() {
    let (mut system, first, ids) = with_items(Postgres::shared()).await;
    system.server(first).terminate();
    system
        .sql()
        .await
        .execute("select pg_drop_replication_slot(current_database())", &[])
        .await
        .unwrap();
    let mut proxy = system.spawn("proxy,dispatch,worker");
    proxy.wait_for("listening");
    proxy.is_proxy = true;
    system.adopt(proxy);
    let mut capture = system.spawn("capture");
    let line = capture.wait_for("cannot be followed");
    assert_eq!(line["level"], "ERROR");
    system.adopt(capture);
    is_named_and_filled(&system, &ids, "it does not exist").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_somebody_makes_anew_under_a_running_capture() {
    let (system, _, ids) = with_items(Postgres::shared()).await;
    let sql = system.database.connect_as_superuser().await;
    let renewed = "select pg_terminate_backend(active_pid) from pg_replication_slots
                    where slot_name = current_database();
                   select pg_drop_replication_slot(current_database());
                   select pg_create_logical_replication_slot(current_database(), 'pgoutput')";
    let begun = std::time::Instant::now();
    // Until the walsender has let go of it.
    while let Err(error) = sql.batch_execute(renewed).await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
    is_named_and_filled(&system, &ids, "moved it or made it anew").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_lost_its_wal_while_capture_was_stopped() {
    let postgres = Postgres::start_with(&["max_slot_wal_keep_size=4MB", "max_wal_size=8MB"]);
    let (mut system, first, ids) = with_items(&postgres).await;
    system.serve("proxy,dispatch,worker");
    let stopped = Pid::from_raw(system.server(first).pid());
    // As a process that hangs: the connection stays open, and nothing is read from it.
    kill(stopped, Signal::SIGSTOP).unwrap();
    let admin = system.database.connect_as_superuser().await;
    admin
        .batch_execute("create table filler (n integer)")
        .await
        .unwrap();
    let begun = std::time::Instant::now();
    loop {
        admin
            .batch_execute("insert into filler values (1); select pg_switch_wal(); checkpoint")
            .await
            .unwrap();
        let status: String = admin
            .query_one(
                "select wal_status from pg_replication_slots where slot_name = current_database()",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        if status == "lost" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the slot is {status}");
    }
    kill(stopped, Signal::SIGCONT).unwrap();
    is_named_and_filled(&system, &ids, "wal_status is lost").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_follows_when_the_first_hangs_and_the_first_adds_nothing_later() {
    let mut system = System::prepare(RECORDER).await;
    system.set("wait_timeout_ms", 50);
    let first = system.serve("capture");
    system.serve("proxy,dispatch,worker");
    save(&system, "before").await;
    system.wait_for_objects("Note", json!({}), 1).await;
    let second = system.serve("capture");
    system.server(second).wait_for("standing by");
    let hung = Pid::from_raw(system.server(first).pid());
    kill(hung, Signal::SIGSTOP).unwrap();
    for n in 0..5 {
        save(&system, &format!("while it hangs {n}")).await;
    }
    // Postgres hears nothing from the first for ten seconds and gives the slot away.
    system.server(second).wait_for("following the slot");
    system.wait_for_objects("Note", json!({}), 6).await;
    kill(hung, Signal::SIGCONT).unwrap();
    system.server(first).wait_for("standing by");
    for n in 0..5 {
        save(&system, &format!("after it {n}")).await;
    }
    system.wait_until_settled().await;
    system.wait_for_objects("Note", json!({}), 11).await;
    let log = system
        .sql()
        .await
        .query_one(
            "select count(*), count(distinct (epoch, commit_lsn, ordinal)), max(log_offset),
                    (select count(*) from tidegate.gap) from tidegate.event",
            &[],
        )
        .await
        .unwrap();
    let counts = [0, 1, 2, 3].map(|at| log.get::<_, i64>(at));
    assert_eq!(counts, [11, 11, 11, 0], "each once, and no gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wal_over_the_budget_raises_an_alarm() {
    let postgres = Postgres::start();
    let mut system = System::prepare_on(&postgres, RECORDER).await;
    system.set("slot_lag_budget_mb", 8);
    let proxy = system.serve("proxy,dispatch,worker,capture");
    // A transaction that stays open keeps all later WAL for the slot.
    let open = system.sql().await;
    open.batch_execute("begin; select pg_current_xact_id()")
        .await
        .unwrap();
    let sql = system.sql().await;
    sql.batch_execute("create table filler (text text)")
        .await
        .unwrap();
    for _ in 0..3 {
        sql.batch_execute(
            "insert into filler select repeat('x', 500) from generate_series(1, 10000)",
        )
        .await
        .unwrap();
    }
    wait_until_ready_says(&system, 503, "over the budget of 8388608").await;
    let alarm = system
        .server(proxy)
        .wait_for("retains more WAL than its budget");
    assert_eq!(alarm["level"], "ERROR");
    let metrics = reqwest::get(format!("{}/metrics", system.url()))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("tidegate_slot_retained_bytes"),
        "{metrics}"
    );
    open.batch_execute("commit").await.unwrap();
    let admin = system.database.connect_as_superuser().await;
    let begun = std::time::Instant::now();
    while ready(&system).await.0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "the slot moves on");
        admin.batch_execute("checkpoint").await.unwrap();
        breathe().await;
    }
}
