//! Turns replication messages into events. The only I/O: asking which columns are a table's primary key.

use std::collections::HashMap;
use std::sync::Arc;

use postgres_replication::{Message, OldTuple, Relation, Tuple, Value};
use tidegate_event::change::FORMAT_VERSION;
use tidegate_event::context::{MAX_CONTEXT_BYTES, MESSAGE_PREFIX};
use tidegate_event::{ChangeEvent, EventId, Lsn, Operation, RequestContext, Row};

use crate::Error;
use crate::secret::is_secret;

/// Follows one slot's messages: which transaction is open, whose request it is, what tables look like.
pub(crate) struct Translator {
    epoch: u32,
    transaction: Option<Transaction>,
    /// Primary key columns by relation id.
    keys: HashMap<u32, Vec<String>>,
    primary_keys: PrimaryKeys,
}

struct Transaction {
    commit_lsn: Lsn,
    commit_time_us: i64,
    xid: u32,
    next_ordinal: u32,
    /// Of the last logical message; describes the rows after it.
    context: RequestContext,
    /// Of the message; every row after it carries the context.
    context_bytes: usize,
}

/// What one message came to.
#[derive(Default)]
pub(crate) struct Translated {
    pub events: Vec<ChangeEvent>,
    /// Set where no transaction is open any more: everything up to here has been seen.
    pub end_lsn: Option<Lsn>,
    /// Of the row's values.
    pub bytes: usize,
}

/// Asks the catalog for primary keys: with REPLICA IDENTITY FULL the protocol calls every column a key.
pub(crate) struct PrimaryKeys {
    pub client: tokio_postgres::Client,
}

impl PrimaryKeys {
    async fn of(&self, relation: &Relation) -> Result<Vec<String>, Error> {
        let rows = self
            .client
            .query(
                "select a.attname::text
                   from pg_index i join pg_attribute a
                     on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                  where i.indrelid = $1 and i.indisprimary order by array_position(i.indkey, a.attnum)",
                &[&relation.id],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

impl Translator {
    pub fn new(epoch: u32, primary_keys: PrimaryKeys) -> Self {
        Translator {
            epoch,
            transaction: None,
            keys: HashMap::new(),
            primary_keys,
        }
    }

    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// The relation that `message` describes anew, if it does: to be learnt before the message is taken.
    pub fn unknown_relation(&self, message: &Message) -> Option<Arc<Relation>> {
        match message {
            Message::Relation(relation) => Some(Arc::clone(relation)),
            _ => None,
        }
    }

    /// Remembers the primary key of a relation, as the catalog has it now.
    pub async fn learn(&mut self, relation: Arc<Relation>) -> Result<(), Error> {
        let key = self.primary_keys.of(&relation).await?;
        self.keys.insert(relation.id, key);
        Ok(())
    }

    /// Takes the next message in stream order.
    pub fn take(&mut self, message: Message) -> Result<Translated, Error> {
        match message {
            Message::Begin {
                final_lsn,
                commit_time_us,
                xid,
            } => {
                self.transaction = Some(Transaction {
                    commit_lsn: Lsn(final_lsn),
                    commit_time_us,
                    xid,
                    next_ordinal: 0,
                    context: RequestContext::direct_sql(),
                    context_bytes: 0,
                });
                Ok(Translated::default())
            }
            Message::Commit { end_lsn, .. } => {
                self.transaction = None;
                Ok(Translated {
                    end_lsn: Some(Lsn(end_lsn)),
                    ..Translated::default()
                })
            }
            Message::Keepalive { wal_end, .. } if self.transaction.is_none() => Ok(Translated {
                end_lsn: Some(Lsn(wal_end)),
                ..Translated::default()
            }),
            Message::Logical {
                transactional: true,
                prefix,
                content,
                ..
            } if prefix == MESSAGE_PREFIX => {
                self.set_context(&content);
                Ok(Translated::default())
            }
            Message::Insert { relation, new } => {
                Ok(self.change(&relation, Operation::Insert, None, Some(new)))
            }
            Message::Update { relation, old, new } => {
                Ok(self.change(&relation, Operation::Update, old, Some(new)))
            }
            Message::Delete { relation, old } => {
                Ok(self.change(&relation, Operation::Delete, Some(old), None))
            }
            Message::Truncate { relations, .. } => Ok(self.truncate(&relations)),
            _ => Ok(Translated::default()),
        }
    }

    fn set_context(&mut self, content: &[u8]) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        // Anybody who can write SQL can write such a message; a broken or huge one must not stop the stream.
        if content.len() > MAX_CONTEXT_BYTES {
            tracing::warn!(
                xid = transaction.xid,
                bytes = content.len(),
                "a request context is too long and is left out"
            );
            transaction.context = RequestContext::direct_sql();
            return;
        }
        transaction.context_bytes = content.len();
        transaction.context = serde_json::from_slice(content).unwrap_or_else(|error| {
            tracing::warn!(%error, xid = transaction.xid, "a logical message with our prefix is not a request context");
            RequestContext::direct_sql()
        });
    }

    fn change(
        &mut self,
        relation: &Relation,
        operation: Operation,
        old: Option<OldTuple>,
        new: Option<Tuple>,
    ) -> Translated {
        let context_bytes = self
            .transaction
            .as_ref()
            .map_or(0, |open| open.context_bytes);
        let bytes = context_bytes
            + new.iter().map(tuple_bytes).sum::<usize>()
            + old.iter().map(old_bytes).sum::<usize>();
        let old = old.map(|old| old_row(relation, old));
        let (new, unchanged_toast) = match new {
            Some(tuple) => {
                let (row, missing) = new_row(relation, tuple, old.as_ref());
                (Some(row), missing)
            }
            None => (None, Vec::new()),
        };
        let changed = match (&old, &new) {
            (Some(old), Some(new)) => changed_columns(old, new),
            _ => Vec::new(),
        };
        let key = self.key(relation, new.as_ref().or(old.as_ref()));
        let event = self.event(relation, operation).map(|event| ChangeEvent {
            key,
            old,
            new,
            changed,
            unchanged_toast,
            ..event
        });
        Translated {
            events: event.into_iter().collect(),
            end_lsn: None,
            bytes,
        }
    }

    /// One event for each table that a TRUNCATE names or cascades to.
    fn truncate(&mut self, relations: &[Arc<Relation>]) -> Translated {
        let event = |relation: &Arc<Relation>| self.event(relation, Operation::Truncate);
        Translated {
            events: relations.iter().filter_map(event).collect(),
            ..Translated::default()
        }
    }

    /// An event without rows; None outside a transaction, where Postgres sends no changes.
    fn event(&mut self, relation: &Relation, operation: Operation) -> Option<ChangeEvent> {
        let transaction = self.transaction.as_mut()?;
        let ordinal = transaction.next_ordinal;
        transaction.next_ordinal += 1;
        Some(ChangeEvent {
            v: FORMAT_VERSION,
            id: EventId {
                epoch: self.epoch,
                commit_lsn: transaction.commit_lsn,
                ordinal,
            },
            xid: transaction.xid,
            commit_time_us: transaction.commit_time_us,
            schema: relation.schema.clone(),
            table: relation.table.clone(),
            operation,
            key: Row::new(),
            old: None,
            new: None,
            changed: Vec::new(),
            unchanged_toast: Vec::new(),
            truncated: Default::default(),
            context: transaction.context.clone(),
        })
    }

    fn key(&self, relation: &Relation, row: Option<&Row>) -> Row {
        let (Some(row), Some(columns)) = (row, self.keys.get(&relation.id)) else {
            return Row::new();
        };
        columns
            .iter()
            .filter_map(|name| Some((name.clone(), row.get(name)?.clone())))
            .collect()
    }
}

fn old_row(relation: &Relation, old: OldTuple) -> Row {
    let (tuple, only_key) = match old {
        OldTuple::Full(tuple) => (tuple, false),
        OldTuple::Key(tuple) => (tuple, true),
    };
    let columns = relation.columns.iter().zip(tuple);
    columns
        .filter(|(column, _)| !only_key || column.is_key)
        .filter(|(column, _)| !is_secret(&relation.table, &column.name))
        .filter_map(|(column, value)| Some((column.name.clone(), text(value)?)))
        .collect()
}

/// The new row, large values that did not change filled in from the old one; and the names of those that could not be.
fn new_row(relation: &Relation, tuple: Tuple, old: Option<&Row>) -> (Row, Vec<String>) {
    let mut row = Row::new();
    let mut missing = Vec::new();
    for (column, value) in relation.columns.iter().zip(tuple) {
        if is_secret(&relation.table, &column.name) {
            continue;
        }
        let known = text(value).or_else(|| old?.get(&column.name).cloned());
        match known {
            Some(value) => {
                row.insert(column.name.clone(), value);
            }
            None => missing.push(column.name.clone()),
        }
    }
    (row, missing)
}

/// A column's value; None when the WAL did not carry it.
fn text(value: Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        Value::UnchangedToast => None,
        // Postgres sends the database's encoding, which the connection sets to UTF-8.
        Value::Text(bytes) => Some(Some(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

fn changed_columns(old: &Row, new: &Row) -> Vec<String> {
    let differs =
        |(name, value): &(&String, &Option<String>)| old.get(*name).is_none_or(|old| old != *value);
    // With only the key known of the old row, nothing can be said of the other columns.
    if old.len() < new.len() {
        return Vec::new();
    }
    new.iter()
        .filter(differs)
        .map(|(name, _)| name.clone())
        .collect()
}

fn tuple_bytes(tuple: &Tuple) -> usize {
    let size = |value: &Value| match value {
        Value::Text(bytes) => bytes.len(),
        Value::Null | Value::UnchangedToast => 1,
    };
    tuple.iter().map(size).sum()
}

fn old_bytes(old: &OldTuple) -> usize {
    match old {
        OldTuple::Key(tuple) | OldTuple::Full(tuple) => tuple_bytes(tuple),
    }
}
