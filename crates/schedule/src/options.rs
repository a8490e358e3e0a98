//! What an author writes about a schedule, in code, in `tidegate.toml`, over REST or at the command line.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::duration::short;
use crate::error::Error;
use crate::read;
use crate::timing::Timing;

/// Shortest interval: what comes oftener is a loop, not a schedule.
pub const MIN_EVERY: Duration = Duration::from_secs(1);
/// Longest interval, 10 years.
pub const MAX_EVERY: Duration = Duration::from_secs(3650 * 86_400);
/// Longest jitter, a day: what is due on one day begins by the next.
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);
/// Most missed due times that `missed: "all"` makes up, when no cap is said.
pub const DEFAULT_MISSED_CAP: u32 = 100;
/// Largest cap: so many runs come at once when an outage is over.
pub const MAX_MISSED_CAP: u32 = 1000;
pub const MAX_DESCRIPTION_CHARS: usize = 1000;
pub const MAX_RETRIES: u32 = 1000;
/// Priorities are from minus this to this; higher first.
pub const MAX_PRIORITY: i16 = 100;

/// The options of a schedule, checked. JSON in and out, camelCase:
///
/// `{ cron | every | daily | weekly | monthly | once, timezone, params, missed, overlap, jitter, starts, ends, retries, priority, description }`
///
/// - `cron`: see [`crate::Cron`]. `every`: `"10m"` or milliseconds. `daily`: `"09:00"` or `{ at, every }`. `weekly`:
///   `{ on: ["MON", …], at, every }`. `monthly`: `{ on: [1, 15, "last"], at }`. `once`: ISO. Exactly one of them.
///   The inner `every` repeats from `at` to the end of the day.
/// - `timezone`: an IANA name, by default `UTC`.
/// - `starts`, `ends`: due times before and after are none; both belong to the schedule. ISO with an offset or `Z`, or
///   milliseconds; without an offset in the schedule's zone; a bare day is meant from its first moment to its last.
/// - `missed`: `"skip"`, `"one"` (default), `"all"` or `{ all: cap }`. `overlap`: `"skip"` (default), `"queue"`, `"allow"`, `"cancel"`.
///
/// Written back it is in one form: names in their canonical case, durations as text, what was left out left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Options {
    pub timing: Timing,
    /// Canonical IANA name.
    pub timezone: String,
    /// Passed to each run. Its size is limited where runs are made.
    pub params: Option<Map<String, Value>>,
    pub missed: Missed,
    pub overlap: Overlap,
    /// Each run begins up to this much after its due time.
    pub jitter: Duration,
    pub starts: Option<Timestamp>,
    pub ends: Option<Timestamp>,
    /// `None`: as the job says.
    pub retries: Option<u32>,
    pub priority: Option<i16>,
    pub description: Option<String>,
}

/// What becomes of due times that nobody was there to handle. Decided in [`crate::Schedule::catch_up`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    Skip,
    /// The latest stands for all.
    #[default]
    One,
    /// Each, the latest `cap` of them.
    All {
        cap: u32,
    },
}

/// What a fire does while an earlier run of the schedule is not over. Decided in [`crate::overlap::decide`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    #[default]
    Skip,
    /// One waits for its turn; what comes while it waits is skipped.
    Queue,
    Allow,
    /// The old one is cancelled.
    Cancel,
}

impl Options {
    /// Reads options. `{ "cron": "0 9 * * *" }` is enough.
    ///
    /// # Errors
    /// The first option that cannot be accepted, with the reason and the remedy; unknown names, with the one they resemble.
    pub fn read(value: &Value) -> Result<Self, Error> {
        read::options(value)
    }

    /// Options with nothing but a timing, in UTC.
    pub fn of(timing: Timing) -> Self {
        Options {
            timing,
            timezone: "UTC".to_owned(),
            params: None,
            missed: Missed::default(),
            overlap: Overlap::default(),
            jitter: Duration::ZERO,
            starts: None,
            ends: None,
            retries: None,
            priority: None,
            description: None,
        }
    }

    pub fn to_value(&self) -> Value {
        let (form, timing) = self.timing.to_option();
        let mut value = json!({ form: timing, "timezone": self.timezone, "missed": self.missed.to_value(), "overlap": self.overlap.name() });
        let mut put = |name: &str, option: Option<Value>| {
            if let Some(option) = option {
                value[name] = option;
            }
        };
        put("params", self.params.clone().map(Value::Object));
        put(
            "jitter",
            (!self.jitter.is_zero()).then(|| json!(short(self.jitter))),
        );
        put(
            "starts",
            self.starts.map(|starts| json!(starts.to_string())),
        );
        put("ends", self.ends.map(|ends| json!(ends.to_string())));
        put("retries", self.retries.map(Value::from));
        put("priority", self.priority.map(Value::from));
        put("description", self.description.clone().map(Value::String));
        value
    }
}

impl Missed {
    fn to_value(self) -> Value {
        match self {
            Missed::Skip => json!("skip"),
            Missed::One => json!("one"),
            Missed::All {
                cap: DEFAULT_MISSED_CAP,
            } => json!("all"),
            Missed::All { cap } => json!({ "all": cap }),
        }
    }
}

impl Overlap {
    pub(crate) const ALL: [Overlap; 4] = [
        Overlap::Skip,
        Overlap::Queue,
        Overlap::Allow,
        Overlap::Cancel,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Overlap::Skip => "skip",
            Overlap::Queue => "queue",
            Overlap::Allow => "allow",
            Overlap::Cancel => "cancel",
        }
    }
}

impl TryFrom<Value> for Options {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self, Error> {
        Options::read(&value)
    }
}

impl From<Options> for Value {
    fn from(options: Options) -> Value {
        options.to_value()
    }
}
