//! Values too large for an event.

use serde_json::json;

use super::wait_for_events;
use crate::system::System;

const CODE: &str = r#"
    Parse.Cloud.afterSave("large.rows", async (request) => {
      const entry = new Parse.Object("Note");
      await entry.save({
        row: request.object.id,
        has: Object.keys(request.object.toJSON()).sort(),
        truncated: request.truncated ?? null,
      }, { useMasterKey: true });
    });"#;

#[tokio::test]
async fn a_value_over_the_limit_is_named_and_later_events_flow() {
    let mut system = System::prepare(CODE).await;
    let sql = system.sql().await;
    sql.batch_execute(
        "create schema large; create table large.rows (id int primary key, t text, j jsonb, b bytea)",
    )
    .await
    .unwrap();
    system.serve("proxy,capture,dispatch,worker");
    let text_bytes = 100_000_000;
    sql.batch_execute(&format!(
        "insert into large.rows values (1, repeat('t', 1000000), to_jsonb(repeat('j', 1000000)), decode(repeat('ab', 1000000), 'hex'));
         insert into large.rows (id, t) values (2, repeat('t', {text_bytes}));
         insert into large.rows (id, j) values (3, to_jsonb(repeat('j', {text_bytes})));
         insert into large.rows (id, b) values (4, decode(repeat('ab', {text_bytes} / 2), 'hex'));
         update large.rows set j = '1' where id = 2;
         insert into large.rows (id, t) values (5, 'small');"
    ))
    .await
    .unwrap();
    let found = wait_for_events(&sql, "large", 6).await;
    assert_eq!(found[0]["new"]["t"].as_str().map(str::len), Some(1_000_000));
    assert_eq!(found[0]["new"]["b"].as_str().map(str::len), Some(2_000_002));
    assert_eq!(found[0].get("truncated"), None);
    let truncated = [
        json!({"t": text_bytes}),
        json!({"j": text_bytes + 2}),
        json!({"b": text_bytes + 2}),
        json!({"t": text_bytes}),
    ];
    for (event, truncated) in found[1..].iter().zip(&truncated) {
        assert_eq!(event["truncated"], *truncated);
    }
    assert_eq!(found[1]["new"], json!({"id": "2", "j": null, "b": null}));
    assert_eq!(found[5]["new"]["t"], "small");
    let notes = system.wait_for_objects("Note", json!({}), 6).await;
    let last = notes.iter().find(|note| note["row"] == "3").unwrap();
    assert_eq!(last["truncated"], json!({"j": text_bytes + 2}));
    assert!(!last["has"].as_array().unwrap().contains(&json!("j")));
    let peak = peak_bytes(system.server(0).pid());
    println!("the server took {peak} bytes at most");
    // One message is held at a time: its buffer, and what that grew from.
    assert!(peak < 700_000_000, "the server took {peak} bytes");
}

/// The most memory that a process ever had.
fn peak_bytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
