//! Runs after-triggers from the queue, records the outcome, then acknowledges.
