//! One row as the table has it against what the log last knew of it. Pure.

use std::collections::BTreeMap;

use tidegate_event::change::FORMAT_VERSION;
use tidegate_event::{ChangeEvent, EventId, Operation, RequestContext, Row, Source};

use crate::compare::Table;
use crate::row::MAX_VALUE_BYTES;

/// One change that the log missed.
#[derive(Debug, PartialEq)]
pub(crate) struct Difference {
    pub operation: Operation,
    key: Row,
    /// Who wrote the row; 0 for a row that is gone.
    xid: u32,
    old: Option<Row>,
    new: Option<Row>,
    changed: Vec<String>,
    truncated: BTreeMap<String, u64>,
}

/// A row as the table has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub row: Row,
    pub truncated: BTreeMap<String, u64>,
    pub xid: u32,
    /// Written so late that the log may have missed it.
    pub is_recent: bool,
}

/// What the log missed of one row. `known`: its latest event, unless the log saw it go.
pub(crate) fn difference(
    key: &[String],
    known: Option<ChangeEvent>,
    found: Option<Found>,
) -> Option<Difference> {
    let Some(found) = found else {
        let known = known?;
        return Some(Difference {
            operation: Operation::Delete,
            key: known.key,
            xid: 0,
            old: known.new,
            new: None,
            changed: Vec::new(),
            truncated: known.truncated,
        });
    };
    let changed = match &known {
        Some(known) => {
            let changed = changed_columns(known, &found);
            if changed.is_empty() {
                return None;
            }
            changed
        }
        None => Vec::new(),
    };
    let named = |name: &String| Some((name.clone(), found.row.get(name)?.clone()));
    let key = key.iter().filter_map(named).collect();
    let found = shortened(found);
    Some(Difference {
        operation: match known {
            Some(_) => Operation::Update,
            None => Operation::Insert,
        },
        key,
        xid: found.xid,
        old: known.and_then(|known| known.new),
        new: Some(found.row),
        changed,
        truncated: found.truncated,
    })
}

/// Columns whose value is not the one the log knows. A column that the log does not know counts only if it holds
/// something and the row was written late: a migration that adds one writes no row.
fn changed_columns(known: &ChangeEvent, found: &Found) -> Vec<String> {
    let none = Row::new();
    let row = known.new.as_ref().unwrap_or(&none);
    let is_unknown = |name: &String| known.unchanged_toast.contains(name);
    let values = found.row.iter().filter(|(name, value)| {
        match (row.get(*name), known.truncated.get(*name)) {
            (Some(before), _) => before != *value,
            // Of a value that an event left out, only its length is known.
            (None, Some(bytes)) => value.as_ref().map(|value| value.len() as u64) != Some(*bytes),
            (None, None) => !is_unknown(name) && found.is_recent && value.is_some(),
        }
    });
    let large = found.truncated.iter().filter(|(name, bytes)| {
        match (row.get(*name), known.truncated.get(*name)) {
            (Some(_), _) => true,
            (None, Some(before)) => before != *bytes,
            (None, None) => !is_unknown(name) && found.is_recent,
        }
    });
    let mut changed: Vec<String> = values.map(|(name, _)| name.clone()).collect();
    changed.extend(large.map(|(name, _)| name.clone()));
    changed.sort_unstable();
    changed
}

/// Leaves out the largest values of a row that is too large for an event, as capture does.
fn shortened(mut found: Found) -> Found {
    loop {
        let bytes = |(_, value): &(&String, &Option<String>)| value.as_ref().map_or(0, String::len);
        if found.row.iter().map(|value| bytes(&value)).sum::<usize>() <= MAX_VALUE_BYTES {
            return found;
        }
        let Some((name, _)) = found.row.iter().max_by_key(bytes) else {
            return found;
        };
        let name = name.clone();
        if let Some(Some(value)) = found.row.remove(&name) {
            found.truncated.insert(name, value.len() as u64);
        }
    }
}

impl Difference {
    /// Of the rows' values.
    pub fn bytes(&self) -> usize {
        let rows = self.old.iter().chain(&self.new);
        let values = rows.flat_map(|row| row.iter());
        values
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
            .sum()
    }

    pub fn into_event(self, table: &Table, id: EventId, commit_time_us: i64) -> ChangeEvent {
        ChangeEvent {
            v: FORMAT_VERSION,
            id,
            xid: self.xid,
            commit_time_us,
            schema: table.schema.clone(),
            table: table.name.clone(),
            operation: self.operation,
            key: self.key,
            old: self.old,
            new: self.new,
            changed: self.changed,
            unchanged_toast: Vec::new(),
            truncated: self.truncated,
            context: RequestContext {
                source: Source::Recovered,
                ..RequestContext::direct_sql()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[(&str, &str)]) -> Row {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        values.iter().map(owned).collect()
    }

    fn known(new: Row) -> ChangeEvent {
        let table = Table {
            schema: "public".into(),
            name: "t".into(),
            quoted: "public.t".into(),
            columns: Vec::new(),
            key: Vec::new(),
        };
        let found = Found {
            row: new,
            ..Found::default()
        };
        let difference = difference(&["id".to_owned()], None, Some(found)).unwrap();
        assert_eq!(difference.operation, Operation::Insert);
        let id = EventId {
            epoch: 1,
            commit_lsn: tidegate_event::Lsn(1),
            ordinal: 0,
        };
        difference.into_event(&table, id, 0)
    }

    fn compared(known: ChangeEvent, row: Row, is_recent: bool) -> Option<Vec<String>> {
        let found = Found {
            row,
            is_recent,
            ..Found::default()
        };
        let difference = difference(&["id".to_owned()], Some(known), Some(found))?;
        assert_eq!(difference.operation, Operation::Update);
        Some(difference.changed)
    }

    #[test]
    fn only_what_the_log_knows_otherwise_is_a_difference() {
        let before = || known(row(&[("id", "1"), ("a", "x")]));
        assert_eq!(
            compared(before(), row(&[("id", "1"), ("a", "x")]), true),
            None
        );
        let other = row(&[("id", "1"), ("a", "y")]);
        assert_eq!(compared(before(), other, false), Some(vec!["a".into()]));
        let wider = || row(&[("id", "1"), ("a", "x"), ("new", "v")]);
        assert_eq!(
            compared(before(), wider(), false),
            None,
            "a column was added"
        );
        assert_eq!(compared(before(), wider(), true), Some(vec!["new".into()]));
        let mut lacking = before();
        lacking.unchanged_toast.push("new".into());
        assert_eq!(compared(lacking, wider(), true), None, "it was never known");
    }

    #[test]
    fn values_too_large_for_an_event_are_left_out_and_compared_by_length() {
        let large = "x".repeat(MAX_VALUE_BYTES / 2 + 1);
        let whole = || row(&[("id", "1"), ("a", &large), ("b", &large)]);
        let before = known(whole());
        assert_eq!(before.truncated.len(), 1);
        assert_eq!(before.new.as_ref().unwrap().len(), 2);
        assert_eq!(compared(before.clone(), whole(), true), None);
        let longer = row(&[("id", "1"), ("a", "short"), ("b", "short")]);
        assert_eq!(compared(before, longer, false).unwrap(), ["a", "b"]);
    }
}
