//! The worker with real servers and real isolates. One binary, which is its own isolate.

// A test's helpers may do what its body may.
#![allow(clippy::unwrap_used)]

tidegate_cloud_code::isolate_entry_for_tests!();

mod jobs;
mod jobs_end;
mod stage;
