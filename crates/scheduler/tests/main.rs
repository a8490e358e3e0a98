//! The scheduler on a real Postgres and a real Redis.

#![allow(clippy::unwrap_used)]

mod fires;
mod mirror;
mod runs;
mod stage;
