//! Changes while the server runs: by REST, by SQL, by new code. The schedule `beat` is the clock that they are measured by.

use reqwest::Method;
use serde_json::{Value, json};

use super::{JOBS, create, history, operate, serving, succeeded, wait_for_fires, wait_for_runs};
use crate::server::{Server, tidegate};
use crate::system::{APP_ID, MASTER_KEY, System};

const BEAT: &str = r#"Parse.Cloud.schedule("beat", { every: "1s" }, "note");"#;

/// How often the beat had fired before a schedule's first fire, counted from a moment: in transactions, because a busy
/// machine's beats come late and then together.
async fn beats_before_the_first_fire(system: &System, since: &str, name: &str) -> i64 {
    wait_for_fires(system, name, "started", 1).await;
    let count = "
        select count(distinct beat.xmin::text)
          from tidegate.fire as beat join tidegate.schedule as its on its.id = beat.schedule_id and its.name = 'beat'
         where beat.fired_at > $1::text::timestamptz
           and beat.fired_at < (select min(fire.fired_at) from tidegate.fire join tidegate.schedule on schedule.id = schedule_id
                                 where schedule.name = $2)";
    let client = system.sql().await;
    let row = client.query_one(count, &[&since, &name]).await.unwrap();
    row.get(0)
}

async fn now(system: &System) -> String {
    let client = system.sql().await;
    let row = client
        .query_one("select clock_timestamp()::text", &[])
        .await;
    row.unwrap().get(0)
}

#[tokio::test]
async fn new_and_changed_schedules_fire_before_the_beat_has_come_twice_more() {
    let system = serving(BEAT).await;
    wait_for_fires(&system, "beat", "started", 1).await;
    let since = now(&system).await;
    create(&system, "new", "note", json!({"every": "1s"})).await;
    let beats = beats_before_the_first_fire(&system, &since, "new").await;
    assert!(beats <= 2, "{beats} beats");

    create(&system, "changed", "note", json!({"daily": "09:00"})).await;
    let since = now(&system).await;
    let body = json!({"options": {"cron": "* * * * * *"}});
    let changed = operate(&system, Method::PATCH, "/schedules/changed", body).await;
    assert_eq!(succeeded(changed)["options"]["cron"], "* * * * * *");
    let beats = beats_before_the_first_fire(&system, &since, "changed").await;
    assert!(beats <= 2, "{beats} beats");

    // SQL tells nobody but Postgres.
    let since = now(&system).await;
    let insert = r#"insert into "_JobSchedule" ("objectId", "createdAt", "updatedAt", "jobName", "startAfter")
                    select 'bySql', now(), now(), 'note', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#;
    system.sql().await.batch_execute(insert).await.unwrap();
    let mirrored = "select count(*) = 1 from tidegate.schedule where name = 'parse:bySql'";
    system.wait_for_sql(mirrored).await;
    let beats = beats_before_the_first_fire(&system, &since, "parse:bySql").await;
    assert!(beats <= 2, "{beats} beats");
}

#[tokio::test]
async fn a_deleted_schedule_does_not_fire_and_one_that_comes_back_has_no_past() {
    let system = serving(BEAT).await;
    create(&system, "s", "note", json!({"every": "1s"})).await;
    wait_for_fires(&system, "s", "started", 1).await;
    succeeded(operate(&system, Method::DELETE, "/schedules/s", Value::Null).await);
    let count = async || {
        let client = system.sql().await;
        let query = "select count(*) from tidegate.fire join tidegate.schedule on schedule.id = schedule_id where name = 's'";
        client.query_one(query, &[]).await.unwrap().get::<_, i64>(0)
    };
    let before = count().await;
    let beats = history(&system, "beat").await.len();
    wait_for_fires(&system, "beat", "started", beats + 2).await;
    assert_eq!(count().await, before);
    let (status, _) = operate(&system, Method::GET, "/schedules/s", Value::Null).await;
    assert_eq!(status, 404);
    create(
        &system,
        "s",
        "note",
        json!({"every": "1s", "missed": "all"}),
    )
    .await;
    let fires = wait_for_fires(&system, "s", "started", before as usize + 2).await;
    let created = operate(&system, Method::GET, "/schedules/s", Value::Null)
        .await
        .1;
    let created = created["createdAt"].as_str().unwrap();
    let after = fires
        .iter()
        .filter(|fire| fire["dueAt"].as_str().unwrap() > created);
    assert_eq!(
        after.count(),
        fires.len() - before as usize,
        "{created}: {fires:?}"
    );
}

#[tokio::test]
async fn a_schedule_is_changed_only_where_it_comes_from() {
    let system = serving(BEAT).await;
    let body = json!({"options": {"every": "2s"}});
    for (method, body) in [(Method::PATCH, body), (Method::DELETE, Value::Null)] {
        let (status, told) = operate(&system, method, "/schedules/beat", body).await;
        assert_eq!(status, 409, "{told}");
        assert!(
            told["error"]
                .as_str()
                .unwrap()
                .contains("the project's code"),
            "{told}"
        );
    }
    let body = json!({"name": "beat", "job": "note", "options": {"every": "2s"}});
    let (status, told) = operate(&system, Method::POST, "/schedules", body).await;
    assert_eq!(status, 409, "{told}");
}

/// `tidegate dev` with this code, on the servers that the test has.
async fn developing(main_js: &str) -> (System, usize) {
    let mut system = System::prepare(main_js).await;
    let mut command = tidegate();
    command
        .arg("dev")
        .arg(system.project.path())
        .env("DATABASE_URL", system.database.url())
        .env("REDIS_URL", system.redis.url())
        .env("TIDEGATE_LISTEN", "127.0.0.1:0")
        .env("TIDEGATE_LOG_FORMAT", "json")
        .env("TIDEGATE_APP_ID", APP_ID)
        .env("TIDEGATE_MASTER_KEY", MASTER_KEY)
        .env("TIDEGATE_SLOT", system.database.name());
    let mut server = Server::spawn(command);
    server.wait_for("listening");
    server.wait_for("this process is ready");
    server.is_proxy = true;
    let index = system.adopt(server);
    (system, index)
}

fn write_main(system: &System, schedules: &str) {
    let text = format!("{JOBS}{schedules}");
    std::fs::write(system.project.path().join("cloud/main.js"), text).unwrap();
}

#[tokio::test]
async fn a_reload_takes_schedules_away_changes_them_and_refuses_bad_ones() {
    let going = r#"Parse.Cloud.schedule("going", { every: "1s" }, "note");"#;
    let (mut system, server) = developing(&format!("{JOBS}{BEAT}{going}")).await;
    wait_for_runs(&system, "going", 1).await;

    // One disappears, another comes.
    write_main(
        &system,
        &format!(r#"{BEAT}Parse.Cloud.schedule("coming", {{ every: "1s" }}, "note");"#),
    );
    wait_for_runs(&system, "coming", 1).await;
    let client = system.sql().await;
    let gone = "select count(*), bool_and(deleted_at is not null) from tidegate.fire
                  join tidegate.schedule on schedule.id = schedule_id where name = 'going'";
    let row = client.query_one(gone, &[]).await.unwrap();
    let (fired, is_deleted): (i64, bool) = (row.get(0), row.get(1));
    assert!(is_deleted);

    // Bad code is said so, and the old code serves on, its schedules with it.
    for (bad, reason) in [
        (r#"{ cron: "61 * * * *" }"#, "61"),
        (r#"{ every: "1s", timezone: "Mars/Base" }"#, "Mars/Base"),
    ] {
        write_main(
            &system,
            &format!(r#"Parse.Cloud.schedule("coming", {bad}, "note");"#),
        );
        let told = system.server(server).wait_for(reason);
        let text = told["message"].as_str().unwrap();
        assert!(
            text.contains("not served") && text.contains("\"coming\""),
            "{text}"
        );
    }
    let before = history(&system, "coming").await.len();
    wait_for_fires(&system, "coming", "started", before + 2).await;
    let row = client.query_one(gone, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), fired, "what is gone fires no more");
    let beats = history(&system, "beat").await.len();
    wait_for_fires(&system, "beat", "started", beats + 1).await;
}
