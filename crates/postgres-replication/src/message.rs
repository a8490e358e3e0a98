//! What the server tells us, decoded: the types a consumer of [`Stream`](crate::Stream) sees.
//!
//! Invariant: no `Debug` here prints what a row holds. Shapes, names and
//! lengths may reach a log; values may not.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One message of the change stream.
///
/// A transaction arrives whole, after its commit: `Begin`, then its changes in
/// the order they were made, then `Commit`. Nothing of a transaction that
/// rolled back ever arrives.
#[derive(Clone, PartialEq)]
pub enum Message {
    /// `final_lsn`: where the commit record begins. `commit_time_us`: microseconds since 1970.
    /// `xid`: the low 32 bits of `pg_current_xact_id()`.
    Begin {
        final_lsn: u64,
        commit_time_us: i64,
        xid: u32,
    },
    /// `commit_lsn` equals `Begin.final_lsn`. `end_lsn` is the first byte after the commit record:
    /// the position to confirm when the transaction is durable.
    Commit {
        commit_lsn: u64,
        end_lsn: u64,
        commit_time_us: i64,
    },
    /// The shape of a table as it was at this point of the WAL; comes before the first change of
    /// that table and again after each DDL. The stream keeps it: later messages carry the `Arc`.
    Relation(Arc<Relation>),
    Insert {
        relation: Arc<Relation>,
        new: Tuple,
    },
    /// `old` is absent under replica identity DEFAULT unless the key changed.
    Update {
        relation: Arc<Relation>,
        old: Option<OldTuple>,
        new: Tuple,
    },
    Delete {
        relation: Arc<Relation>,
        old: OldTuple,
    },
    Truncate {
        relations: Vec<Arc<Relation>>,
        cascade: bool,
        restart_identity: bool,
    },
    /// From `pg_logical_emit_message`. A transactional one stands among the changes of its
    /// transaction in exact order; any other stands between transactions.
    Logical {
        transactional: bool,
        lsn: u64,
        prefix: String,
        content: Bytes,
    },
    /// A type that is not built in, before the relation that uses it.
    Type {
        oid: u32,
        schema: String,
        name: String,
    },
    /// Follows `Begin` when the transaction itself came from a replication origin.
    Origin {
        commit_lsn: u64,
        name: String,
    },
    /// The server has sent everything up to `wal_end`. When every transaction received before it
    /// is durable, `wal_end` may be confirmed: that is how unpublished WAL is released.
    Keepalive {
        wal_end: u64,
        reply_requested: bool,
    },
}

/// A table (or partitioned table) as one Relation message described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub id: u32,
    pub schema: String,
    pub table: String,
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order of each [`Tuple`]'s values.
    pub columns: Vec<RelationColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    pub type_oid: u32,
    pub type_modifier: i32,
    /// Part of the replica identity; under FULL every column is.
    pub is_key: bool,
}

/// Which columns of the old row the WAL carries (`pg_class.relreplident`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    Default,
    Nothing,
    Full,
    Index,
}

/// One value for each of the relation's columns.
pub type Tuple = Vec<Value>;

/// The row before the change, as far as the replica identity has it.
#[derive(Clone, Debug, PartialEq)]
pub enum OldTuple {
    /// Only key columns mean anything; the others are [`Value::Null`] whatever the row held.
    Key(Tuple),
    Full(Tuple),
}

/// A column's value: a slice of the buffer it arrived in, so keeping one keeps up to
/// 256 KiB (or the whole message, if longer). Copy what outlives the batch.
#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    /// A long value that the UPDATE did not touch: not null, not known from this tuple. Under
    /// replica identity FULL the old tuple has it.
    UnchangedToast,
    /// As the type's output function prints it, in UTF-8 unless the database is SQL_ASCII.
    Text(Bytes),
}

impl Message {
    /// The message's name in the protocol's documentation; fit for a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Message::Begin { .. } => "Begin",
            Message::Commit { .. } => "Commit",
            Message::Relation(_) => "Relation",
            Message::Insert { .. } => "Insert",
            Message::Update { .. } => "Update",
            Message::Delete { .. } => "Delete",
            Message::Truncate { .. } => "Truncate",
            Message::Logical { .. } => "Message",
            Message::Type { .. } => "Type",
            Message::Origin { .. } => "Origin",
            Message::Keepalive { .. } => "Keepalive",
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Message::Relation(relation)
            | Message::Insert { relation, .. }
            | Message::Update { relation, .. }
            | Message::Delete { relation, .. } => {
                write!(f, "({}.{})", relation.schema, relation.table)
            }
            Message::Begin { final_lsn: lsn, .. }
            | Message::Commit { end_lsn: lsn, .. }
            | Message::Keepalive { wal_end: lsn, .. } => {
                write!(f, "({})", crate::lsn::format(*lsn))
            }
            Message::Logical {
                prefix, content, ..
            } => {
                write!(f, "({prefix}, {} bytes)", content.len())
            }
            Message::Truncate { .. } | Message::Type { .. } | Message::Origin { .. } => Ok(()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("Null"),
            Value::UnchangedToast => f.write_str("UnchangedToast"),
            Value::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}
