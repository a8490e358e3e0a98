//! Any table of the database: its types, its identity, its changes of shape, its large values.

mod change;
mod identity;
mod kind;
mod large;

use std::time::Instant;

use serde_json::Value;
use tokio_postgres::Client;

use crate::system::{PATIENCE, System, breathe};

/// The log's events of a schema, oldest first.
async fn events(sql: &Client, schema: &str) -> Vec<Value> {
    let rows = sql
        .query("select body from tidegate.event order by log_offset", &[])
        .await
        .unwrap();
    let read = |row: &tokio_postgres::Row| serde_json::from_str::<Value>(row.get(0)).unwrap();
    let events = rows.iter().map(read);
    events.filter(|event| event["schema"] == schema).collect()
}

/// Waits until the log has so many events of a schema.
async fn wait_for_events(sql: &Client, schema: &str, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let found = events(sql, schema).await;
        if found.len() >= count {
            return found;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{} of {count} events: {found:#?}",
            found.len()
        );
        breathe().await;
    }
}

/// The replica identity of a table (`d`, `n`, `f`, `i`) and what is remembered of it.
async fn identity(sql: &Client, table: &str) -> (String, Option<String>) {
    let find = "select c.relreplident::text, k.identity from pg_class c
                  left join tidegate.table_identity k on k.table_oid = c.oid where c.oid = $1::text::regclass";
    let row = sql.query_one(find, &[&table]).await.unwrap();
    (row.get(0), row.get(1))
}

fn write_code(system: &System, main_js: &str) {
    std::fs::write(system.project.path().join("cloud/main.js"), main_js).unwrap();
}
