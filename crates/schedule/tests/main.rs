//! The clock law against an independent model, its policies, and what it refuses. No server is needed.

// A test's helpers may panic as its body may.
#![allow(clippy::unwrap_used)]

mod forms;
mod law;
mod model;
mod people;
mod policies;
mod refused;
mod rows;
mod speed;
mod zones;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_schedule::{Options, Schedule};

/// A schedule named `test`, created on 2020-01-01.
fn schedule(options: Value) -> Schedule {
    let options = Options::read(&options).unwrap_or_else(|error| panic!("{options}: {error}"));
    Schedule::new("test", &options, at("2020-01-01T00:00:00Z")).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The first due times after an instant, with their local offsets.
fn local(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    schedule
        .after(at(after))
        .take(count)
        .map(|due| {
            due.to_zoned(schedule.zone.clone())
                .strftime("%Y-%m-%dT%H:%M:%S%:z")
                .to_string()
        })
        .collect()
}

/// A generator of the same numbers in each run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}
