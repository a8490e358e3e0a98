//! The event log on a real Postgres.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod append;
mod fixture;
mod lanes;
mod outcomes;
mod retention;
