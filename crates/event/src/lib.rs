#![doc = include_str!("../README.md")]
//!
//! Layout, in reading order:
//! - [`lsn`]: a position in the WAL.
//! - [`id`]: `EventId` and `DeliveryId`, the names under which a repeat is recognised.
//! - [`context`]: what the write path knows and the WAL does not carry.
//! - [`change`]: the event itself and its stored form.
//! - [`trigger`]: which handlers exist, and which of them an event matches; [`policy`]: how each is to be run.
//! - [`delivery`]: one event for one trigger, as it travels through the queue.
//! - [`failpoint`]: where tests kill a process.
//! - [`report`]: how an error is written into a log line.

pub mod change;
pub mod context;
pub mod delivery;
pub mod failpoint;
pub mod id;
pub mod lsn;
pub mod policy;
pub mod report;
pub mod trigger;

pub use change::{ChangeEvent, Column, Operation, Row};
pub use context::{ReplyTo, RequestContext, Source};
pub use delivery::{Delivery, Notice, Redelivery, RedeliveryKind};
pub use id::{DeliveryId, EventId};
pub use lsn::Lsn;
pub use policy::{Backoff, Policy, Rate};
pub use trigger::{Trigger, TriggerKind, TriggerSet};
