//! Where schedules come from: code, `tidegate.toml`, REST. Each just runs, and what cannot run is refused by its name.

use reqwest::Method;
use serde_json::{Value, json};

use super::{JOBS, ROLES, create, operate, serving, wait_for_runs};
use crate::system::System;

#[tokio::test]
async fn schedules_of_code_the_file_and_rest_just_run() {
    let code = r#"
Parse.Cloud.schedule("byName", { every: "1s", params: { from: "name" } }, "note");
Parse.Cloud.schedule("byHandler", { cron: "* * * * * *", timezone: "Europe/Berlin", params: { from: "handler" } }, note);
"#;
    let mut system = System::prepare(&format!("{JOBS}{code}")).await;
    let file =
        "[[schedules]]\nname = 'byFile'\njob = 'note'\nevery = '1s'\nparams = { from = 'file' }\n";
    std::fs::write(system.project.path().join("tidegate.toml"), file).unwrap();
    system.serve(ROLES);
    create(
        &system,
        "byRest",
        "note",
        json!({"every": 1000, "params": {"from": "rest"}}),
    )
    .await;
    for (name, source, from) in [
        ("byName", "code", "name"),
        ("byHandler", "code", "handler"),
        ("byFile", "config", "file"),
        ("byRest", "api", "rest"),
    ] {
        let ran = wait_for_runs(&system, name, 2).await;
        assert_eq!(ran[0]["params"], json!({"from": from}));
        let path = format!("/schedules/{name}");
        let (_, shown) = operate(&system, Method::GET, &path, Value::Null).await;
        assert_eq!(shown["source"], source, "{shown}");
        assert_eq!(shown["problem"], Value::Null, "{shown}");
    }
}

#[tokio::test]
async fn a_workflow_is_scheduled_like_a_job() {
    let system = serving(
        r#"Parse.Cloud.job("first", async () => 1);
           Parse.Cloud.job("second", async ({ inputs, workflow }) => {
             await new Parse.Object("Chained").save({ got: Object.values(inputs)[0], name: workflow.name }, { useMasterKey: true });
           });
           Parse.Cloud.workflow("chain", ["first", "second"]);
           Parse.Cloud.schedule("chained", { every: "1s", overlap: "queue" }, "chain");"#,
    )
    .await;
    let made = system.wait_for_objects("Chained", json!({}), 2).await;
    assert_eq!(
        (&made[0]["got"], &made[0]["name"]),
        (&json!(1), &json!("chain"))
    );
    system
        .wait_for_sql(
            "select count(*) >= 2 from tidegate.fire_history
              where schedule = 'chained' and workflow_id is not null and state = 'succeeded'",
        )
        .await;
}

/// The exit code and last words of a server with this code and this `tidegate.toml`.
async fn refused(code: &str, file: &str) -> (Option<i32>, String) {
    let system = System::prepare(&format!("{JOBS}{code}")).await;
    std::fs::write(system.project.path().join("tidegate.toml"), file).unwrap();
    let mut server = system.spawn(ROLES);
    let exit_code = server.wait();
    assert!(server.line("listening").is_none(), "it must not serve");
    (exit_code, server.log())
}

#[tokio::test]
async fn what_could_never_fire_is_refused_at_load_with_name_field_and_reason() {
    for (options, field, reason) in [
        (r#"{ cron: "61 * * * *" }"#, "cron", "61"),
        (r#"{ cron: "0 9 31 2 *" }"#, "cron", "never"),
        (
            r#"{ daily: "09:00", timezone: "Europe/Berln" }"#,
            "timezone",
            "did you mean Europe/Berlin?",
        ),
        (r#"{ every: "0s" }"#, "every", "1"),
        (r#"{ every: "1m", overlap: "later" }"#, "overlap", "later"),
    ] {
        let code = format!("Parse.Cloud.schedule('nightly', {options}, 'note');");
        let (exit_code, said) = refused(&code, "").await;
        assert_eq!(exit_code, Some(1), "{said}");
        for text in ["nightly", field, reason] {
            assert!(said.contains(text), "{options}: {text} is missing:\n{said}");
        }
    }
}

#[tokio::test]
async fn what_the_file_says_wrongly_and_jobs_that_are_not_there_are_refused_at_load() {
    let table = |more: &str| format!("[[schedules]]\nname = 'nightly'\njob = 'note'\n{more}\n");
    let (exit_code, said) = refused("", &table("cron = '61 * * * *'")).await;
    assert_eq!(exit_code, Some(2), "{said}");
    for text in ["[[schedules]] nightly", "cron", "61"] {
        assert!(said.contains(text), "{text} is missing:\n{said}");
    }
    let unknown = "Parse.Cloud.schedule('nightly', { every: '1m' }, 'nots');";
    let (exit_code, said) = refused(unknown, "").await;
    assert_eq!(exit_code, Some(1), "{said}");
    for text in ["schedule nightly", "there is no job nots"] {
        assert!(said.contains(text), "{text} is missing:\n{said}");
    }
}

#[tokio::test]
async fn rest_refuses_what_cannot_run_with_the_field() {
    let system = serving("").await;
    for (job, options, expected) in [
        ("note", json!({"cron": "61 * * * *"}), "cron"),
        ("note", json!({"cron": "0 9 31 2 *"}), "never"),
        (
            "note",
            json!({"every": "1m", "timezone": "Mars/Base"}),
            "timezone",
        ),
        ("note", json!({"every": "1m", "evry": 1}), "evry"),
        ("note", json!({}), "cron"),
        ("nots", json!({"every": "1m"}), "note"),
    ] {
        let body = json!({"name": "bad", "job": job, "options": options});
        let (status, told) = operate(&system, Method::POST, "/schedules", body).await;
        assert!((400..500).contains(&status), "{status} {told}");
        let said = told["error"].as_str().unwrap();
        assert!(said.contains(expected), "{said}");
    }
    let (_, all) = operate(&system, Method::GET, "/schedules", Value::Null).await;
    assert_eq!(all["schedules"], json!([]));
}

#[tokio::test]
async fn the_file_is_followed_while_the_server_runs() {
    let mut system = System::prepare(r#"Parse.Cloud.job("report", () => {});"#).await;
    let write = |system: &System, file: &str| {
        std::fs::write(system.project.path().join("tidegate.toml"), file).unwrap();
    };
    let index = system.serve("proxy,capture,dispatch,scheduler,worker");
    write(
        &system,
        "[[schedules]]\nname = 'tick'\njob = 'report'\nevery = '1s'\n",
    );
    system
        .wait_for_sql("select count(*) >= 2 from tidegate.fire")
        .await;
    write(
        &system,
        "[[schedules]]\nname = 'tick'\njob = 'report'\ncron = '61 * * * *'\n",
    );
    system
        .server(index)
        .wait_for("the changed schedules of tidegate.toml are not used");
    let goes_on =
        "select count(*) = 1 from tidegate.schedule where name = 'tick' and deleted_at is null";
    system.wait_for_sql(goes_on).await;
    write(&system, "");
    let gone =
        "select count(*) = 1 from tidegate.schedule where name = 'tick' and deleted_at is not null";
    system.wait_for_sql(gone).await;
}
