//! The queue on a real Redis.

#[cfg(test)] // tells clippy that its helpers are tests too
mod stage;

#[cfg(test)]
mod chaos;
mod drain;
mod handover;
#[cfg(test)]
mod loss;
mod order;
mod push;
mod replies;
mod retry;
mod tick;
