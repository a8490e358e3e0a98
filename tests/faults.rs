//! Crash safety of the event path: whatever is killed when, every committed change fires at least once, each object's
//! in order, the log holds no event twice, and no handler's write is made twice.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use tidegate_event::failpoint;
use tidegate_testkit::Postgres;
use tokio_postgres::{Client, NoTls};

use crate::system::{PATIENCE, System, breathe};

/// Writes down each run. A save of another class: its own after-triggers play no part.
const RECORDER: &str = r#"
Parse.Cloud.afterSave("Item", async (request) => {
  const run = new Parse.Object("Run");
  await run.save({ item: request.object.id, version: request.object.get("version"), eventId: request.eventId },
    { useMasterKey: true });
});
"#;

const OBJECTS: usize = 5;

/// What a writer knows to be committed.
#[derive(Default)]
struct Ledger {
    versions: BTreeMap<String, Vec<i32>>,
}

impl Ledger {
    /// Writes the next version of every object, each in a transaction of its own; all are committed when it returns.
    async fn write_round(&mut self, system: &System, client: &mut Client) {
        for number in 0..OBJECTS {
            let id = format!("object{number:04}");
            let version = self
                .versions
                .get(&id)
                .map_or(0, |versions| versions.len() as i32);
            let begun = std::time::Instant::now();
            // A server that is killed may have committed what it did not acknowledge: the version says which it was.
            while let Err(error) = write(client, &id, version).await {
                assert!(begun.elapsed() < PATIENCE, "cannot write: {error}");
                breathe().await;
                *client = connect(system).await;
            }
            self.versions.entry(id).or_default().push(version);
        }
    }

    async fn write_rounds(&mut self, system: &System, rounds: usize) {
        let mut client = connect(system).await;
        for _ in 0..rounds {
            self.write_round(system, &mut client).await;
        }
    }

    /// Waits until all is done, then compares what was committed with the log, the outcomes and what the handler wrote down.
    async fn check(&self, system: &System) {
        let written: usize = self.versions.values().map(Vec::len).sum();
        system
            .wait_for_sql(&format!("select count(*) >= {written} from tidegate.event"))
            .await;
        system.wait_until_settled().await;
        let client = connect(system).await;
        let log = client
            .query_one("select count(*), count(distinct (epoch, commit_lsn, ordinal)), max(log_offset) from tidegate.event", &[])
            .await
            .unwrap();
        let (events, distinct, last): (i64, i64, i64) = (log.get(0), log.get(1), log.get(2));
        assert_eq!(
            (events, distinct, last),
            (written as i64, written as i64, written as i64),
            "each once, offsets dense"
        );
        let done = client
            .query_one(
                "select count(*) from tidegate.outcome where status = 'done'",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(
            done.get::<_, i64>(0),
            written as i64,
            "each has its outcome"
        );

        let runs = system.find("Run", json!({})).await;
        for (id, versions) in &self.versions {
            let ran: Vec<i32> = runs
                .iter()
                .filter(|run| run["item"] == json!(id))
                .map(|run| run["version"].as_i64().unwrap() as i32)
                .collect();
            let missed: Vec<&i32> = versions
                .iter()
                .filter(|version| !ran.contains(version))
                .collect();
            assert!(
                missed.is_empty(),
                "{id}: versions {missed:?} never fired; ran {ran:?}"
            );
            assert!(ran.is_sorted(), "{id} ran out of order: {ran:?}");
        }
        assert_eq!(
            repeated_events(&runs),
            0,
            "a repeated attempt does not write again"
        );
    }
}

/// Every run names its event; runs beyond the first for one event are repeats.
fn repeated_events(runs: &[Value]) -> usize {
    let events: HashSet<&str> = runs
        .iter()
        .map(|run| run["eventId"].as_str().expect("a run names its event"))
        .collect();
    let versions: HashSet<(&str, i64)> = runs
        .iter()
        .map(|run| {
            (
                run["item"].as_str().unwrap(),
                run["version"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        events.len(),
        versions.len(),
        "one change has one event id, also when it is repeated"
    );
    runs.len() - events.len()
}

async fn connect(system: &System) -> Client {
    let begun = std::time::Instant::now();
    loop {
        match tokio_postgres::connect(system.database.url(), NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return client;
            }
            Err(error) => assert!(
                begun.elapsed() < PATIENCE,
                "Postgres does not come back: {error}"
            ),
        }
        breathe().await;
    }
}

async fn write(client: &Client, id: &str, version: i32) -> Result<(), tokio_postgres::Error> {
    let version = f64::from(version);
    client
        .execute(
            r#"insert into "Item" ("objectId", "createdAt", "updatedAt", version) values ($1, now(), now(), $2)
               on conflict ("objectId") do update set version = $2 where "Item".version < $2"#,
            &[&id, &version],
        )
        .await?;
    Ok(())
}

/// A system whose class exists and whose tables are captured, with nothing written yet and nothing running.
async fn prepared_on(postgres: &Postgres) -> System {
    let mut system = System::prepare_on(postgres, RECORDER).await;
    system
        .set("lane_lease_ms", 1500)
        .set("trigger_backoff_ms", 50);
    let setup = system.serve("proxy,capture,dispatch,worker");
    system
        .sql()
        .await
        .batch_execute(
            r#"create table "Item" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                                    _rperm text[], _wperm text[], version float8);
               insert into "_SCHEMA" values ('Item', '{"className": "Item", "fields": {
                   "objectId": {"type": "String"}, "createdAt": {"type": "Date"}, "updatedAt": {"type": "Date"},
                   "version": {"type": "Number"}}}', true);
               notify "schema.change", '{"senderId": "test"}'"#,
        )
        .await
        .unwrap();
    system
        .wait_for_sql("select count(*) = 1 from pg_publication_tables where tablename = 'Item'")
        .await;
    system.server(setup).terminate();
    system
}

/// Kills a process at a named place while changes are on their way, puts another in its stead, and looks at the result.
async fn survives_a_kill_at(place: &str) {
    let mut system = prepared_on(Postgres::shared()).await;
    let stage = place.split('-').next().unwrap();
    for role in ["capture", "dispatch", "worker"]
        .into_iter()
        .filter(|role| *role != stage)
    {
        system.serve(role);
    }
    system.serve("proxy");
    let mut ledger = Ledger::default();
    for nth in [1, 2] {
        // A generation begins only when the last one is lost, and then once.
        let nth = if place == failpoint::DISPATCH_GENERATION_RECORDED {
            system.redis.flushall();
            1
        } else {
            nth
        };
        let mut doomed = system.spawn_armed(stage, place, nth);
        let begun = std::time::Instant::now();
        while doomed.is_running() {
            assert!(begun.elapsed() < PATIENCE, "{place} was never passed");
            ledger.write_rounds(&system, 1).await;
            breathe().await;
        }
        assert_eq!(doomed.wait(), None, "it was ended by a signal at {place}");
    }
    ledger.write_rounds(&system, 2).await;
    system.serve(stage);
    ledger.write_rounds(&system, 2).await;
    ledger.check(&system).await;
}

macro_rules! kill_tests {
    ($($name:ident: $place:expr;)+) => {
        $(#[tokio::test]
        async fn $name() {
            survives_a_kill_at($place).await;
        })+

        #[test]
        fn every_place_has_its_test() {
            assert_eq!([$($place),+], failpoint::ALL);
        }
    };
}

kill_tests! {
    capture_killed_before_it_appends: failpoint::CAPTURE_READ;
    capture_killed_before_it_confirms: failpoint::CAPTURE_APPENDED;
    capture_killed_after_it_confirmed: failpoint::CAPTURE_CONFIRMED;
    dispatch_killed_before_it_queues: failpoint::DISPATCH_READ;
    dispatch_killed_before_it_commits_its_offset: failpoint::DISPATCH_QUEUED;
    dispatch_killed_after_it_committed_its_offset: failpoint::DISPATCH_RECORDED;
    dispatch_killed_between_two_generations: failpoint::DISPATCH_GENERATION_RECORDED;
    worker_killed_before_the_handler_runs: failpoint::WORKER_TAKEN;
    worker_killed_before_the_outcome_is_recorded: failpoint::WORKER_RAN;
    worker_killed_before_it_acknowledges: failpoint::WORKER_RECORDED;
}

#[tokio::test]
async fn redis_is_flushed_while_events_are_in_flight() {
    let mut system = prepared_on(Postgres::shared()).await;
    system.serve("proxy,capture,dispatch,worker");
    let mut ledger = Ledger::default();
    for _ in 0..4 {
        ledger.write_rounds(&system, 3).await;
        system.redis.flushall();
        ledger.write_rounds(&system, 3).await;
    }
    ledger.check(&system).await;
}

#[tokio::test]
async fn redis_is_killed_and_comes_back_empty() {
    let mut system = prepared_on(Postgres::shared()).await;
    system.serve("proxy,capture,dispatch,worker");
    let mut ledger = Ledger::default();
    for _ in 0..2 {
        ledger.write_rounds(&system, 3).await;
        system.redis.kill9();
        ledger.write_rounds(&system, 3).await;
        system.redis.restart();
        ledger.write_rounds(&system, 3).await;
    }
    ledger.check(&system).await;
}

#[tokio::test]
async fn postgres_is_killed_and_comes_back() {
    let postgres = Postgres::start();
    let mut system = prepared_on(&postgres).await;
    system.serve("proxy,capture,dispatch,worker");
    let mut ledger = Ledger::default();
    for _ in 0..2 {
        ledger.write_rounds(&system, 4).await;
        postgres.kill9();
        postgres.restart();
        ledger.write_rounds(&system, 4).await;
    }
    ledger.check(&system).await;
}

#[tokio::test]
async fn a_standby_takes_over_each_role_of_a_killed_process() {
    let mut system = prepared_on(Postgres::shared()).await;
    system.serve("proxy");
    let first = system.serve("capture,dispatch,worker");
    let mut ledger = Ledger::default();
    ledger.write_rounds(&system, 2).await;
    system.serve("capture,dispatch,worker");
    system.server(first).kill();
    ledger.write_rounds(&system, 3).await;
    ledger.check(&system).await;
}

#[tokio::test]
async fn a_failing_handler_parks_its_object_and_nothing_else() {
    let mut system = System::prepare(
        r#"
        Parse.Cloud.afterSave("Item", async (request) => {
          const run = new Parse.Object("Run");
          await run.save({ item: request.object.id, version: request.object.get("version"), attempt: request.attempt },
            { useMasterKey: true });
          if (request.object.get("name") === "bad" && request.attempt < 3) throw new Error("not yet");
          if (request.object.get("name") === "hopeless") throw new Error("never");
        }, { effects: "off" });
        "#,
    )
    .await;
    system
        .set("trigger_attempts", 3)
        .set("trigger_backoff_ms", 300)
        .set("wait", false);
    system.serve("proxy,capture,dispatch,worker");
    let create = |name: &'static str| json!({"name": name, "version": 0});
    let mut ids = BTreeMap::new();
    for name in ["bad", "good", "hopeless"] {
        let reply = system
            .call(reqwest::Method::POST, "classes/Item", create(name))
            .await;
        ids.insert(name, reply.body["objectId"].as_str().unwrap().to_owned());
    }
    for version in 1..4 {
        for name in ["bad", "good", "hopeless"] {
            let path = format!("classes/Item/{}", ids[name]);
            system
                .call(reqwest::Method::PUT, &path, json!({"version": version}))
                .await;
        }
    }
    system.wait_until_settled().await;
    let runs = system.find("Run", json!({})).await;
    let of = |name: &str| -> Vec<(i64, i64)> {
        let own = runs.iter().filter(|run| run["item"] == json!(ids[name]));
        own.map(|run| {
            (
                run["version"].as_i64().unwrap(),
                run["attempt"].as_i64().unwrap(),
            )
        })
        .collect()
    };
    assert_eq!(of("good"), [(0, 1), (1, 1), (2, 1), (3, 1)]);
    let thrice = |version| [(version, 1), (version, 2), (version, 3)];
    let each: Vec<(i64, i64)> = (0..4).flat_map(thrice).collect();
    assert_eq!(
        (of("bad"), of("hopeless")),
        (each.clone(), each),
        "later events wait for earlier ones"
    );
    let dead = system
        .sql()
        .await
        .query(
            "select error from tidegate.outcome where status = 'dead'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(dead.len(), 4);
    assert!(dead[0].get::<_, String>(0).starts_with("never"));
}
