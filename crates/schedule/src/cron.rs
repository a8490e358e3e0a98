//! Cron expressions. The only file of the house that names croner.
//!
//! ```text
//! "0 9 * * MON-FRI" ─▶ fields checked ([`crate::field`]) ─▶ croner: which values, which days ─▶ Rule
//! ```
//!
//! croner reads the fields and says which days of a month they mean. It is not asked when: its search gives up at gaps over
//! two hours (Apia), drops what falls into a gap unless second, minute and hour are one value each (`0,30 2 * * *`), and its
//! parsed form has 5 KB a piece. Days and times are taken over once into a `Rule`, and croner is let go.

use std::fmt;
use std::sync::Arc;

use croner::{CronPattern, Weekday};

use crate::calendar::{Days, HORIZON_YEARS, Rule, Times, days_in_month};
use crate::error::Error;
use crate::field::FIELDS;
use crate::near::nearest;

/// Longest expression: room for every minute written out, and not for a text that costs to read.
pub const MAX_CRON_CHARS: usize = 256;

/// The nicknames, and what each stands for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * SUN"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A checked expression of five fields (minute, hour, day of month, month, weekday), six with seconds first, or a nickname.
///
/// In a field: `*`, values, names (`MON`, `JAN`), ranges, steps, lists. Days of the month also `L` (the last), `LW` (the last
/// weekday) and `15W` (the weekday nearest to the 15th); weekdays also `MON#2` (the second Monday) and `FRIL` (the last Friday).
/// When both days are given, either is enough; with `+` before the weekdays both are needed (`0 9 13 * +FRI`).
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    /// What it means; follows from `text`.
    rule: Arc<Rule>,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong, in which field, and what to write; an expression that never fires within [`HORIZON_YEARS`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::new("cron", problem);
        let count = text.chars().count();
        if count > MAX_CRON_CHARS {
            return Err(wrong(format!(
                "{count} characters are too many; the most is {MAX_CRON_CHARS}"
            )));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let fields = six_fields(&text).map_err(wrong)?;
        for (field, text) in FIELDS.iter().zip(&fields) {
            field.check(text).map_err(wrong)?;
        }
        let pattern = pattern(&fields, ONE_YEAR)?;
        let rule = rule(&pattern, &fields);
        if rule.at_or_after(0).is_none() {
            return Err(wrong(never(&pattern)));
        }
        Ok(Cron {
            text,
            rule: Arc::new(rule),
        })
    }

    /// The expression as it was written, with single spaces.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// The six fields in upper case, `0` for seconds that were not written; nicknames expanded.
    pub(crate) fn fields(&self) -> [String; 6] {
        six_fields(&self.text).expect("checked when parsed")
    }

    /// What croner says of the whole, for expressions that have no plainer words.
    pub(crate) fn in_words(&self) -> String {
        pattern(&self.fields(), "*")
            .map_or_else(|_| self.text.clone(), |pattern| pattern.describe())
    }
}

/// The same text means the same.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The fields of an expression with single spaces, in upper case; what is not so many fields is refused.
fn six_fields(text: &str) -> Result<[String; 6], String> {
    const EXAMPLE: &str = "such as \"0 9 * * MON-FRI\"";
    let mut fields: Vec<String> = expand(text)?
        .to_uppercase()
        .split(' ')
        .map(str::to_owned)
        .collect();
    if fields.len() == 5 {
        fields.insert(0, "0".to_owned());
    }
    fields.try_into().map_err(|fields: Vec<String>| match fields.len() {
        _ if text.is_empty() => format!("is empty; write minute hour day month weekday, {EXAMPLE}"),
        7 => "has 7 fields; there is no field for years, use starts and ends".to_owned(),
        count => format!("has {count} fields; write 5 (minute hour day month weekday) or 6 (second first), {EXAMPLE}"),
    })
}

fn expand(text: &str) -> Result<&str, String> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let names = || NICKNAMES.iter().map(|(name, _)| *name);
    match NICKNAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
    {
        Some((_, fields)) => Ok(fields),
        None => Err(match nearest(text, names()) {
            Some(near) => format!("there is no {text}; did you mean {near}?"),
            None => format!(
                "there is no {text}; the names are {}",
                names().collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

/// A year for croner's seventh field when only days are asked for: it would else write down 5,000 of them.
const ONE_YEAR: &str = "2000";

/// croner refuses nothing that the fields' check lets through, except where it changes its mind in a new release.
fn pattern(fields: &[String; 6], years: &str) -> Result<CronPattern, Error> {
    let text = format!("{} {years}", fields.join(" "));
    text.parse::<croner::Cron>()
        .map(|cron| cron.pattern)
        .map_err(|error| Error::new("cron", error.to_string()))
}

/// Takes over what croner understood.
fn rule(pattern: &CronPattern, fields: &[String; 6]) -> Rule {
    let bits = |values: Vec<u16>| {
        values
            .into_iter()
            .fold(0u64, |bits, value| bits | 1 << value)
    };
    let hours = bits(pattern.hours.values()) as u32;
    let every_hour = hours.count_ones() == 24;
    Rule {
        days: Days::new(bits(pattern.months.values()) as u16, |length, first| {
            days_of(pattern, length, first)
        }),
        times: Times::Fields {
            seconds: bits(pattern.seconds.values()),
            minutes: bits(pattern.minutes.values()),
            hours,
        },
        every_hour,
        repeats: every_hour || fields[1..3].iter().any(|field| field.contains(['*', '/'])),
    }
}

/// The days that a pattern means in a month of that length beginning with that weekday, bit d for day d.
fn days_of(pattern: &CronPattern, length: u32, first: u32) -> u32 {
    // croner asks the year and the month for nothing but this length; the weekday it is given.
    let (year, month) = match length {
        28 => (2023, 2),
        29 => (2024, 2),
        30 => (2024, 4),
        _ => (2024, 1),
    };
    (1..=length).fold(0, |days, day| {
        let weekday = Weekday::from_days_from_sunday(first + day - 1);
        let matches = pattern
            .day_match(year, month, day, weekday)
            .expect("the day is within the month");
        days | u32::from(matches) << day
    })
}

/// Why a pattern has no day: the days of the month that it names do not exist in its months.
fn never(pattern: &CronPattern) -> String {
    let (days, months) = (pattern.days.values(), pattern.months.values());
    // A leap year: 29 February exists.
    let missing = |month: u16| {
        days.iter()
            .find(|day| u32::from(**day) > days_in_month(2024, u32::from(month)))
            .map(|day| (*day, month))
    };
    let named: Vec<String> = months
        .iter()
        .filter_map(|month| missing(*month))
        .map(|(day, month)| format!("{day} {}", MONTHS[usize::from(month) - 1]))
        .collect();
    match named.as_slice() {
        [] => format!(
            "never fires: no day of the next {HORIZON_YEARS} years is what its day and month fields ask for"
        ),
        [one] => format!(
            "never fires: {one} does not exist; name a day that the month has, or L for its last"
        ),
        more => format!(
            "never fires: {} do not exist; name a day that the months have, or L for their last",
            more.join(" and ")
        ),
    }
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
