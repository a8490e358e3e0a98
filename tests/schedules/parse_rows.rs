//! `_JobSchedule` rows: what the stock dashboard, Back4app's form or SQL has stored just runs.

use reqwest::Method;
use serde_json::{Value, json};

use super::{history, operate, serving, wait_for_runs};
use crate::system::System;

async fn made(system: &System, form: Value) -> String {
    let reply = system.master(Method::POST, "cloud_code/jobs", form).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.body["objectId"].as_str().unwrap().to_owned()
}

/// Of a row: how its schedule is shown.
async fn shown(system: &System, id: &str) -> Value {
    let mirrored = format!(
        "select count(*) = 1 from tidegate.schedule where name = 'parse:{id}' and deleted_at is null"
    );
    system.wait_for_sql(&mirrored).await;
    let path = format!("/schedules/parse:{id}");
    operate(system, Method::GET, &path, Value::Null).await.1
}

/// As if the last day had passed without anybody.
async fn skip_a_day(system: &System, id: &str) {
    let put_back = "update tidegate.schedule set handled_at = now() - interval '1 day', next_due = '-infinity' where name = $1";
    let name = format!("parse:{id}");
    let changed = system.sql().await.execute(put_back, &[&name]).await;
    assert_eq!(changed.unwrap(), 1);
}

/// As the dashboard writes a time.
async fn now(system: &System) -> String {
    let query =
        r#"select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;
    let row = system.sql().await.query_one(query, &[]).await.unwrap();
    row.get(0)
}

#[tokio::test]
async fn rows_of_the_dashboards_form_run_and_are_listed_as_it_expects() {
    let system = serving("").await;
    let id = made(
        &system,
        json!({"job_schedule": {"jobName": "note", "description": "each day", "params": "{\"from\":\"form\"}",
            "startAfter": "2026-01-01T00:00:00.000Z", "timeOfDay": "09:30:00.000Z", "repeatMinutes": 1440,
            "daysOfWeek": [1, 1, 1, 1, 1, 1, 1]}}),
    )
    .await;
    let planned = shown(&system, &id).await;
    assert_eq!(planned["source"], "parse");
    let due = planned["nextDue"].as_str().unwrap();
    assert!(due.ends_with("T09:30:00Z"), "{due}");
    // Yesterday's due time was missed: one stands for all.
    skip_a_day(&system, &id).await;
    let ran = wait_for_runs(&system, &format!("parse:{id}"), 1).await;
    assert_eq!(ran[0]["params"], json!({"from": "form"}));
    assert!(
        ran[0]["dueAt"]
            .as_str()
            .unwrap()
            .ends_with("T09:30:00.000Z")
    );

    let list = system
        .master(Method::GET, "cloud_code/jobs", Value::Null)
        .await;
    let rows = list.body.as_array().expect("a bare array");
    assert_eq!(
        (&rows[0]["objectId"], &rows[0]["repeatMinutes"]),
        (&json!(id), &json!(1440))
    );
    let names = system
        .master(Method::GET, "cloud_code/jobs/data", Value::Null)
        .await;
    assert_eq!(
        names.body,
        json!({"in_use": ["note"], "jobs": ["held", "note"]})
    );

    let change = json!({"job_schedule": {"timeOfDay": "10:15:00.000Z"}});
    let path = format!("cloud_code/jobs/{id}");
    let changed = system.master(Method::PUT, &path, change).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    system
        .wait_for_sql(&format!(
            "select coalesce(to_char(next_due at time zone 'UTC', 'HH24:MI') = '10:15', false) from tidegate.schedule where name = 'parse:{id}'"
        ))
        .await;
    let deleted = system.master(Method::DELETE, &path, json!({})).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({})));
    system
        .wait_for_sql(&format!(
            "select deleted_at is not null from tidegate.schedule where name = 'parse:{id}'"
        ))
        .await;
    let list = system
        .master(Method::GET, "cloud_code/jobs", Value::Null)
        .await;
    assert_eq!(list.body, json!([]));
}

#[tokio::test]
async fn a_row_without_an_interval_runs_once_at_its_start() {
    let system = serving("").await;
    let start = now(&system).await;
    let id = made(
        &system,
        json!({"job_schedule": {"jobName": "note", "startAfter": start, "params": "{}", "repeatMinutes": 0}}),
    )
    .await;
    let name = format!("parse:{id}");
    let ran = wait_for_runs(&system, &name, 1).await;
    assert_eq!(ran[0]["dueAt"], json!(start));
    let fires = history(&system, &name).await;
    assert_eq!(fires.len(), 1, "{fires:?}");
    assert_eq!(shown(&system, &id).await["nextDue"], Value::Null);
}

#[tokio::test]
async fn back4apps_form_just_runs() {
    let system = serving("").await;
    let form = |schedule: Value| json!({"job": {"name": "hourly", "cloudCodeFunction": "note", "parameter": {"from": "form"}, "schedule": schedule}});
    let start = now(&system).await;
    let once = made(
        &system,
        form(json!({"start": start, "dailyRun": null, "intervalRun": null})),
    )
    .await;
    let ran = wait_for_runs(&system, &format!("parse:{once}"), 1).await;
    assert_eq!(ran[0]["params"], json!({"from": "form"}));

    let each_hour =
        json!({"start": "2026-01-01T00:20:00.000Z", "dailyRun": null, "intervalRun": "01:00"});
    let id = made(&system, form(each_hour)).await;
    let due = shown(&system, &id).await["nextDue"].clone();
    assert!(due.as_str().unwrap().ends_with(":20:00Z"), "{due}");
    skip_a_day(&system, &id).await;
    let ran = wait_for_runs(&system, &format!("parse:{id}"), 1).await;
    assert!(ran[0]["dueAt"].as_str().unwrap().ends_with(":20:00.000Z"));

    let each_day =
        json!({"start": "2026-01-01T00:00:00.000Z", "dailyRun": "04:45", "intervalRun": null});
    let id = made(&system, form(each_day)).await;
    let due = shown(&system, &id).await["nextDue"].clone();
    assert!(due.as_str().unwrap().ends_with("T04:45:00Z"), "{due}");
}

#[tokio::test]
async fn a_row_that_sql_inserts_runs_and_one_that_cannot_be_read_is_named() {
    let mut system = System::prepare(super::JOBS).await;
    let server = system.serve(super::ROLES);
    let start = now(&system).await;
    let insert = r#"insert into "_JobSchedule" ("objectId", "createdAt", "updatedAt", "jobName", "startAfter", "repeatMinutes", params)
                    values ($1, now(), now(), 'note', $2, 0, $3)"#;
    let client = system.sql().await;
    let params = r#"{"from": "sql"}"#;
    client
        .execute(insert, &[&"bySql00001", &"soon", &params])
        .await
        .unwrap();
    let told = system.server(server).wait_for("_JobSchedule does not run");
    assert_eq!(told["object.id"], "bySql00001", "{told}");
    assert!(
        told["error"].as_str().unwrap().contains("startAfter"),
        "{told}"
    );
    client
        .execute(insert, &[&"bySql00002", &start, &params])
        .await
        .unwrap();
    let ran = wait_for_runs(&system, "parse:bySql00002", 1).await;
    assert_eq!(
        (&ran[0]["params"], &ran[0]["dueAt"]),
        (&json!({"from": "sql"}), &json!(start))
    );

    // Mended by SQL, too.
    let mend = r#"update "_JobSchedule" set "startAfter" = $1 where "objectId" = 'bySql00001'"#;
    client.execute(mend, &[&now(&system).await]).await.unwrap();
    wait_for_runs(&system, "parse:bySql00001", 1).await;
}

#[tokio::test]
async fn a_job_that_is_not_deployed_is_not_scheduled() {
    let system = serving("").await;
    let form =
        json!({"job_schedule": {"jobName": "nots", "startAfter": "2026-01-01T00:00:00.000Z"}});
    let reply = system.master(Method::POST, "cloud_code/jobs", form).await;
    assert_eq!(
        reply.expect_error(500, 1),
        "Cannot Schedule a job that is not deployed"
    );
    let form = json!({"job_schedule": {"jobName": "note", "timeOfDay": "25:00:00.000Z", "repeatMinutes": 1440}});
    let reply = system.master(Method::POST, "cloud_code/jobs", form).await;
    assert!(reply.expect_error(400, 107).starts_with("timeOfDay: "));
    let list = system
        .master(Method::GET, "cloud_code/jobs", Value::Null)
        .await;
    assert_eq!(list.body, json!([]));
    let reply = system
        .call(Method::GET, "cloud_code/jobs", Value::Null)
        .await;
    assert_eq!(reply.status, 403, "{}", reply.body);
}
