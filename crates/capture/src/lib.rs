//! Copies committed changes from the WAL into the event log.
