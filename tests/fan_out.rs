//! The log followed by others: `GET /events`, and sinks on a real Redis and a real NATS server.

mod events;
mod nats;
mod redis_streams;
mod sinks;
mod stream;

use tokio_postgres::Client;

use crate::system::System;

/// Rows of a class that no trigger captures: `versions` of one object, each an event of its own.
pub(crate) struct Writer {
    client: Client,
    next: i32,
}

impl Writer {
    /// Makes class `Item` with its first object; the table is captured from then on.
    pub async fn new(system: &System) -> Writer {
        let first = serde_json::json!({"version": 0});
        let saved = system
            .call(reqwest::Method::POST, "classes/Item", first)
            .await;
        assert_eq!(saved.status, 201, "{}", saved.body);
        Writer {
            client: system.sql().await,
            next: 1,
        }
    }

    /// Commits `count` changes, each in a transaction of its own.
    pub async fn write(&mut self, count: i32) {
        for _ in 0..count {
            let statement = "update \"Item\" set version = $1";
            let version = f64::from(self.next);
            self.client.execute(statement, &[&version]).await.unwrap();
            self.next += 1;
        }
    }

    /// The versions committed so far, in order.
    pub fn versions(&self) -> Vec<i64> {
        (0..i64::from(self.next)).collect()
    }
}

/// The version that an event's row has.
pub(crate) fn version(event: &serde_json::Value) -> i64 {
    let text = event["new"]["version"].as_str().expect("a row after");
    text.parse::<f64>().unwrap() as i64
}
