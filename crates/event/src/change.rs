//! The event itself, and its stored form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EventId, RequestContext};

/// The version written into every stored event; readers accept this one and those before it.
pub const FORMAT_VERSION: u16 = 1;

/// A longer value, in bytes of text, stays in its table: the event names it in `truncated`.
pub const MAX_VALUE_BYTES: usize = 8 * 1024 * 1024;

/// One row: column name → its value.
pub type Row = BTreeMap<String, Column>;

/// One column's value as Postgres prints it, which loses nothing; `None` is SQL NULL.
pub type Column = Option<String>;

/// What happened to the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Operation {
    /// As in the stored form.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Truncate => "truncate",
        }
    }
}

/// One committed change of one row (or one TRUNCATE of one table).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeEvent {
    /// [`FORMAT_VERSION`] of the writer.
    pub v: u16,
    pub id: EventId,
    pub xid: u32,
    /// Commit time, microseconds since 1970-01-01 UTC.
    pub commit_time_us: i64,
    pub schema: String,
    pub table: String,
    pub operation: Operation,
    /// The replica identity's columns; what order and lanes go by.
    pub key: Row,
    /// The row before: whole with REPLICA IDENTITY FULL, else only what Postgres sent. None for an insert.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<Row>,
    /// The row after. None for a delete and a truncate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<Row>,
    /// Columns that differ between `old` and `new`; all columns of an insert are left out here.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changed: Vec<String>,
    /// Columns whose large value did not change and that the WAL did not carry; absent in `new`, never null.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unchanged_toast: Vec<String>,
    /// Columns whose value is too large for an event, with its bytes of text; absent in `old` and `new`. The row in
    /// the table, found by `key`, has it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub truncated: BTreeMap<String, u64>,
    pub context: RequestContext,
}

impl ChangeEvent {
    /// The Parse class of this table, when it is in the schema Parse uses.
    pub fn class(&self) -> Option<&str> {
        (self.schema == "public").then_some(self.table.as_str())
    }

    /// The name order goes by: after-triggers of equal keys run one at a time, in commit order.
    pub fn order_key(&self) -> String {
        let mut text = format!("{}.{}", self.schema, self.table);
        for value in self.key.values() {
            text.push('\u{1f}');
            text.push_str(value.as_deref().unwrap_or("\u{0}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first version stored it; the log of a running system is full of these during an upgrade.
    const FIRST: &str = r#"{"v":1,"id":"1-0.16B37D48-0","xid":741,"commitTimeUs":1764000000000000,"schema":"public",
        "table":"Order","operation":"update","key":{"objectId":"a"},"old":{"objectId":"a","n":"1"},
        "new":{"objectId":"a","n":"2","gone":null},"changed":["n"],"context":{"source":"api","master":false,
        "user":"u1","depth":0,"ops":{"n":{"__op":"Increment","amount":1}}}}"#;

    #[test]
    fn an_event_of_the_version_before_is_read() {
        let event: ChangeEvent = serde_json::from_str(FIRST).unwrap();
        assert_eq!(event.new.as_ref().unwrap()["gone"], None);
        assert_eq!(event.context.user.as_deref(), Some("u1"));
        assert!(event.truncated.is_empty() && event.context.chain.is_empty());
    }

    #[test]
    fn an_event_of_the_version_after_is_read_without_what_is_new_in_it() {
        let later = FIRST
            .replace(r#""v":1,"#, r#""v":2,"novelty":{"deep":[1]},"#)
            .replace(r#""depth":0,"#, r#""depth":0,"novelty":true,"#);
        let first: ChangeEvent = serde_json::from_str(FIRST).unwrap();
        let event: ChangeEvent = serde_json::from_str(&later).unwrap();
        assert_eq!(ChangeEvent { v: 1, ..event }, first);
    }

    #[test]
    fn what_is_written_today_is_what_was_written_first() {
        let event: ChangeEvent = serde_json::from_str(FIRST).unwrap();
        let written: serde_json::Value = serde_json::to_value(&event).unwrap();
        let first: serde_json::Value = serde_json::from_str(FIRST).unwrap();
        assert_eq!(written, first);
    }
}
