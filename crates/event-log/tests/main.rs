//! The event log on a real Postgres.

mod append;
mod fixture;
mod lanes;
mod outcomes;
mod retention;
