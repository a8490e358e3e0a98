//! Parse JSON without I/O: objects, operations, queries, ACLs, routes and error codes.
