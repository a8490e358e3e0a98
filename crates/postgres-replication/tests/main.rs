//! The crate against a real Postgres: each test has a database, publication and slot of its own.

mod describe;
#[cfg(test)] // tells clippy that its helpers are tests too
mod fixture;

mod feedback;
mod login;
mod messages;
mod slots;
#[cfg(test)]
mod throughput;
mod transactions;
