//! The queue on a real Redis.

mod drain;
mod handover;
mod loss;
mod order;
mod push;
mod replies;
mod retry;
mod stage;
mod tick;
