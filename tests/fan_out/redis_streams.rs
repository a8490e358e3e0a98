//! A sink on Redis Streams.

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tidegate_testkit::Redis;

use super::version;
use crate::system::{PATIENCE, breathe};

pub(super) const STREAM: &str = "changes";

/// What a sink of this name has filled.
pub(super) struct Target {
    pub redis: Redis,
}

impl Target {
    pub fn start() -> Target {
        Target {
            redis: Redis::durable(),
        }
    }

    /// What `tidegate.toml` says of it.
    pub fn sink(&self) -> String {
        format!(
            "[[sinks]]\nname = \"target\"\nkind = \"redis-streams\"\nurl = \"{}\"\nstream = \"{STREAM}\"\n\
             classes = [\"Item\"]\nfrom = \"start\"\n",
            self.redis.url()
        )
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// (entry id, event id, event) of each entry, in order.
    pub async fn entries(&self) -> Vec<(String, String, Value)> {
        let mut connection = self.connect().await;
        let found: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
            .arg(&[STREAM, "-", "+"])
            .query_async(&mut connection)
            .await
            .unwrap();
        let entry = |entry: redis::streams::StreamId| {
            let text = |name| entry.get::<String>(name).unwrap();
            let event = serde_json::from_str(&text("event")).unwrap();
            (entry.id.clone(), text("id"), event)
        };
        found.ids.into_iter().map(entry).collect()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<(String, String, Value)> {
        let begun = std::time::Instant::now();
        loop {
            let entries = self.entries().await;
            if entries.len() >= count {
                return entries;
            }
            let found = entries.len();
            assert!(begun.elapsed() < PATIENCE, "{found} of {count}");
            breathe().await;
        }
    }

    /// Waits until these versions are there, and checks that each is there once, in order, under its own offset.
    pub async fn check(&self, versions: &[i64]) {
        let entries = self.wait_for(versions.len()).await;
        let found: Vec<i64> = entries.iter().map(|(_, _, event)| version(event)).collect();
        assert_eq!(found, versions, "each once, in order");
        for (entry, id, event) in &entries {
            assert_eq!(entry, &format!("{}-0", event["logOffset"]));
            assert_eq!(&event["id"], id);
        }
    }
}
