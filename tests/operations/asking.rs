//! What the command line shows and refuses.

use super::*;

#[tokio::test]
async fn a_trace_shows_the_chain_from_the_request_to_the_last_effect() {
    let system = System::start(
        r#"
        Parse.Cloud.afterSave("A", async (request) => {
          await new Parse.Object("B").save({ of: request.object.id }, { useMasterKey: true });
        });
        Parse.Cloud.afterSave("B", async (request) => {
          await new Parse.Object("C").save({ of: request.object.id }, { useMasterKey: true });
        });
        Parse.Cloud.afterSave("C", async (request) => {
          await new Parse.Object("Note").save({ of: request.object.id }, { useMasterKey: true });
          throw new Error("the end");
        });
        "#,
    )
    .await;
    let reply = system.call(Method::POST, "classes/A", json!({})).await;
    let a = reply.body["objectId"].as_str().unwrap().to_owned();
    let b = system.wait_for_objects("B", json!({"of": a}), 1).await[0]["objectId"].clone();
    let c = system.wait_for_objects("C", json!({"of": b}), 1).await[0]["objectId"].clone();
    let note = system.wait_for_objects("Note", json!({"of": c}), 1).await[0]["objectId"].clone();
    system
        .wait_for_sql("select count(*) = 1 from tidegate.outcome where trigger = 'afterSave:C'")
        .await;
    system
        .wait_for_sql("select count(*) = 2 from tidegate.outcome where status = 'done'")
        .await;

    // Asked for its last event, it shows the first, too.
    let name = format!("C/{}", c.as_str().unwrap());
    let trace = ask(&system, &["events", "trace", &name]);
    assert_eq!(trace["request"]["source"], "api");
    assert!(trace["request"]["requestId"].is_string());
    let root = &trace["root"];
    assert_eq!((&root["table"], &root["key"]), (&json!("A"), &json!([a])));
    let of_a = &root["runs"][0];
    assert_eq!(
        (&of_a["trigger"], &of_a["status"]),
        (&json!("afterSave:A"), &json!("done"))
    );
    let event_b = &of_a["events"][0];
    assert_eq!(
        (&event_b["key"], &event_b["depth"]),
        (&json!([b]), &json!(1))
    );
    let event_c = &event_b["runs"][0]["events"][0];
    assert_eq!(event_c["id"], trace["asked"]);
    let of_c = &event_c["runs"][0];
    assert!(of_c["error"].as_str().unwrap().contains("the end"));
    assert_eq!(of_c["effects"][0]["objectId"], note, "{trace:#}");

    let output = run(&system, &["events", "trace", &name]);
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("api request"), "{tree}");
    let places = [
        format!("insert A/{a}"),
        "afterSave:A done".into(),
        "insert B/".into(),
        "afterSave:B done".into(),
        "insert C/".into(),
        "afterSave:C".into(),
        "Note/".into(),
    ];
    for (line, expected) in lines[1..].iter().zip(places) {
        assert!(line.contains(&expected), "{expected} in\n{tree}");
    }
}

#[tokio::test]
async fn triggers_are_listed_paused_and_resumed() {
    let system = System::start(RECORDER).await;
    create(&system, "good").await;
    let line = ask(&system, &["triggers", "pause", "afterSave:Item"]);
    assert_eq!(
        (&line["isPaused"], &line["isRegistered"]),
        (&json!(true), &json!(true))
    );
    let listed = run(&system, &["triggers", "list"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        text.contains("TRIGGER") && text.contains("afterSave:Item  paused"),
        "{text}"
    );
    assert_eq!(
        ask(&system, &["triggers", "resume", "afterSave:Item"])["isPaused"],
        false
    );
    let status = ask(&system, &["slot", "status"]);
    assert_eq!(
        (&status["problem"], &status["walStatus"]),
        (&Value::Null, &json!("reserved"))
    );
    let said = refused(&system, &["slot", "resync"], 1);
    assert!(!said.is_empty(), "a slot that is well is not replaced");
}

#[tokio::test]
async fn bad_input_is_refused_by_name_with_a_remedy() {
    let system = System::start(RECORDER).await;
    create(&system, "good").await;
    let cases: [(&[&str], i32, &str); 14] = [
        (
            &["triggers", "pause", "afterSave:Itm"],
            3,
            "did you mean afterSave:Item?",
        ),
        (&["triggers", "backfill", "Itme"], 3, "did you mean Item?"),
        (
            &["triggers", "backfill", "_User"],
            5,
            "no after-save trigger",
        ),
        (
            &["triggers", "backfill", "Item", "--chunk", "0"],
            5,
            "--chunk",
        ),
        (&["events", "replay"], 5, "--all"),
        (&["events", "replay", "x"], 5, "CLASS/OBJECTID"),
        (&["events", "replay", "1-0.1-0"], 3, "no event 1-0.1-0"),
        (
            &["events", "replay", "--class", "Itme"],
            3,
            "did you mean Item?",
        ),
        (
            &["events", "replay", "--all", "--since", "noon"],
            5,
            "--since",
        ),
        (
            &["events", "replay", "--all", "--from-lsn", "5"],
            5,
            "--from-lsn",
        ),
        (&["events", "list", "--status", "alive"], 5, "--status"),
        (&["events", "trace", "Item/nobody"], 3, "Item/nobody"),
        (&["operations", "show", "7"], 3, "no operation 7"),
        (&["operations", "rate", "7", "fast"], 2, "events a second"),
    ];
    for (arguments, exit_code, expected) in cases {
        let said = refused(&system, arguments, exit_code);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let mut unreachable = command(&system, &["events", "list"]);
    unreachable.env("DATABASE_URL", "postgres://127.0.0.1:1/nothing");
    assert_eq!(unreachable.output().unwrap().status.code(), Some(6));
    let mut unset = command(&system, &["events", "list"]);
    let output = unset.env_remove("DATABASE_URL").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("DATABASE_URL"));
}
