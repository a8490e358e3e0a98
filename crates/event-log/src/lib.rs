//! The append-only event log in Postgres: append, read from an offset, outcomes, leases, retention.
