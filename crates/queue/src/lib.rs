//! Deliveries on Redis streams as an apalis backend: lanes, order per object, acknowledgement.
