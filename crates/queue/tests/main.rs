//! The queue on a real Redis.

#[cfg(test)]
mod run_stage;
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
#[cfg(test)]
mod runs;
#[cfg(test)]
mod runs_drain;
#[cfg(test)]
mod runs_loss;
mod tick;
