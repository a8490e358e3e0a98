//! Turns replication messages into events. The only I/O: what the catalog knows of a table that is described anew,
//! and large values that an UPDATE left out.

use std::collections::HashMap;
use std::sync::Arc;

use postgres_replication::{Message, OldTuple, Relation, Tuple};
use tidegate_event::change::FORMAT_VERSION;
use tidegate_event::context::{MAX_CONTEXT_BYTES, MESSAGE_PREFIX};
use tidegate_event::{ChangeEvent, EventId, Lsn, Operation, RequestContext, Row};
use tokio::sync::mpsc;

use crate::Error;
use crate::publication::Notice;
use crate::relation::{Catalog, Table};
use crate::row::{Rows, rows};

/// Follows one slot's messages: which transaction is open, whose request it is, what tables look like.
pub(crate) struct Translator {
    epoch: u32,
    transaction: Option<Transaction>,
    /// By relation id.
    tables: HashMap<u32, Table>,
    catalog: Catalog,
    notices: mpsc::UnboundedSender<Notice>,
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

impl Translator {
    /// `notices`: to whoever keeps the publication in step.
    pub fn new(epoch: u32, catalog: Catalog, notices: mpsc::UnboundedSender<Notice>) -> Self {
        Translator {
            epoch,
            transaction: None,
            tables: HashMap::new(),
            catalog,
            notices,
        }
    }

    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Takes the next message in stream order.
    ///
    /// `has`: true for what the log has already; no event is made of it.
    pub async fn take(
        &mut self,
        message: Message,
        has: impl Fn(Lsn, u32) -> bool,
    ) -> Result<Translated, Error> {
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
            Message::Relation(relation) => {
                self.learn(relation).await?;
                Ok(Translated::default())
            }
            Message::Insert { relation, new } => {
                let change = (Operation::Insert, None, Some(new));
                self.change(&relation, change, has).await
            }
            Message::Update { relation, old, new } => {
                let change = (Operation::Update, old, Some(new));
                self.change(&relation, change, has).await
            }
            Message::Delete { relation, old } => {
                let change = (Operation::Delete, Some(old), None);
                self.change(&relation, change, has).await
            }
            Message::Truncate { relations, .. } => Ok(self.truncate(&relations, has)),
            _ => Ok(Translated::default()),
        }
    }

    async fn learn(&mut self, relation: Arc<Relation>) -> Result<(), Error> {
        let known = self.tables.get(&relation.id);
        if known.is_some_and(|known| known.relation != relation) {
            // Nobody may be listening while capture stops.
            let _ = self.notices.send(Notice::Changed);
        }
        let id = relation.id;
        let table = self.catalog.learn(relation, known).await?;
        self.tables.insert(id, table);
        Ok(())
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

    async fn change(
        &mut self,
        relation: &Arc<Relation>,
        (operation, old, new): (Operation, Option<OldTuple>, Option<Tuple>),
        has: impl Fn(Lsn, u32) -> bool,
    ) -> Result<Translated, Error> {
        let Some(event) = self.event(relation, operation, has) else {
            return Ok(Translated::default());
        };
        let table = self
            .tables
            .entry(relation.id)
            .or_insert_with(|| Table::new(Arc::clone(relation)));
        let rows = rows(table, old.as_ref(), new.as_ref());
        let context_bytes = self
            .transaction
            .as_ref()
            .map_or(0, |open| open.context_bytes);
        let bytes = context_bytes + rows.bytes;
        let mut event = with_rows(event, rows);
        if !event.unchanged_toast.is_empty() {
            let _ = self.notices.send(Notice::LacksValues(relation.id));
            self.catalog.fill(table, &mut event).await?;
        }
        Ok(Translated {
            events: vec![event],
            end_lsn: None,
            bytes,
        })
    }

    /// One event for each table that a TRUNCATE names or cascades to.
    fn truncate(
        &mut self,
        relations: &[Arc<Relation>],
        has: impl Fn(Lsn, u32) -> bool,
    ) -> Translated {
        let event = |relation: &Arc<Relation>| self.event(relation, Operation::Truncate, &has);
        Translated {
            events: relations.iter().filter_map(event).collect(),
            ..Translated::default()
        }
    }

    /// An event without rows; None for what the log has, and outside a transaction, where Postgres sends no changes.
    fn event(
        &mut self,
        relation: &Relation,
        operation: Operation,
        has: impl Fn(Lsn, u32) -> bool,
    ) -> Option<ChangeEvent> {
        let transaction = self.transaction.as_mut()?;
        let ordinal = transaction.next_ordinal;
        transaction.next_ordinal += 1;
        if has(transaction.commit_lsn, ordinal) {
            return None;
        }
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
}

fn with_rows(event: ChangeEvent, rows: Rows) -> ChangeEvent {
    ChangeEvent {
        key: rows.key,
        old: rows.old,
        new: rows.new,
        changed: rows.changed,
        unchanged_toast: rows.unchanged_toast,
        truncated: rows.truncated,
        ..event
    }
}
