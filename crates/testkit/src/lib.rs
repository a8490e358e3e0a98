#![doc = include_str!("../README.md")]

mod byte_proxy;
mod database;
mod nats;
mod port;
mod postgres;
mod redis;
mod server;
mod small_disk;
mod temp_dir;
mod template;

pub use byte_proxy::ByteProxy;
pub use database::{Authentication, Database};
pub use nats::Nats;
pub use port::free_port;
pub use postgres::Postgres;
pub use redis::Redis;
pub use small_disk::SmallDisk;
pub use temp_dir::TempDir;
