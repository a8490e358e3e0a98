//! Reads the event log and queues one delivery per matching trigger.
