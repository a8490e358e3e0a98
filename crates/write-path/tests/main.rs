//! Jobs as they are asked for, against a real Postgres. What runs JavaScript is tested in `worker`, and as a whole, but for
//! what needs another clock. One binary, which is its own isolate.

// A test's helpers may do what its body may.
#![allow(clippy::unwrap_used)]

tidegate_cloud_code::isolate_entry_for_tests!();

mod desk;
mod job_calls;
mod schedules;
mod starts;
