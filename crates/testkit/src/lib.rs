#![doc = include_str!("../README.md")]

mod database;
mod port;
mod postgres;
mod redis;
mod server;
mod temp_dir;
mod template;

pub use database::{Authentication, Database};
pub use port::free_port;
pub use postgres::Postgres;
pub use redis::Redis;
pub use temp_dir::TempDir;
