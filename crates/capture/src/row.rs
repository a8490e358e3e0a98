//! One row change as events have it: tuples of the stream to columns by name. Pure.

use std::collections::BTreeMap;

use postgres_replication::{OldTuple, Tuple, Value};
use tidegate_event::{Column, Row};

use crate::relation::Table;

/// A longer value, in bytes of text, stays in its table: the event names it in `truncated`. An event is held whole by
/// each process that it passes, most of all by the isolate that runs its handler, and is sent as one frame.
pub(crate) const MAX_VALUE_BYTES: usize = 8 * 1024 * 1024;

/// Most bytes of values in one event, old and new together; over this its largest values are left out too.
const MAX_EVENT_BYTES: usize = 2 * MAX_VALUE_BYTES;

/// What one change says of its row.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub key: Row,
    pub old: Option<Row>,
    pub new: Option<Row>,
    pub changed: Vec<String>,
    pub unchanged_toast: Vec<String>,
    pub truncated: BTreeMap<String, u64>,
    /// Of all values, those that were left out too.
    pub bytes: usize,
}

/// Reads a change of `table`; secrets are left out, unchanged large values are filled in from the old row.
pub(crate) fn rows(table: &Table, old: Option<&OldTuple>, new: Option<&Tuple>) -> Rows {
    let (old, is_whole) = match old {
        Some(tuple) => (Some(values(tuple)), table.is_whole(tuple)),
        None => (None, false),
    };
    let mut rows = Rows {
        bytes: old.map_or(0, tuple_bytes) + new.map_or(0, tuple_bytes),
        key: key(table, new, old),
        ..Rows::default()
    };
    let mut reader = Reader {
        table,
        limit: value_limit(rows.bytes, old, new),
        truncated: BTreeMap::new(),
    };
    rows.old = old.map(|tuple| {
        let in_row = |at: &&usize| is_whole || table.is_in_old_key(**at);
        let columns = table.open.iter().filter(in_row);
        let columns = columns.filter_map(|at| reader.column(*at, &tuple[*at]));
        columns.collect()
    });
    let old = old.filter(|_| is_whole);
    rows.new = new.map(|tuple| {
        let columns = table.open.iter().filter_map(|at| {
            let known = |tuple: &&Tuple| tuple[*at] != Value::UnchangedToast;
            let Some(tuple) = Some(tuple).filter(known).or(old.filter(known)) else {
                rows.unchanged_toast.push(reader.name(*at));
                return None;
            };
            reader.column(*at, &tuple[*at])
        });
        columns.collect()
    });
    if let (Some(old), Some(new)) = (old, new) {
        // Only a whole old row says what changed.
        let differs = |at: &&usize| new[**at] != Value::UnchangedToast && new[**at] != old[**at];
        let changed = table.open.iter().filter(differs);
        rows.changed = changed.map(|at| reader.name(*at)).collect();
    }
    rows.truncated = reader.truncated;
    rows
}

/// Reads the values of one event.
struct Reader<'a> {
    table: &'a Table,
    /// A longer value is named in `truncated`.
    limit: usize,
    truncated: BTreeMap<String, u64>,
}

impl Reader<'_> {
    fn name(&self, at: usize) -> String {
        self.table.relation.columns[at].name.clone()
    }

    /// None for a value that the event does not have.
    fn column(&mut self, at: usize, value: &Value) -> Option<(String, Column)> {
        let name = self.name(at);
        match value {
            Value::Null => Some((name, None)),
            Value::Text(text) if text.len() > self.limit => {
                self.truncated.insert(name, text.len() as u64);
                None
            }
            Value::Text(text) => Some((name, Some(decoded(text)))),
            Value::UnchangedToast => None,
        }
    }
}

/// The text of a value; Postgres sends UTF-8 as the connection asked, and anything else must not stop the stream.
fn decoded(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn values(old: &OldTuple) -> &Tuple {
    match old {
        OldTuple::Key(tuple) | OldTuple::Full(tuple) => tuple,
    }
}

/// The values of the key's columns: of the new row, and where that does not have them of the old one.
fn key(table: &Table, new: Option<&Tuple>, old: Option<&Tuple>) -> Row {
    let value = |at: usize| {
        let known = |tuple: &&Tuple| tuple[at] != Value::UnchangedToast;
        let value = &new.filter(known).or(old.filter(known))?[at];
        Some(match value {
            Value::Text(text) => Some(decoded(text)),
            Value::Null | Value::UnchangedToast => None,
        })
    };
    let named = |at: &usize| Some((table.relation.columns[*at].name.clone(), value(*at)?));
    table.key.iter().filter_map(named).collect()
}

/// The longest value that the event takes.
fn value_limit(bytes: usize, old: Option<&Tuple>, new: Option<&Tuple>) -> usize {
    if bytes <= MAX_VALUE_BYTES {
        return MAX_VALUE_BYTES;
    }
    let values = || old.into_iter().chain(new).flatten().map(value_bytes);
    let mut limit = MAX_VALUE_BYTES;
    while values().filter(|bytes| *bytes <= limit).sum::<usize>() > MAX_EVENT_BYTES {
        limit /= 2;
    }
    limit
}

fn tuple_bytes(tuple: &Tuple) -> usize {
    tuple.iter().map(value_bytes).sum()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(bytes) => bytes.len(),
        Value::Null | Value::UnchangedToast => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use postgres_replication::{Relation, RelationColumn, ReplicaIdentity};

    use super::*;

    fn table(columns: &[(&str, bool)], identity: ReplicaIdentity) -> Table {
        let columns = columns.iter().map(|(name, is_key)| RelationColumn {
            name: (*name).to_owned(),
            type_oid: 25,
            type_modifier: -1,
            is_key: *is_key,
        });
        Table::new(Arc::new(Relation {
            id: 1,
            schema: "public".into(),
            table: "t".into(),
            replica_identity: identity,
            columns: columns.collect(),
        }))
    }

    fn text(value: impl Into<Vec<u8>>) -> Value {
        Value::Text(value.into().into())
    }

    fn row(values: &[(&str, Option<&str>)]) -> Row {
        let owned =
            |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        values.iter().map(owned).collect()
    }

    #[test]
    fn an_unchanged_large_value_comes_from_the_old_row_or_is_named() {
        let whole = table(
            &[("id", true), ("doc", true), ("n", true)],
            ReplicaIdentity::Full,
        );
        let old = OldTuple::Full(vec![text("1"), text("large"), text("1")]);
        let new = vec![text("1"), Value::UnchangedToast, text("2")];
        let read = rows(&whole, Some(&old), Some(&new));
        assert_eq!(
            read.new,
            Some(row(&[
                ("id", Some("1")),
                ("doc", Some("large")),
                ("n", Some("2"))
            ]))
        );
        assert_eq!(
            (read.changed, read.unchanged_toast),
            (vec!["n".to_owned()], vec![])
        );

        let by_key = table(
            &[("id", true), ("doc", false), ("n", false)],
            ReplicaIdentity::Default,
        );
        let read = rows(&by_key, None, Some(&new));
        assert_eq!(read.new, Some(row(&[("id", Some("1")), ("n", Some("2"))])));
        assert_eq!(read.unchanged_toast, ["doc"]);
        assert!(read.changed.is_empty(), "nothing is known of the old row");
        assert_eq!(read.key, row(&[("id", Some("1"))]));
    }

    #[test]
    fn of_an_old_key_only_the_key_is_shown() {
        let table = table(&[("id", true), ("n", false)], ReplicaIdentity::Default);
        let old = OldTuple::Key(vec![text("1"), Value::Null]);
        let read = rows(&table, Some(&old), None);
        assert_eq!(
            (read.key, read.old),
            (row(&[("id", Some("1"))]), Some(row(&[("id", Some("1"))])))
        );
    }

    #[test]
    fn a_value_over_the_limit_is_named_with_its_bytes_and_still_seen_to_change() {
        let table = table(
            &[("id", true), ("a", true), ("b", true)],
            ReplicaIdentity::Full,
        );
        let large = |byte: u8, more: usize| text(vec![byte; MAX_VALUE_BYTES + more]);
        let old = OldTuple::Full(vec![text("1"), large(b'a', 1), large(b'b', 0)]);
        let new = vec![text("1"), large(b'c', 1), Value::UnchangedToast];
        let read = rows(&table, Some(&old), Some(&new));
        assert_eq!(
            read.truncated,
            BTreeMap::from([("a".to_owned(), MAX_VALUE_BYTES as u64 + 1)])
        );
        let new = read.new.unwrap();
        assert!(!new.contains_key("a") && !read.old.unwrap().contains_key("a"));
        assert_eq!(new["b"].as_ref().map(String::len), Some(MAX_VALUE_BYTES));
        assert_eq!(read.changed, ["a"]);
    }

    #[test]
    fn many_values_that_are_large_together_are_left_out_largest_first() {
        let names: Vec<String> = (0..12).map(|n| format!("c{n:02}")).collect();
        let columns: Vec<(&str, bool)> = names.iter().map(|name| (name.as_str(), false)).collect();
        let table = table(&columns, ReplicaIdentity::Default);
        let sizes = (0..12).map(|n| if n < 10 { 5_000_000 } else { 1_000_000 });
        let new: Tuple = sizes.map(|bytes| text(vec![b'x'; bytes])).collect();
        let read = rows(&table, None, Some(&new));
        assert_eq!(read.truncated.len(), 10);
        assert_eq!(read.new.unwrap().len(), 2);
    }
}
