//! System tests: the executable, driven as users drive it, on a real Postgres and a real Redis.
//!
//! `system` and `server` start and end what is under test; each other module is one thing that users rely on.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod chaos;
mod code;
mod delivery;
mod effects;
mod fan_out;
mod faults;
mod guardian;
mod http;
mod job_commands;
mod jobs;
mod jobs_examples;
mod limits;
mod loops;
mod operations;
mod policies;
mod quickstart;
mod roles;
mod schedules;
mod sdk;
mod server;
mod sql;
mod system;
mod tables;
mod tidy;
mod users;
mod wait;
mod webhooks;
