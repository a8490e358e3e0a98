//! System tests: the executable, driven as users drive it, on a real Postgres and a real Redis.
//!
//! `system` and `server` start and end what is under test; each other module is one thing that users rely on.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod code;
mod faults;
mod http;
mod limits;
mod quickstart;
mod roles;
mod sdk;
mod server;
mod sql;
mod system;
mod tidy;
mod users;
