//! pgoutput, protocol version 1, to [`Message`]s. Pure: bytes in, message or reason out.
//!
//! Invariants: no input panics or reserves more memory than a small multiple of its own size; a
//! value is a slice of the input, never a copy; a message either decodes to its last byte or
//! is refused.
//!
//! Source: PostgreSQL manual, "Logical Replication Message Formats".

mod reader;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use reader::{Reader, UNIX_MICROS_OF_PG_EPOCH};

use crate::DecodeError;
use crate::message::{Message, OldTuple, Relation, RelationColumn, ReplicaIdentity, Tuple, Value};

const MESSAGE_IS_TRANSACTIONAL: u8 = 1;
const COLUMN_IS_KEY: u8 = 1;
const TRUNCATE_CASCADE: u8 = 1;
const TRUNCATE_RESTART_IDENTITY: u8 = 2;

/// Decodes the messages of one stream, in order: it remembers each relation described so far,
/// because row messages name theirs by number only.
#[derive(Debug, Default)]
pub struct Decoder {
    relations: HashMap<u32, Arc<Relation>>,
}

impl Decoder {
    /// Decodes one pgoutput message: the content of one XLogData.
    ///
    /// # Errors
    /// The bytes are not such a message, or it speaks of a relation that was not described.
    pub fn decode(&mut self, bytes: &Bytes) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            b'B' => begin(&mut reader)?,
            b'C' => commit(&mut reader)?,
            b'R' => self.relation(&mut reader)?,
            b'I' => self.insert(&mut reader)?,
            b'U' => self.update(&mut reader)?,
            b'D' => self.delete(&mut reader)?,
            b'T' => self.truncate(&mut reader)?,
            b'M' => logical(&mut reader)?,
            b'Y' => user_type(&mut reader)?,
            b'O' => Message::Origin {
                commit_lsn: reader.u64()?,
                name: reader.name()?,
            },
            byte => {
                return Err(DecodeError::UnknownByte {
                    what: "kind of message",
                    byte,
                });
            }
        };
        reader.finish()?;
        Ok(message)
    }

    fn relation(&mut self, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        let id = reader.u32()?;
        let schema = schema_name(reader)?;
        let table = reader.name()?;
        let replica_identity = match reader.u8()? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            byte => {
                return Err(DecodeError::UnknownByte {
                    what: "replica identity",
                    byte,
                });
            }
        };
        let count = reader.u16()?;
        let columns = (0..count)
            .map(|_| column(reader))
            .collect::<Result<_, _>>()?;
        let relation = Arc::new(Relation {
            id,
            schema,
            table,
            replica_identity,
            columns,
        });
        self.relations.insert(id, Arc::clone(&relation));
        Ok(Message::Relation(relation))
    }

    fn insert(&self, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        let relation = self.known(reader.u32()?)?;
        match reader.u8()? {
            b'N' => Ok(Message::Insert {
                new: tuple(reader, &relation)?,
                relation,
            }),
            byte => Err(DecodeError::UnknownByte {
                what: "tuple of an Insert",
                byte,
            }),
        }
    }

    fn update(&self, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        let relation = self.known(reader.u32()?)?;
        let (old, next) = match reader.u8()? {
            b'K' => (Some(OldTuple::Key(tuple(reader, &relation)?)), reader.u8()?),
            b'O' => (
                Some(OldTuple::Full(tuple(reader, &relation)?)),
                reader.u8()?,
            ),
            byte => (None, byte),
        };
        match next {
            b'N' => Ok(Message::Update {
                old,
                new: tuple(reader, &relation)?,
                relation,
            }),
            byte => Err(DecodeError::UnknownByte {
                what: "tuple of an Update",
                byte,
            }),
        }
    }

    fn delete(&self, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        let relation = self.known(reader.u32()?)?;
        let old = match reader.u8()? {
            b'K' => OldTuple::Key(tuple(reader, &relation)?),
            b'O' => OldTuple::Full(tuple(reader, &relation)?),
            byte => {
                return Err(DecodeError::UnknownByte {
                    what: "tuple of a Delete",
                    byte,
                });
            }
        };
        Ok(Message::Delete { relation, old })
    }

    fn truncate(&self, reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
        let count = reader.u32()?;
        let options = reader.u8()?;
        // Collecting Results reserves nothing: the count is a claim until the ids are there.
        let relations = (0..count)
            .map(|_| self.known(reader.u32()?))
            .collect::<Result<_, _>>()?;
        Ok(Message::Truncate {
            relations,
            cascade: options & TRUNCATE_CASCADE != 0,
            restart_identity: options & TRUNCATE_RESTART_IDENTITY != 0,
        })
    }

    fn known(&self, id: u32) -> Result<Arc<Relation>, DecodeError> {
        self.relations
            .get(&id)
            .cloned()
            .ok_or(DecodeError::UnknownRelation { id })
    }
}

fn begin(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    Ok(Message::Begin {
        final_lsn: reader.u64()?,
        commit_time_us: reader.unix_micros()?,
        xid: reader.u32()?,
    })
}

fn commit(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    reader.skip(1)?; // flags, none defined
    Ok(Message::Commit {
        commit_lsn: reader.u64()?,
        end_lsn: reader.u64()?,
        commit_time_us: reader.unix_micros()?,
    })
}

fn logical(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let flags = reader.u8()?;
    Ok(Message::Logical {
        transactional: flags & MESSAGE_IS_TRANSACTIONAL != 0,
        lsn: reader.u64()?,
        prefix: reader.name()?,
        content: reader.counted_bytes()?,
    })
}

fn user_type(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let oid = reader.u32()?;
    Ok(Message::Type {
        oid,
        schema: schema_name(reader)?,
        name: reader.name()?,
    })
}

/// The protocol sends `pg_catalog` as the empty name.
fn schema_name(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let name = reader.name()?;
    Ok(if name.is_empty() {
        "pg_catalog".to_owned()
    } else {
        name
    })
}

fn column(reader: &mut Reader<'_>) -> Result<RelationColumn, DecodeError> {
    let flags = reader.u8()?;
    Ok(RelationColumn {
        is_key: flags & COLUMN_IS_KEY != 0,
        name: reader.name()?,
        type_oid: reader.u32()?,
        type_modifier: reader.i32()?,
    })
}

/// The only allocation of a row is the vector of its values.
fn tuple(reader: &mut Reader<'_>, relation: &Relation) -> Result<Tuple, DecodeError> {
    let (expected, got) = (relation.columns.len(), usize::from(reader.u16()?));
    if got != expected {
        return Err(DecodeError::ColumnCount {
            id: relation.id,
            expected,
            got,
        });
    }
    let mut values = Vec::with_capacity(got);
    for _ in 0..got {
        values.push(match reader.u8()? {
            b'n' => Value::Null,
            b'u' => Value::UnchangedToast,
            b't' => Value::Text(reader.counted_bytes()?),
            byte => {
                return Err(DecodeError::UnknownByte {
                    what: "kind of value",
                    byte,
                });
            }
        });
    }
    Ok(values)
}
