//! Schedules.

use axum::http::Method;
use serde_json::{Value, json};

use crate::fixture::stage;

const NIGHTLY: &str = "/schedules/nightly%20report%2F1";

fn nightly() -> Value {
    json!({
        "name": "nightly report/1", "job": "report",
        "options": { "cron": "30 2 * * *", "timezone": "europe/berlin", "params": { "a": 1 } },
    })
}

#[tokio::test]
async fn a_schedule_is_made_changed_paused_triggered_and_deleted() {
    let stage = stage().await;
    let made = stage
        .expect(Method::POST, "/schedules", nightly(), 201)
        .await;
    assert_eq!(
        (&made["job"], &made["source"]),
        (&"report".into(), &"api".into())
    );
    assert_eq!(made["options"]["timezone"], "Europe/Berlin");
    assert!(
        made["nextDue"].is_string() && made["nextDueLocal"].as_str().unwrap().contains("T02:30"),
        "{made}"
    );
    let changes = json!({ "workflow": "night", "options": { "every": "10m", "params": null } });
    let edited = stage.expect(Method::PATCH, NIGHTLY, changes, 200).await;
    assert_eq!(
        (&edited["workflow"], edited.get("job")),
        (&"night".into(), None)
    );
    assert_eq!(
        (&edited["options"]["every"], &edited["options"]["cron"]),
        (&"10m".into(), &Value::Null)
    );
    assert_eq!(edited["timing"], "every 10 minutes");
    let paused = stage.post(&format!("{NIGHTLY}/pause"), Value::Null).await;
    assert_eq!(
        (&paused["pausedBy"], &paused["nextDue"]),
        (&"api".into(), &Value::Null)
    );
    let triggered = stage
        .expect(
            Method::POST,
            &format!("{NIGHTLY}/trigger"),
            Value::Null,
            201,
        )
        .await;
    let workflow = triggered["workflow"].as_str().unwrap();
    assert_eq!(
        stage.get(&format!("/workflows/{workflow}")).await["state"],
        "running"
    );
    assert_eq!(
        stage.post(&format!("{NIGHTLY}/resume"), Value::Null).await["pausedAt"],
        Value::Null
    );
    let history = stage.get(&format!("{NIGHTLY}/history")).await;
    assert_eq!(
        (
            &history["fires"][0]["result"],
            &history["fires"][0]["made"]["workflow"]
        ),
        (&"started".into(), &workflow.into())
    );
    let due = history["fires"][0]["dueAt"].as_str().unwrap();
    assert_eq!(
        stage.get(&format!("{NIGHTLY}/history?before={due}")).await["fires"],
        json!([])
    );
    let shown = stage.get(NIGHTLY).await;
    assert_eq!(shown["lastFire"]["dueAt"], due);
    stage
        .expect(Method::DELETE, NIGHTLY, Value::Null, 200)
        .await;
    let said = stage.refused(Method::GET, NIGHTLY, Value::Null, 404).await;
    assert!(said.contains("nightly report/1"), "{said}");
}

#[tokio::test]
async fn schedules_are_listed_in_pages() {
    let stage = stage().await;
    for name in ["c", "a", "b"] {
        let body = json!({ "name": name, "job": "report", "options": { "daily": "09:00" } });
        stage.expect(Method::POST, "/schedules", body, 201).await;
    }
    let page = stage.get("/schedules?limit=2").await;
    assert_eq!(
        (&page["schedules"][1]["name"], &page["next"]),
        (&"b".into(), &"b".into())
    );
    let rest = stage.get("/schedules?limit=2&after=b").await;
    assert_eq!(
        (&rest["schedules"][0]["name"], &rest["next"]),
        (&"c".into(), &Value::Null)
    );
    assert_eq!(rest["schedules"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_schedules_are_refused_with_the_reason() {
    let stage = stage().await;
    stage
        .expect(Method::POST, "/schedules", nightly(), 201)
        .await;
    let with = |options: Value| json!({ "name": "s", "job": "report", "options": options });
    let large = "x".repeat(1_048_577);
    for (body, status, expected) in [
        (with(json!({ "cron": "61 * * * *" })), 400, "cron: "),
        (with(json!({ "cron": "0 9 31 2 *" })), 400, "never"),
        (
            with(json!({ "daily": "09:00", "timezone": "Europe/Berln" })),
            400,
            "did you mean Europe/Berlin?",
        ),
        (
            with(json!({ "daily": "09:00", "every": "1h" })),
            400,
            "every",
        ),
        (
            with(json!({ "daily": "09:00", "params": { "a": large } })),
            400,
            "1048576",
        ),
        (with(json!({})), 400, "schedule: "),
        (
            json!({ "name": "s", "options": { "daily": "09:00" } }),
            400,
            "job: is missing",
        ),
        (
            json!({ "name": "s", "job": "report", "workflow": "night" }),
            400,
            "not both",
        ),
        (
            json!({ "name": "s", "job": "reprt", "options": { "daily": "09:00" } }),
            404,
            "did you mean \"report\"?",
        ),
        (
            json!({ "name": "s", "workflow": "nigt", "options": { "daily": "09:00" } }),
            404,
            "did you mean \"night\"?",
        ),
        (
            json!({ "name": "", "job": "report", "options": { "daily": "09:00" } }),
            400,
            "1 to 200 characters",
        ),
        (
            json!({ "name": "preview", "job": "report", "options": { "daily": "09:00" } }),
            400,
            "path of this API",
        ),
        (
            json!({ "name": "parse:x", "job": "report", "options": { "daily": "09:00" } }),
            400,
            "_JobSchedule",
        ),
        (nightly(), 409, "already"),
    ] {
        let said = stage
            .refused(Method::POST, "/schedules", body, status)
            .await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    for (body, status, expected) in [
        (json!({ "options": { "cron": "x" } }), 400, "cron: "),
        (json!({ "options": [] }), 400, "options: must be an object"),
        (json!({ "name": "other" }), 400, "unknown field `name`"),
        (json!({ "job": "reprt" }), 404, "did you mean"),
    ] {
        let said = stage.refused(Method::PATCH, NIGHTLY, body, status).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    for (method, what) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "/pause"),
        (Method::POST, "/resume"),
        (Method::POST, "/trigger"),
        (Method::GET, "/preview"),
        (Method::POST, "/simulate"),
        (Method::GET, "/history"),
    ] {
        let path = format!("/schedules/nightly%20report%2F2{what}");
        let said = stage.refused(method, &path, Value::Null, 404).await;
        assert!(
            said.contains("did you mean \"nightly report/1\"?"),
            "{path}: {said}"
        );
    }
    for what in [
        "/history?limit=0",
        "/history?before=x",
        "/preview?count=0",
        "/preview?at=soon",
    ] {
        stage
            .refused(Method::GET, &format!("{NIGHTLY}{what}"), Value::Null, 400)
            .await;
    }
    stage
        .refused(Method::GET, "/schedules?limit=0", Value::Null, 400)
        .await;
}

#[tokio::test]
async fn a_schedule_of_the_code_is_changed_there() {
    use tidegate_job_log::schedule::{NewSchedule, Source, Target};
    let stage = stage().await;
    let of_code = NewSchedule {
        name: "coded".into(),
        source: Source::Code,
        target: Target::Job("report".into()),
        options: json!({ "daily": "09:00" }),
    };
    stage
        .jobs
        .replace_schedules(Source::Code, &[of_code])
        .await
        .unwrap();
    let edit = json!({ "options": { "daily": "10:00" } });
    for (method, body) in [(Method::PATCH, edit), (Method::DELETE, Value::Null)] {
        let said = stage.refused(method, "/schedules/coded", body, 409).await;
        assert!(said.contains("comes from the project's code"), "{said}");
    }
    assert_eq!(
        stage.post("/schedules/coded/pause", Value::Null).await["source"],
        "code"
    );
}

#[tokio::test]
async fn previews_mark_the_days_on_which_clocks_change() {
    let stage = stage().await;
    stage
        .expect(Method::POST, "/schedules", nightly(), 201)
        .await;
    let named = stage
        .get(&format!("{NIGHTLY}/preview?at=2027-03-27&count=2"))
        .await;
    let body = json!({ "options": nightly()["options"], "at": "2027-03-27", "count": 2 });
    let expression = stage.post("/schedules/preview", body).await;
    assert_eq!(named, expression);
    assert_eq!(named["rows"][1]["local"], "2027-03-28T03:00:00+02:00");
    assert!(
        named["rows"][1]["note"]
            .as_str()
            .unwrap()
            .contains("does not exist"),
        "{named}"
    );
    for (body, expected) in [
        (json!({ "options": { "cron": "0 9 31 2 *" } }), "never"),
        (json!({}), "schedule: "),
        (
            json!({ "options": { "daily": "09:00" }, "count": 1001 }),
            "count: ",
        ),
        (
            json!({ "options": { "daily": "09:00" }, "tz": "UTC" }),
            "unknown field `tz`",
        ),
    ] {
        let said = stage
            .refused(Method::POST, "/schedules/preview", body, 400)
            .await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[tokio::test]
async fn a_simulation_says_what_the_policies_would_do() {
    let stage = stage().await;
    stage
        .expect(Method::POST, "/schedules", nightly(), 201)
        .await;
    let mut ask = json!({
        "options": { "missed": "skip", "timezone": "UTC" }, "from": "2027-03-01", "to": "2027-03-05",
        "outages": ["2027-03-02/2027-03-04"], "takes": "10m",
    });
    let played = stage
        .post(&format!("{NIGHTLY}/simulate"), ask.clone())
        .await;
    assert_eq!(
        (&played["counts"]["ran"], &played["counts"]["skippedMissed"]),
        (&2.into(), &2.into())
    );
    ask["options"] = json!({ "daily": "02:30", "missed": "all" });
    let played = stage.post("/schedules/simulate", ask.clone()).await;
    // The two that are made up for come at once, and overlap.
    let counts = &played["counts"];
    assert_eq!(
        (&counts["ran"], &counts["skippedOverlap"]),
        (&3.into(), &1.into())
    );
    ask["outages"] = json!(["2027-03-02"]);
    let said = stage
        .refused(Method::POST, "/schedules/simulate", ask, 400)
        .await;
    assert!(said.starts_with("outage: "), "{said}");
}
