//! testkit against the servers that are installed.

mod outlive;
mod postgres;
mod redis;
