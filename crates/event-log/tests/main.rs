//! The event log on a real Postgres.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod append;
mod backfills;
mod effect;
mod fixture;
mod follow;
mod lanes;
mod outcomes;
mod replays;
mod retention;
mod wait;
