//! How an after-trigger is to be run: what its author chose, and what the server's defaults leave open.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The options of `Parse.Cloud.afterSave(class, handler, options)`, or of a webhook in `tidegate.toml`.
///
/// `None`: the server's default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// Attempts in all before a delivery is a dead letter, the first included.
    pub attempts: Option<u32>,
    pub backoff: Option<Backoff>,
    pub timeout_ms: Option<u64>,
    /// Most deliveries of this trigger that run at once, in all processes together.
    pub concurrency: Option<u32>,
    /// Most deliveries of this trigger begun within a time, in all processes together.
    pub rate: Option<Rate>,
    /// `{ order: 'none' }`: deliveries of one object may overlap and overtake one another.
    pub unordered: bool,
    /// `{ effects: 'off' }`: what a repeated attempt writes is written again.
    pub unrecorded: bool,
    /// The handler needs the row before the change: its table gets REPLICA IDENTITY FULL.
    pub original: bool,
}

/// Exponential backoff: the n-th wait is at most `initial × factor^(n-1)`, never more than `max`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    pub initial_ms: u64,
    pub factor: f64,
    pub max_ms: u64,
}

/// `count` in every `per_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    pub count: u32,
    pub per_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            attempts: None,
            backoff: None,
            timeout_ms: None,
            concurrency: None,
            rate: None,
            unordered: false,
            unrecorded: false,
            // Not to know whether a handler needs it is to need it.
            original: true,
        }
    }
}

impl Policy {
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    /// True when deliveries of this trigger must be counted together, wherever they run.
    pub fn is_limited(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some()
    }
}
