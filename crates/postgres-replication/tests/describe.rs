//! One readable line for each message: what tests compare.

use postgres_replication::{Message, OldTuple, Relation, Tuple, Value};

/// Positions, times and numbers that differ from run to run are left out.
pub fn describe(message: &Message) -> String {
    match message {
        Message::Begin { .. } => "begin".to_owned(),
        Message::Commit { .. } => "commit".to_owned(),
        Message::Relation(relation) => format!(
            "relation {}.{} {:?} [{}]",
            relation.schema,
            relation.table,
            relation.replica_identity,
            join(&relation.columns, |column| {
                format!("{}{}", column.name, if column.is_key { "*" } else { "" })
            })
        ),
        Message::Insert { relation, new } => format!("insert {} ({})", relation.table, tuple(new)),
        Message::Update { relation, old, new } => {
            format!(
                "update {}{} to ({})",
                relation.table,
                old_tuple(old.as_ref()),
                tuple(new)
            )
        }
        Message::Delete { relation, old } => {
            format!("delete {}{}", relation.table, old_tuple(Some(old)))
        }
        Message::Truncate {
            relations,
            cascade,
            restart_identity,
        } => format!(
            "truncate {} cascade={cascade} restart_identity={restart_identity}",
            join(relations, |relation: &std::sync::Arc<Relation>| relation
                .table
                .clone())
        ),
        Message::Logical {
            transactional,
            prefix,
            content,
            ..
        } => {
            let content = String::from_utf8_lossy(content);
            format!("message {prefix} {content:?} transactional={transactional}")
        }
        Message::Type { schema, name, .. } => format!("type {schema}.{name}"),
        Message::Origin { name, .. } => format!("origin {name}"),
        Message::Keepalive { .. } => "keepalive".to_owned(),
    }
}

fn old_tuple(old: Option<&OldTuple>) -> String {
    match old {
        None => String::new(),
        Some(OldTuple::Key(values)) => format!(" key ({})", tuple(values)),
        Some(OldTuple::Full(values)) => format!(" full ({})", tuple(values)),
    }
}

/// A long text is shown as its first character and its length in bytes.
fn tuple(values: &Tuple) -> String {
    join(values, |value| match value {
        Value::Null => "null".to_owned(),
        Value::UnchangedToast => "unchanged".to_owned(),
        Value::Text(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            match text.chars().next() {
                Some(first) if bytes.len() > 40 => format!("{first}×{}", bytes.len()),
                _ => format!("{text:?}"),
            }
        }
    })
}

fn join<T>(items: &[T], show: impl FnMut(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}
