#![doc = include_str!("../README.md")]
//!
//! Layout, in reading order:
//! - [`options`]: what an author writes; [`timing`]: the forms of it that say when; `read` checks them.
//! - [`mod@cron`]: cron expressions; `field` checks their fields.
//! - `calendar`: which wall-clock seconds are meant; `timeline`: which instants they are, by the law above.
//! - [`schedule`]: a schedule that answers. [`missed`] and [`overlap`]: its policies.
//! - [`mod@preview`], [`mod@simulate`], [`mod@describe`]: for people. [`parse_form`]: rows that stock dashboards write.
//! - `duration`, `instant`, `zone`, `near`: how values are written, and what was probably meant.

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
pub use describe::describe;
pub use error::Error;
pub use missed::{CatchUp, Due, GRACE, Skipped};
pub use options::{Missed, Options, Overlap};
pub use overlap::{Decision, Unfinished};
pub use preview::{Row, preview};
pub use schedule::Schedule;
pub use simulate::{Fate, Simulated, Simulation, simulate};
pub use timing::{DayTimes, MonthDays, TimeOfDay, Timing, Weekdays};
