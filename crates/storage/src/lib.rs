#![doc = include_str!("../README.md")]

// Between processes and tables: the handle, its connections, what it knows.
mod error;
mod hooks;
mod listen;
mod pool;
mod schema;
mod storage;

// Reading.
mod plain;
mod query;
mod role;
mod row;

// Writing.
mod commit;
mod write;

// The layout of tables.
mod column;
mod ddl;
mod ensure;
mod secret;
mod system;

// SQL text, parameters in, values out.
mod cell;
mod param;
mod sql;

pub use commit::{Committed, Companion};
pub use error::Error;
pub use hooks::Hook;
pub use listen::SCHEMA_CHANNEL;
pub use schema::Schema;
pub use secret::{Secrets, is_secret};
pub use storage::{Captured, Config, Storage};
pub use write::{Action, Write};
