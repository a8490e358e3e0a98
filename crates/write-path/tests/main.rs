//! Jobs as they are asked for, against a real Postgres. What runs JavaScript is tested in `worker`, and as a whole.

// A test's helpers may do what its body may.
#![allow(clippy::unwrap_used)]

mod desk;
mod job_calls;
mod schedules;
mod starts;
