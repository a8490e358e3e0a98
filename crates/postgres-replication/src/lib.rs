#![doc = include_str!("../README.md")]

mod authentication;
mod config;
mod connection;
mod copy_data;
mod decoder;
mod error;
mod feedback;
mod lsn;
mod message;
mod socket;
mod stream;
mod transport;

#[cfg(test)]
#[path = "../tests/describe.rs"]
mod describe;
#[cfg(test)]
extern crate self as postgres_replication; // for `describe`, which the integration tests share

pub use authentication::PRINT_SETTINGS;
pub use config::{Config, Host};
pub use connection::{Connection, CreatedSlot, SystemIdentity, TimelineSwitch};
pub use decoder::Decoder;
pub use error::{DecodeError, Error};
pub use message::{Message, OldTuple, Relation, RelationColumn, ReplicaIdentity, Tuple, Value};
pub use stream::Stream;
