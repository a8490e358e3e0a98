//! The job log against a real Postgres.

mod attempts;
mod claims;
mod fires;
mod fixture;
mod limits;
mod lists;
mod load;
mod schedules;
mod starts;
mod steering;
mod workers;
mod workflows;
