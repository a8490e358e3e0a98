//! Dispatch between a real event log and a real queue; the worker is played by the test.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod fair;
mod loss;
mod paused;
mod stage;
