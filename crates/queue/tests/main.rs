//! The queue on a real Redis.

#[cfg(test)] // tells clippy that its helpers are tests too
mod stage;

mod drain;
mod handover;
#[cfg(test)]
mod loss;
mod order;
mod push;
mod replies;
mod retry;
mod tick;
