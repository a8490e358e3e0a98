//! Integration tests of cloud-code: real processes, real sandbox, hostile code. One binary, which is its own isolate.

// A test's helpers may do what its body may.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

tidegate_cloud_code::isolate_entry_for_tests!();

mod after;
mod bench;
mod crash;
mod displaced;
mod fetch;
mod hostile;
mod jobs;
mod load;
mod logs;
mod parse;
mod runs;
mod sandbox;
mod support;
