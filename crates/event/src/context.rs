//! What the write path knows about a change and the WAL does not carry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::EventId;

/// The prefix of the logical message that carries a [`RequestContext`] into the WAL.
pub const MESSAGE_PREFIX: &str = "tidegate";

/// The most bytes of a [`RequestContext`] that are put into the WAL; a larger one is refused before the commit.
pub const MAX_CONTEXT_BYTES: usize = 256 * 1024;

/// Who asked for a change and how; written by `pg_logical_emit_message(true, 'tidegate', …)` just before the row it describes.
///
/// The last message before a row within its transaction describes that row. A row without one came by direct SQL:
/// [`RequestContext::direct_sql`]. Never holds a secret: no session token, no password, no key; headers are an allow-list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestContext {
    pub source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// objectId of the `_User` who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub master: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Parse's `context`: a JSON object that before-triggers hand to after-triggers.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// Parse op log: what this request did to each field, as REST JSON (`{"n":{"__op":"Increment","amount":1}}`).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub ops: Map<String, Value>,
    /// The event whose handler made this change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<EventId>,
    /// 0 for a request from outside, one more with each trigger in between.
    pub depth: u32,
    /// The triggers in between, the first first, each as `afterSave:Order 1-0.16B37D48-0` (trigger, event).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The release whose code was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Who waits for this change's after-triggers, if anybody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
}

/// The address of a waiting request: a process and its own number for the write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    pub process: String,
    pub token: u64,
}

/// Where a change came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The HTTP API.
    Api,
    /// psql, a migration, another program.
    #[default]
    Sql,
    /// Cloud code that ran as a trigger.
    Trigger,
    /// Cloud code that ran as a job.
    Job,
    /// A backfill over existing rows.
    Backfill,
    /// Found by comparing tables with the log, after the slot had been lost.
    Recovered,
}

impl RequestContext {
    /// The context of a change that no Tidegate process made: whoever can write SQL holds all rights.
    pub fn direct_sql() -> Self {
        RequestContext {
            source: Source::Sql,
            master: true,
            ..RequestContext::default()
        }
    }
}
