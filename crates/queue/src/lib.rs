#![doc = include_str!("../README.md")]
//!
//! # Layout, in reading order
//!
//! - [`config`], [`error`], `delivery`: what goes in and comes out.
//! - `queue`, `generation`, `push`, `replies`: the queue in Redis, for those who fill it and wait
//!   for it.
//! - `consume`: how a consumer is put together; `backend` and `run` are what apalis sees of it, `worker` is apalis.
//! - `gate`: which delivery may run next. The heart, and free of I/O.
//! - `intake`: the gate under its lock; `reader`, `refetcher`, `acknowledger`, `lease`: the four
//!   tasks around it.
//! - `link`, `backoff`, `keyspace`, `reply`: Redis, up close.
//! - [`runs`]: the other queue here, of job runs.
//! - `tick`: maintenance at an interval.

mod abort;
mod acknowledger;
mod backend;
mod backoff;
pub mod config;
mod consume;
mod delivery;
pub mod error;
mod gate;
mod generation;
mod intake;
mod keyspace;
mod lease;
mod link;
mod push;
mod queue;
mod reader;
mod refetcher;
mod replies;
mod reply;
mod run;
pub mod runs;
mod tick;
mod worker;

pub use config::{Config, ConsumerConfig, LIMITED_LANES};
pub use consume::consume;
pub use delivery::{Delivery, Lane, Limit, Received, Verdict};
pub use error::Error;
pub use lease::{BoxError, LaneLeases};
pub use queue::Queue;
pub use tick::every;
