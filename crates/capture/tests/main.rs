//! Capture on a real Postgres: what it confirms, what stops it, and how a gap is filled.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod fixture;
mod huge;
mod progress;
mod resync;
mod stopped;
