//! The job log on a real Postgres.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod attempts;
mod claims;
mod fires;
mod fixture;
mod limits;
mod lists;
mod load;
mod schedules;
mod starts;
mod steering;
mod workers;
mod workflows;
