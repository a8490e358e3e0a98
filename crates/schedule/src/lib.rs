#![doc = include_str!("../README.md")]
//!
//! Layout, in reading order:
//! - [`options`]: what an author writes; [`timing`]: the forms of it that say when; `read` checks them.
//! - [`mod@cron`]: cron expressions, `field` by field.
//! - `calendar`: which wall-clock seconds are meant; `timeline`: which instants they are.
//! - [`schedule`]: a schedule that answers. [`missed`] and [`overlap`]: its policies.
//! - [`preview`], [`simulate`], [`describe`]: for people. [`parse_form`]: rows that stock dashboards write.

mod calendar;
pub mod cron;
pub mod describe;
mod duration;
pub mod error;
mod field;
mod instant;
pub mod missed;
mod near;
pub mod options;
pub mod overlap;
pub mod parse_form;
pub mod preview;
mod read;
pub mod schedule;
pub mod simulate;
mod timeline;
pub mod timing;
mod zone;

pub use calendar::HORIZON_YEARS;
pub use cron::Cron;
pub use error::Error;
pub use missed::{CatchUp, Due, GRACE, Skipped};
pub use options::{Missed, Options, Overlap};
pub use overlap::{Decision, Unfinished};
pub use preview::Row;
pub use schedule::Schedule;
pub use simulate::{Fate, Simulated, Simulation};
pub use timing::{DayTimes, MonthDays, TimeOfDay, Timing, Weekdays};
