//! Replays: by id, of dead letters, slow ones that are paused and cancelled.

use super::*;

#[tokio::test]
async fn one_event_is_replayed_by_id_by_offset_and_by_object_and_the_handler_is_told() {
    let system = System::start(RECORDER).await;
    let id = create(&system, "good").await;
    create(&system, "good").await;
    system.wait_until_settled().await;
    let listed = ask(&system, &["events", "list", "--class", "Item"]);
    let event = &listed[1];
    assert_eq!(event["key"], json!([id]));
    assert_eq!(event["deliveries"][0]["status"], "done");
    let offset = event["logOffset"].to_string();
    let object = format!("Item/{id}");
    let mut operations = Vec::new();
    for name in [event["id"].as_str().unwrap(), &offset, &object] {
        let plan = ask(&system, &["events", "replay", name, "--dry-run"]);
        assert_eq!(
            (&plan["deliveries"], &plan["first"][0]["id"]),
            (&json!(1), &event["id"])
        );
        let operation = ask(&system, &["events", "replay", name]);
        assert_eq!(
            (&operation["state"], &operation["appended"]),
            (&json!("done"), &json!(1))
        );
        operations.push(operation["id"].clone());
        system.wait_until_settled().await;
    }
    let runs = system.find("Run", json!({"item": id})).await;
    let replays: Vec<&Value> = runs.iter().map(|run| &run["replay"]).collect();
    assert_eq!(replays[0], &json!(0));
    assert_eq!(replays[1..], operations.iter().collect::<Vec<_>>());
    assert!(
        runs.iter().all(|run| run["eventId"] == event["id"]),
        "the same event each time"
    );
    let shown = ask(&system, &["events", "show", &object]);
    assert_eq!(
        shown.as_array().unwrap().len(),
        4,
        "the event and its three replays"
    );
    assert_eq!(shown[0]["event"]["new"]["name"], "good");
}

#[tokio::test]
async fn dead_letters_are_replayed_into_the_code_that_was_mended() {
    let mut system = System::prepare(RECORDER).await;
    system.set("trigger_attempts", 1).set("wait", false);
    let first = system.serve(ALL);
    let bad = [create(&system, "bad").await, create(&system, "bad").await];
    create(&system, "good").await;
    let ended = "select count(*) filter (where status = 'dead') = 2 and count(*) filter (where status = 'done') = 1
                   from tidegate.outcome";
    system.wait_for_sql(ended).await;
    system.wait_until_settled().await;
    let dead = ask(&system, &["events", "list", "--status", "dead"]);
    assert_eq!(dead.as_array().unwrap().len(), 2);
    let shown = run(&system, &["events", "show", &format!("Item/{}", bad[0])]);
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("not yet"),
        "the error is shown"
    );
    system.server(first).terminate();

    let mended = RECORDER.replace(r#"throw new Error("not yet")"#, "1");
    std::fs::write(system.project.path().join("cloud/main.js"), mended).unwrap();
    system.serve(ALL);
    let plan = ask(
        &system,
        &["events", "replay", "--dead", "--class", "Item", "--dry-run"],
    );
    assert_eq!(plan["deliveries"], 2);
    let operation = ask(&system, &["events", "replay", "--dead", "--class", "Item"]);
    assert_eq!(
        (&operation["total"], &operation["appended"]),
        (&json!(2), &json!(2))
    );
    system.wait_until_settled().await;
    for id in &bad {
        let runs = system.find("Run", json!({"item": id})).await;
        assert_eq!(runs.len(), 1, "{runs:?}");
        assert_eq!(runs[0]["replay"], operation["id"]);
    }
    assert_eq!(
        system
            .find("Run", json!({"replay": {"$gt": 0}}))
            .await
            .len(),
        2,
        "the good one is left alone"
    );
    assert_eq!(
        ask(&system, &["events", "list", "--status", "dead"]),
        json!([])
    );
}

#[tokio::test]
async fn a_long_replay_is_slowed_down_paused_resumed_and_cancelled() {
    let system = System::start(RECORDER).await;
    create(&system, "good").await;
    insert_items(&system, 300).await;
    system
        .wait_for_sql("select count(*) >= 301 from tidegate.outcome where status = 'done'")
        .await;
    system.wait_until_settled().await;
    let arguments = [
        "events", "replay", "--class", "Item", "--rate", "20", "--detach",
    ];
    let operation = ask(&system, &arguments)["id"].clone();
    let id = operation.to_string();
    wait_for_entries(&system, &operation, 3).await;
    assert_eq!(
        ask(&system, &["operations", "pause", &id])["state"],
        "paused"
    );
    let paused = ask(&system, &["operations", "show", &id]);
    assert!(paused["done"].as_u64().unwrap() < 301, "{paused}");
    // A step that was under way is in `done`; none comes after it.
    system.wait_until_settled().await;
    assert_eq!(
        ask(&system, &["operations", "show", &id])["done"],
        paused["done"]
    );

    ask(&system, &["operations", "resume", &id]);
    wait_for_entries(&system, &operation, paused["done"].as_u64().unwrap() + 3).await;
    let cancelled = ask(&system, &["operations", "cancel", &id]);
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["done"].as_u64().unwrap() < 301, "{cancelled}");
    let said = refused(&system, &["operations", "resume", &id], 5);
    assert!(said.contains("cancelled"), "{said}");

    let second = ask(&system, &arguments)["id"].clone();
    wait_for_entries(&system, &second, 2).await;
    ask(
        &system,
        &["operations", "rate", &second.to_string(), "none"],
    );
    wait_for_state(&system, &second, "done").await;
    let done = ask(&system, &["operations", "show", &second.to_string()]);
    assert_eq!((&done["done"], &done["total"]), (&json!(301), &json!(301)));
    let list = ask(&system, &["operations", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_follower_that_is_interrupted_leaves_the_operation_running() {
    let system = System::start(RECORDER).await;
    create(&system, "good").await;
    insert_items(&system, 100).await;
    system
        .wait_for_sql("select count(*) >= 101 from tidegate.outcome where status = 'done'")
        .await;
    system.wait_until_settled().await;
    let mut follower = command(&system, &["events", "replay", "--all", "--rate", "5"]);
    let follower = follower
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_entries(&system, &json!(1), 1).await;
    let interrupt = Command::new("kill")
        .args(["-INT", &follower.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let output = follower.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("operation 1 goes on"), "{said}");
    assert_eq!(
        ask(&system, &["operations", "show", "1"])["state"],
        "running"
    );
}
