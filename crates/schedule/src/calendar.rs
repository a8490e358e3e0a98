//! Which wall-clock seconds an expression names, in a world without time zones.
//!
//! ```text
//! civil second ─▶ Days: the next day of the calendar ─▶ Times: the next second of that day ─▶ civil second
//! ```
//!
//! A civil second counts from 1970-01-01T00:00:00 of the wall clock. What the wall clock does in a zone is [`crate::timeline`]'s.
//!
//! A [`Rule`] is small (some 200 bytes): a process holds one of each schedule, and there may be 100,000.

/// How far ahead a day is looked for. No combination of month, day and weekday that exists at all is rarer than 40 years
/// (29 February on one weekday, across 2100); a rule that has none in this time never fires.
pub const HORIZON_YEARS: i64 = 50;

pub(crate) const DAY: i64 = 86_400;

/// The wall-clock seconds of one schedule, and how they take a change of the clocks.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub days: Days,
    pub times: Times,
    /// Names something in each of the day's hours: an hour that a zone leaves out has nothing to be made up for.
    pub every_hour: bool,
    /// A repeated hour fires again: minutes or hours are stepped or `*`, not fixed.
    pub repeats: bool,
}

/// Days by month, and within a month by its length and the weekday it begins with: 28 kinds of month are all there are.
#[derive(Clone, Debug)]
pub(crate) struct Days {
    /// Bit m: month m, 1 to 12.
    pub months: u16,
    /// `[length - 28][weekday of the 1st, 0 = Sunday]`: bit d is day d, 1 to 31.
    pub table: [[u32; 7]; 4],
}

/// Seconds of a day, in order.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// Bit n: second, minute, hour n. None is empty.
    Fields {
        seconds: u64,
        minutes: u64,
        hours: u32,
    },
    /// Seconds since midnight, ascending, not empty.
    List(Box<[u32]>),
}

impl Rule {
    /// The first named second at or after `civil`; none within [`HORIZON_YEARS`].
    pub fn at_or_after(&self, civil: i64) -> Option<i64> {
        let day = civil.div_euclid(DAY);
        let first = self.days.at_or_after(day)?;
        if first == day
            && let Some(time) = self.times.at_or_after(civil.rem_euclid(DAY) as u32)
        {
            return Some(day * DAY + i64::from(time));
        }
        let next = if first == day {
            self.days.at_or_after(day + 1)?
        } else {
            first
        };
        Some(
            next * DAY
                + i64::from(
                    self.times
                        .at_or_after(0)
                        .expect("a rule names a time of day"),
                ),
        )
    }
}

impl Days {
    /// The same days in each month: `days` answers for month length and weekday of the 1st (0 = Sunday).
    pub fn new(months: u16, days: impl Fn(u32, u32) -> u32) -> Self {
        let mut table = [[0; 7]; 4];
        for (row, length) in table.iter_mut().zip(28..) {
            for (mask, weekday) in row.iter_mut().zip(0..) {
                *mask = days(length, weekday);
            }
        }
        Days { months, table }
    }

    /// The first named day at or after `day`, both as days since 1970-01-01.
    fn at_or_after(&self, day: i64) -> Option<i64> {
        let (mut year, mut month, of_month) = date_of(day);
        let mut first = day - i64::from(of_month) + 1;
        let mut from = of_month;
        for _ in 0..=HORIZON_YEARS * 12 {
            let length = days_in_month(year, month);
            if self.months & (1 << month) != 0 {
                let mask =
                    self.table[length as usize - 28][weekday_of(first) as usize] >> from << from;
                if mask != 0 {
                    return Some(first + i64::from(mask.trailing_zeros()) - 1);
                }
            }
            first += i64::from(length);
            from = 0;
            month += 1;
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        None
    }
}

impl Times {
    /// The first named second of the day at or after `second`.
    fn at_or_after(&self, second: u32) -> Option<u32> {
        match self {
            Times::List(list) => list
                .get(list.partition_point(|time| *time < second))
                .copied(),
            Times::Fields {
                seconds,
                minutes,
                hours,
            } => {
                let (hours, first_minute, first_second) = (
                    u64::from(*hours),
                    minutes.trailing_zeros(),
                    seconds.trailing_zeros(),
                );
                let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
                if hours & (1 << h) != 0 {
                    if minutes & (1 << m) != 0
                        && let Some(s) = bit_from(*seconds, s)
                    {
                        return Some(h * 3600 + m * 60 + s);
                    }
                    if let Some(m) = bit_from(*minutes, m + 1) {
                        return Some(h * 3600 + m * 60 + first_second);
                    }
                }
                bit_from(hours, h + 1).map(|h| h * 3600 + first_minute * 60 + first_second)
            }
        }
    }
}

/// The first set bit at or above `from`, which is at most 60.
fn bit_from(bits: u64, from: u32) -> Option<u32> {
    let rest = bits >> from << from;
    (rest != 0).then(|| rest.trailing_zeros())
}

/// 0 is Sunday; 1970-01-01 was a Thursday.
pub(crate) fn weekday_of(day: i64) -> u32 {
    (day + 4).rem_euclid(7) as u32
}

pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of the month of a day since 1970-01-01 (proleptic Gregorian; years counted from March).
fn date_of(day: i64) -> (i64, u32, u32) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let of_month = (of_year - (153 * from_march + 2) / 5 + 1) as u32;
    let month = (if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    }) as u32;
    (year + era * 400 + i64::from(month <= 2), month, of_month)
}
