//! Postgres tables as Parse classes: schema, queries to SQL, one transaction's writes.
