//! The cleanup: what is old goes, what is young stays, and each row is counted once even if the worker is killed.

use serde_json::json;

use super::{ended, make, project, shop, start, succeeded};
use crate::system::System;

/// Visits of a hundred days ago, and thirty of today.
async fn with_visits(system: &System, old: u32) {
    make(system, "Visit", json!({"page": "/"})).await;
    let insert = format!(
        "insert into \"Visit\" (\"objectId\", \"createdAt\", \"updatedAt\", page)
         select 'v' || lpad(n::text, 9, '0'), at, at, '/'
           from generate_series(1, {old} + 29) as n,
                lateral (select now() - case when n <= {old} then interval '100 days' else interval '89 days' end) as age (at)"
    );
    system.sql().await.execute(&insert, &[]).await.unwrap();
}

#[tokio::test]
async fn old_visits_are_deleted_each_once_though_the_worker_is_killed() {
    let mut system = project(1).await;
    system.serve("proxy,capture,dispatch,scheduler");
    with_visits(&system, 2203).await;
    let first = system.serve("worker");
    let run = start(&system, "nightlyCleanup", json!({"days": 90})).await;
    // Somewhere within the second batch.
    system
        .wait_for_sql("select count(*) < 1700 from \"Visit\"")
        .await;
    system.server(first).kill();
    system.serve("worker");
    let said = succeeded(&system, &run).await;
    assert!(
        said.starts_with("deleted 2203 visits from before "),
        "{said}"
    );
    assert_eq!(system.find("Visit", json!({})).await.len(), 30);
    let attempts = "select attempts from tidegate.run where tidegate.run_name(id) = $1";
    let row = system.sql().await.query_one(attempts, &[&run]).await;
    assert_eq!(row.unwrap().get::<_, i32>(0), 2);
}

#[tokio::test]
async fn days_that_are_none_end_the_run_without_another_attempt() {
    let system = shop(1).await;
    for days in [json!("ninety"), json!(-1), json!(null)] {
        let run = start(&system, "nightlyCleanup", json!({"days": days})).await;
        let status = ended(&system, &run).await;
        assert_eq!(status["status"], "failed", "{status}");
        let said = status["message"].as_str().unwrap();
        assert!(said.contains("days must be a number from 0"), "{said}");
        let attempts = "select attempts from tidegate.run where tidegate.run_name(id) = $1";
        let row = system.sql().await.query_one(attempts, &[&run]).await;
        assert_eq!(row.unwrap().get::<_, i32>(0), 1);
    }
}
