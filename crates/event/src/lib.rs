#![doc = include_str!("../README.md")]
//!
//! Layout, in reading order:
//! - [`lsn`]: a position in the WAL.
//! - [`id`]: `EventId` and `DeliveryId`, the names under which a repeat is recognised.
//! - [`context`]: what the write path knows and the WAL does not carry.
//! - [`change`]: the event itself and its stored form.
//! - [`head`]: the stored form read in place, for those who pass an event on.
//! - [`trigger`]: which handlers exist, and which of them an event matches; [`policy`]: how each is to be run.
//! - [`delivery`]: one event for one trigger, as it travels through the queue.
//! - [`effect`]: what one attempt wrote, for the next; [`wait_token`]: what a client holds to wait for after-triggers.
//! - [`failpoint`]: where tests kill a process.
//! - [`report`]: how an error is written into a log line; [`secret`]: columns that no event carries.

pub mod change;
pub mod context;
pub mod delivery;
pub mod effect;
pub mod failpoint;
pub mod head;
pub mod id;
pub mod lsn;
pub mod policy;
pub mod report;
pub mod secret;
pub mod trigger;
pub mod wait_token;

pub use change::{ChangeEvent, Column, Operation, Row};
pub use context::{ReplyTo, RequestContext, Source};
pub use delivery::{Delivery, Notice, QueuedDelivery, Redelivery, RedeliveryKind};
pub use effect::{Effect, EffectKind, EffectScope};
pub use head::{Filter, Head};
pub use id::{DeliveryId, EventId};
pub use lsn::Lsn;
pub use policy::{Backoff, Policy, Rate};
pub use trigger::{Trigger, TriggerKind, TriggerSet};
pub use wait_token::{ParseWaitTokenError, WaitToken};
