//! The Parse REST protocol over HTTP: credentials, limits, waiting for after-triggers.
