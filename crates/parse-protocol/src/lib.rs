#![doc = include_str!("../README.md")]

pub mod acl;
pub mod clp;
pub mod credentials;
pub mod date;
pub mod error;
pub mod name;
pub mod op;
pub mod pointer;
pub mod present;
pub mod query;
pub mod request;
pub mod schema;
pub mod secret;

mod value;

pub use acl::{Access, Acl};
pub use clp::{ClassLevelPermissions, ClpOperation, Permission};
pub use credentials::Credentials;
pub use error::{ErrorCode, ParseError};
pub use op::{Changes, FieldOp};
pub use pointer::Pointer;
pub use present::Present;
pub use query::{Constraint, Filter, Order, Query, ReadOptions};
pub use request::{BatchItem, HookCall, JobCall, Request, ScheduleForm, take_method_override};
pub use schema::{ClassSchema, Field, FieldType};
pub use secret::Secret;
pub use value::{MAX_NESTING_DEPTH, number};

/// One Parse object (or any JSON object) in REST form, without `className`.
pub type Object = serde_json::Map<String, serde_json::Value>;
