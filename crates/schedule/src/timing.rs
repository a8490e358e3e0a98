//! When a schedule fires, in the forms that its author writes: cron, or a plain one.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::calendar::{DAY, Days, Rule, Times};
use crate::cron::Cron;
use crate::duration::short;
use crate::field::WEEKDAYS;

/// One way to name due times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timing {
    Cron(Cron),
    /// Real time from an anchor, whatever the clocks do.
    Every(Duration),
    Daily(DayTimes),
    Weekly {
        on: Weekdays,
        times: DayTimes,
    },
    Monthly {
        on: MonthDays,
        at: TimeOfDay,
    },
    /// One moment.
    Once(Timestamp),
}

/// A time of the wall clock, `09:00` or `09:00:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    /// Seconds since midnight, less than 86,400.
    pub second: u32,
}

/// A time of the day, and perhaps each interval after it until the day ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayTimes {
    pub at: TimeOfDay,
    pub every: Option<Duration>,
}

/// Bit 0 is Sunday. Not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekdays {
    pub bits: u8,
}

/// Bit d is day d, 1 to 31; and perhaps the last day, whichever it is. Not empty. A month without the day is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthDays {
    pub bits: u32,
    pub last: bool,
}

const ALL_MONTHS: u16 = 0b1_1111_1111_1110;

impl Timing {
    /// The option's name and its value, as [`crate::Options`] reads them.
    pub(crate) fn to_option(&self) -> (&'static str, Value) {
        match self {
            Timing::Cron(cron) => ("cron", json!(cron.as_str())),
            Timing::Every(every) => ("every", json!(short(*every))),
            Timing::Daily(DayTimes { at, every: None }) => ("daily", json!(at.to_string())),
            Timing::Daily(DayTimes {
                at,
                every: Some(every),
            }) => (
                "daily",
                json!({ "at": at.to_string(), "every": short(*every) }),
            ),
            Timing::Weekly { on, times } => {
                let mut value = json!({ "on": on.names(), "at": times.at.to_string() });
                if let Some(every) = times.every {
                    value["every"] = json!(short(every));
                }
                ("weekly", value)
            }
            Timing::Monthly { on, at } => (
                "monthly",
                json!({ "on": on.to_values(), "at": at.to_string() }),
            ),
            Timing::Once(at) => ("once", json!(at.to_string())),
        }
    }

    /// The wall-clock rule; `None` for what goes by real time.
    pub(crate) fn rule(&self) -> Option<Arc<Rule>> {
        let rule = match self {
            Timing::Cron(cron) => return Some(Arc::clone(cron.rule())),
            Timing::Daily(times) => times.rule(Days::new(ALL_MONTHS, |_, _| !0)),
            Timing::Weekly { on, times } => times.rule(Days::new(ALL_MONTHS, |length, first| {
                on.days(length, first)
            })),
            Timing::Monthly { on, at } => DayTimes {
                at: *at,
                every: None,
            }
            .rule(Days::new(ALL_MONTHS, |length, _| {
                on.bits | u32::from(on.last) << length
            })),
            Timing::Every(_) | Timing::Once(_) => return None,
        };
        Some(Arc::new(rule))
    }
}

impl DayTimes {
    fn rule(self, mut days: Days) -> Rule {
        // A day past the end of its month is none.
        for (row, length) in days.table.iter_mut().zip(28..) {
            row.iter_mut()
                .for_each(|mask| *mask &= (!0 >> (31 - length)) & !1);
        }
        let second = self.at.second;
        let Some(every) = self.every else {
            let times = Times::Fields {
                seconds: 1 << (second % 60),
                minutes: 1 << (second / 60 % 60),
                hours: 1 << (second / 3600),
            };
            return Rule {
                days,
                times,
                every_hour: false,
                repeats: false,
            };
        };
        let list: Box<[u32]> = (second..DAY as u32)
            .step_by(every.as_secs().max(1) as usize)
            .collect();
        let hours = list
            .iter()
            .fold(0u32, |hours, time| hours | 1 << (time / 3600));
        Rule {
            days,
            times: Times::List(list),
            every_hour: hours.count_ones() == 24,
            repeats: true,
        }
    }
}

impl Weekdays {
    fn days(self, length: u32, first: u32) -> u32 {
        (1..=length)
            .filter(|day| self.bits & (1 << ((first + day - 1) % 7)) != 0)
            .fold(0, |days, day| days | 1 << day)
    }

    /// `MON` to `SUN`, Monday first as a week is read.
    pub fn names(self) -> Vec<&'static str> {
        (1..=7)
            .map(|day| day % 7)
            .filter(|day| self.bits & (1 << day) != 0)
            .map(|day| WEEKDAYS[day])
            .collect()
    }
}

impl MonthDays {
    fn to_values(self) -> Vec<Value> {
        let mut values: Vec<Value> = (1..=31)
            .filter(|day| self.bits & (1 << day) != 0)
            .map(|day| json!(day))
            .collect();
        if self.last {
            values.push(json!("last"));
        }
        values
    }
}

impl TimeOfDay {
    /// Reads `HH:MM` or `HH:MM:SS`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(|part| match part.as_bytes() {
            [b'0'..=b'9', b'0'..=b'9'] => part.parse::<u32>().ok(),
            _ => None,
        });
        let (hour, minute) = (parts.next()??, parts.next()??);
        let second = parts.next().unwrap_or(Some(0))?;
        (hour < 24 && minute < 60 && second < 60 && parts.next().is_none()).then_some(TimeOfDay {
            second: hour * 3600 + minute * 60 + second,
        })
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        write!(f, "{hour:02}:{minute:02}")?;
        if second != 0 {
            f.write_char(':')?;
            write!(f, "{second:02}")?;
        }
        Ok(())
    }
}
