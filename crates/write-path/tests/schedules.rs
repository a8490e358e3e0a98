//! `_JobSchedule` rows by the routes of the stock dashboard and of Back4app's form.

use serde_json::{Value, json};
use tidegate_parse_protocol::ErrorCode;

use crate::desk::Desk;

/// As the dashboard sends it.
fn form() -> Value {
    json!({"job_schedule": {"jobName": "report", "description": "daily", "params": "{\"a\":1}",
        "startAfter": "2027-03-27T08:00:00.000Z", "timeOfDay": "09:00:00.000Z", "repeatMinutes": 1440,
        "daysOfWeek": [1, 1, 1, 1, 1, 1, 1]}})
}

async fn list(desk: &Desk) -> Vec<Value> {
    let answer = desk.call("GET", "cloud_code/jobs", Value::Null).await;
    answer.unwrap().body.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_schedule_is_made_changed_listed_and_deleted() {
    let desk = Desk::open().await;
    assert!(list(&desk).await.is_empty());
    let made = desk.call("POST", "cloud_code/jobs", form()).await.unwrap();
    assert_eq!(made.status, 201);
    let id = made.body["objectId"].as_str().unwrap().to_owned();
    let path = format!("cloud_code/jobs/{id}");
    let change =
        json!({"job_schedule": {"timeOfDay": "10:30:00.000Z", "description": {"__op": "Delete"}}});
    let changed = desk.call("PUT", &path, change).await.unwrap();
    assert!(changed.body["updatedAt"].is_string(), "{}", changed.body);
    let rows = list(&desk).await;
    let [row] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert_eq!(row["timeOfDay"], "10:30:00.000Z");
    // What a change does not name stays, the beginning too.
    assert_eq!(row["startAfter"], "2027-03-27T08:00:00.000Z");
    assert_eq!(
        (row["jobName"].as_str(), row.get("description")),
        (Some("report"), None)
    );
    let names = desk.call("GET", "cloud_code/jobs/data", Value::Null).await;
    assert_eq!(
        names.unwrap().body,
        json!({"in_use": ["report"], "jobs": ["load", "report"]})
    );
    let deleted = desk.call("DELETE", &path, json!({})).await.unwrap();
    assert_eq!(deleted.body, json!({}));
    assert!(list(&desk).await.is_empty());
    for method in ["PUT", "DELETE"] {
        let (code, _) = desk.refused(method, &path, form()).await;
        assert_eq!(code, ErrorCode::OBJECT_NOT_FOUND, "{method}");
    }
}

#[tokio::test]
async fn a_beginning_that_nobody_names_is_now_and_params_may_be_an_object() {
    let desk = Desk::open().await;
    let mut form = form();
    let fields = form["job_schedule"].as_object_mut().unwrap();
    fields.remove("startAfter");
    fields.insert("params".into(), json!({"b": [2]}));
    desk.call("POST", "cloud_code/jobs", form).await.unwrap();
    let rows = list(&desk).await;
    assert!(rows[0]["startAfter"].as_str().unwrap().ends_with('Z'));
    assert_eq!(rows[0]["params"], "{\"b\":[2]}");
}

#[tokio::test]
async fn back4apps_form_becomes_the_same_kind_of_row() {
    let desk = Desk::open().await;
    let form = json!({"job": {"name": "hourly", "cloudCodeFunction": "load", "parameter": "{\"n\":1}",
        "schedule": {"start": "2027-03-27T08:00:00.000Z", "dailyRun": null, "intervalRun": "01:00"}}});
    desk.call("POST", "cloud_code/jobs", form).await.unwrap();
    let rows = list(&desk).await;
    let row = &rows[0];
    assert_eq!(
        (row["jobName"].as_str(), row["repeatMinutes"].as_f64()),
        (Some("load"), Some(60.0))
    );
    assert_eq!(
        (row["description"].as_str(), row["params"].as_str()),
        (Some("hourly"), Some("{\"n\":1}"))
    );
}

#[tokio::test]
async fn a_schedule_that_could_not_run_is_not_stored() {
    let desk = Desk::open().await;
    let refused = async |field: &str, value: Value| {
        let mut form = form();
        form["job_schedule"][field] = value;
        desk.refused("POST", "cloud_code/jobs", form).await
    };
    let text = "Cannot Schedule a job that is not deployed".to_owned();
    for name in [json!("reprot"), Value::Null] {
        assert_eq!(
            refused("jobName", name).await,
            (ErrorCode::INTERNAL, text.clone())
        );
    }
    for (field, value) in [
        ("timeOfDay", json!("25:00:00.000Z")),
        ("repeatMinutes", json!(-1)),
        ("daysOfWeek", json!([0, 0, 0, 0, 0, 0, 0])),
        ("startAfter", json!("tomorrow")),
        ("params", json!("[1]")),
    ] {
        let (code, message) = refused(field, value).await;
        assert_eq!(code, ErrorCode::INVALID_JSON, "{message}");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    let large = "x".repeat(1 << 20);
    for (params, problem) in [
        (
            json!("{\"a\":\"\\u0000\"}"),
            "params hold the character NUL",
        ),
        (json!({"a": "\0"}), "params hold the character NUL"),
        (json!({"a": large}), "params have 1048584 bytes"),
        (
            json!({"a": large}).to_string().into(),
            "params have 1048584 bytes",
        ),
    ] {
        let (code, message) = refused("params", params).await;
        assert_eq!(code, ErrorCode::INVALID_JSON, "{message}");
        assert!(message.starts_with(problem), "{message}");
    }
    assert!(list(&desk).await.is_empty());
    let made = desk.call("POST", "cloud_code/jobs", form()).await.unwrap();
    let path = format!(
        "cloud_code/jobs/{}",
        made.body["objectId"].as_str().unwrap()
    );
    let change = json!({"job_schedule": {"repeatMinutes": 0.5}});
    let (_, message) = desk.refused("PUT", &path, change).await;
    assert!(message.starts_with("repeatMinutes: "), "{message}");
    assert_eq!(list(&desk).await[0]["repeatMinutes"], 1440);
}
