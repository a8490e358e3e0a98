//! The Postgres logical replication protocol: slots, START_REPLICATION, pgoutput decoding and feedback.
