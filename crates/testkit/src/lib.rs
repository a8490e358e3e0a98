//! Real Postgres and Redis for tests, and a whole system under test.
