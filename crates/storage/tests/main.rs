//! Classes on a real Postgres: each test has a database of its own.

#[cfg(test)] // tells clippy that its helpers are tests too
mod fixture;

mod commit;
#[cfg(test)]
mod companion;
#[cfg(test)]
mod find;
#[cfg(test)]
mod layout;
mod lost;
#[cfg(test)]
mod pgoutput;
mod role;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod wal;
