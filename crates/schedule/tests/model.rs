//! The law said again, as plainly as possible: step through real time, look at the wall clock, match its fields.
//!
//! Shares nothing with the crate but the time zone database: its own calendar, its own reading of fields, its own finding of
//! changes (the offset is not what it was a step ago).

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A cron expression of six fields with the two things that the law asks of it, said by who wrote it down.
pub struct Expression {
    pub text: &'static str,
    /// Each hour of the day has something: what a gap swallows is not made up for.
    pub every_hour: bool,
    /// A repeated hour fires again.
    pub repeats: bool,
}

pub struct Model {
    every_hour: bool,
    repeats: bool,
    seconds: Vec<bool>,
    minutes: Vec<bool>,
    hours: Vec<bool>,
    day: String,
    months: Vec<bool>,
    weekday: String,
    days: HashMap<i64, bool>,
}

impl Model {
    pub fn new(expression: &Expression) -> Self {
        let fields: Vec<&str> = expression.text.split(' ').collect();
        let set = |text: &str, least: u32, most: u32| {
            (0..=most)
                .map(|value| numeric(text, value, least))
                .collect()
        };
        Model {
            every_hour: expression.every_hour,
            repeats: expression.repeats,
            seconds: set(fields[0], 0, 59),
            minutes: set(fields[1], 0, 59),
            hours: set(fields[2], 0, 23),
            day: fields[3].to_owned(),
            months: set(
                &named(
                    fields[4],
                    &[
                        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT",
                        "NOV", "DEC",
                    ],
                    1,
                ),
                1,
                12,
            ),
            weekday: named(
                fields[5],
                &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
                0,
            ),
            days: HashMap::new(),
        }
    }

    /// Every due second after `from` and up to `to`, looking each `step` seconds. `offsets[i]` is the zone's at `from + i × step`.
    pub fn due(&mut self, from: i64, step: i64, offsets: &[i32]) -> Vec<i64> {
        let mut due = Vec::new();
        let mut shown_until = i64::MIN;
        for (index, pair) in offsets.windows(2).enumerate() {
            let (before, offset) = (i64::from(pair[0]), i64::from(pair[1]));
            let now = from + (index as i64 + 1) * step;
            let wall = now + offset;
            let mut fires = self.matches(wall) && (self.repeats || wall >= shown_until);
            if offset < before {
                // The wall clock was about to show this; from here on it shows again what it has shown.
                shown_until = now + before;
                fires = self.matches(wall) && self.repeats;
            }
            if offset > before && !self.every_hour {
                let mut skipped = now + before;
                while skipped < wall {
                    fires |= self.matches(skipped);
                    skipped += step;
                }
            }
            if fires {
                due.push(now);
            }
        }
        due
    }

    fn matches(&mut self, wall: i64) -> bool {
        let time = wall.rem_euclid(86_400) as usize;
        if !(self.minutes[time / 60 % 60] && self.hours[time / 3600] && self.seconds[time % 60]) {
            return false;
        }
        let day = wall.div_euclid(86_400);
        if let Some(matches) = self.days.get(&day) {
            return *matches;
        }
        let matches = self.day_matches(day);
        self.days.insert(day, matches);
        matches
    }

    fn day_matches(&self, day: i64) -> bool {
        let (year, month, of_month) = calendar(day);
        let weekday = (day + 4).rem_euclid(7) as u32;
        if !self.months[month as usize] {
            return false;
        }
        let length = length(year, month);
        let by_day = self.day.split(',').any(|item| match item {
            "L" => of_month == length,
            "LW" => {
                of_month
                    == (1..=length)
                        .rev()
                        .find(|day| working(weekday, of_month, *day))
                        .unwrap()
            }
            _ => match item.strip_suffix('W') {
                Some(wanted) => {
                    nearest_working(wanted.parse().unwrap(), weekday, of_month, length)
                        == Some(of_month)
                }
                None => numeric(item, of_month, 1),
            },
        });
        let (both, field) = self
            .weekday
            .strip_prefix('+')
            .map_or((false, self.weekday.as_str()), |field| (true, field));
        let by_weekday =
            field.split(',').any(
                |item| match (item.split_once('#'), item.strip_suffix('L')) {
                    (Some((wanted, nth)), _) => {
                        wanted.parse() == Ok(weekday) && nth.parse() == Ok((of_month - 1) / 7 + 1)
                    }
                    (None, Some(wanted)) => wanted.parse() == Ok(weekday) && of_month + 7 > length,
                    (None, None) => {
                        numeric(item, weekday, 0) || weekday == 0 && numeric(item, 7, 0)
                    }
                },
            );
        match (self.day == "*", field == "*") {
            (true, true) => true,
            (true, false) => by_weekday,
            (false, true) => by_day,
            (false, false) if both => by_day && by_weekday,
            (false, false) => by_day || by_weekday,
        }
    }
}

/// The zone's offset at each step, the first at `from`.
pub fn offsets(zone: &TimeZone, from: i64, to: i64, step: i64) -> Vec<i32> {
    (0..=(to - from) / step)
        .map(|index| {
            zone.to_offset(Timestamp::from_second(from + index * step).unwrap())
                .seconds()
        })
        .collect()
}

fn named(field: &str, names: &[&str], first: usize) -> String {
    let field = field.replace("-SUN", "-7");
    names
        .iter()
        .enumerate()
        .fold(field, |field, (index, name)| {
            field.replace(name, &(index + first).to_string())
        })
}

/// `*`, `5`, `1-5`, `*/2`, `1-9/2` and lists of them.
fn numeric(field: &str, value: u32, least: u32) -> bool {
    field.split(',').any(|item| {
        let (range, step) = item
            .split_once('/')
            .map_or((item, 1), |(range, step)| (range, step.parse().unwrap()));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if range == "*" => (least, u32::MAX),
            None => match range.parse() {
                Ok(only) => (only, only),
                Err(_) => return false,
            },
        };
        value >= from && value <= to && (value - from).is_multiple_of(step)
    })
}

/// True when day `other` of the month is Monday to Friday, given the weekday of `day`.
fn working(weekday: u32, day: u32, other: u32) -> bool {
    !matches!(
        (i64::from(weekday) + i64::from(other) - i64::from(day)).rem_euclid(7),
        0 | 6
    )
}

fn nearest_working(wanted: u32, weekday: u32, day: u32, length: u32) -> Option<u32> {
    if wanted > length {
        return None;
    }
    let fits = |other: &i64| {
        (1..=i64::from(length)).contains(other) && working(weekday, day, *other as u32)
    };
    let wanted = i64::from(wanted);
    // The day itself, its neighbours, then two days away.
    let saturday = (i64::from(weekday) + wanted - i64::from(day)).rem_euclid(7) == 6;
    let order = if saturday {
        [0, -1, 1, -2, 2]
    } else {
        [0, 1, -1, 2, -2]
    };
    order
        .iter()
        .map(|away| wanted + away)
        .find(fits)
        .map(|day| day as u32)
}

fn length(year: i64, month: u32) -> u32 {
    let leap = year % 400 == 0 || year % 4 == 0 && year % 100 != 0;
    [
        31,
        if leap { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ][month as usize - 1]
}

/// Counts years and months up from 2000-01-01, or from 1970.
fn calendar(day: i64) -> (i64, u32, u32) {
    let (mut year, mut rest) = if day >= 10_957 {
        (2000, day - 10_957)
    } else {
        (1970, day)
    };
    loop {
        for month in 1..=12 {
            let length = i64::from(length(year, month));
            if rest < length {
                return (year, month, rest as u32 + 1);
            }
            rest -= length;
        }
        year += 1;
    }
}
