//! The REST of operators on a real Postgres: each route, what it refuses, and that the document is true.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod access;
mod document;
mod fits;
mod fixture;
mod follow;
mod jobs;
mod runs;
mod schedules;
mod workflows;
