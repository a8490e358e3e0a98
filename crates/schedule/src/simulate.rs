//! What a schedule's policies would do over a period with outages: the same decisions as the scheduler's, on paper.
//!
//! An outage is one of the scheduler. Runs that have begun go on through it, and nothing begins in it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::missed::signed;
use crate::overlap::{Decision, Unfinished, decide};
use crate::preview::iso;
use crate::schedule::Schedule;

/// Most due times of one simulation.
pub const MAX_ROWS: usize = 10_000;

/// What became of each due time, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    pub rows: Vec<Simulated>,
    /// The period has more than [`MAX_ROWS`] due times; the rest was not looked at.
    pub truncated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulated {
    #[serde(serialize_with = "iso")]
    pub due: Timestamp,
    pub fate: Fate,
    /// When its run began; none for what was skipped or never began.
    #[serde(serialize_with = "iso_option")]
    pub fired_at: Option<Timestamp>,
    /// When its run ended, or was cancelled.
    #[serde(serialize_with = "iso_option")]
    pub ended_at: Option<Timestamp>,
    /// From due time to beginning, in milliseconds.
    pub lateness_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    Ran,
    /// Made way for a later run (`overlap: "cancel"`).
    Cancelled,
    /// Passed in an outage, and the policy `missed` makes nothing of it.
    SkippedMissed,
    /// An earlier run was not over, and the policy `overlap` makes nothing of it.
    SkippedOverlap,
    /// Passed in an outage that outlasts the period: `missed` decides when it is over.
    Undecided,
}

/// Plays the due times after `from` up to `to`. The schedule is known since `from`.
///
/// `outages`: from the first instant of each up to, not including, the second; in any order. `run_duration`: of each run.
pub fn simulate(
    schedule: &Schedule,
    from: Timestamp,
    to: Timestamp,
    outages: &[(Timestamp, Timestamp)],
    run_duration: Duration,
) -> Simulation {
    let outages = merged(outages);
    let mut play = Play {
        schedule,
        duration: signed(run_duration),
        outages: &outages,
        rows: Vec::new(),
        running: Vec::new(),
        waiting: None,
    };
    let mut handled = from;
    for down in outages.iter().filter(|(down, up)| *up > from && *down < to) {
        play.on_time(handled, down.0);
        let up = down.1.min(to);
        handled = handled.max(before(down.0));
        if down.1 <= to {
            play.catch_up(handled, up);
        } else {
            play.pass(handled, to, Fate::Undecided);
        }
        handled = handled.max(up);
    }
    if handled < to {
        play.on_time(handled, after(to));
    }
    play.settle(Timestamp::MAX);
    play.rows.sort_by_key(|row| row.due);
    let truncated = play.rows.len() > MAX_ROWS;
    play.rows.truncate(MAX_ROWS);
    Simulation {
        rows: play.rows,
        truncated,
    }
}

struct Play<'a> {
    schedule: &'a Schedule,
    duration: SignedDuration,
    outages: &'a [(Timestamp, Timestamp)],
    rows: Vec<Simulated>,
    /// Rows of runs that are not over, in order of their beginning.
    running: Vec<usize>,
    /// The row that [`Decision::Queue`] put off.
    waiting: Option<usize>,
}

impl Play<'_> {
    /// Due times after `from` and before `until`, each fired at its time.
    fn on_time(&mut self, from: Timestamp, until: Timestamp) {
        for due in self.schedule.due_between(from, before(until), self.room()) {
            self.fire(due, due);
        }
    }

    /// The first look after an outage.
    fn catch_up(&mut self, handled: Timestamp, now: Timestamp) {
        let decided = self.schedule.catch_up(Some(handled), now);
        if let Some(skipped) = decided.skipped {
            self.pass(before(skipped.first), skipped.last, Fate::SkippedMissed);
        }
        for due in decided.fire {
            if self.room() > 0 {
                self.fire(due.at, now);
            }
        }
    }

    /// Due times after `from` and up to `to` that nothing is made of.
    fn pass(&mut self, from: Timestamp, to: Timestamp, fate: Fate) {
        for due in self.schedule.due_between(from, to, self.room()) {
            self.push(due, fate);
        }
    }

    /// How many due times there is room for, and one more that tells of the rest.
    fn room(&self) -> usize {
        (MAX_ROWS + 1).saturating_sub(self.rows.len())
    }

    fn fire(&mut self, due: Timestamp, now: Timestamp) {
        self.settle(now);
        let unfinished = Unfinished {
            running: self.running.len(),
            queued: usize::from(self.waiting.is_some()),
        };
        match decide(self.schedule.overlap, unfinished) {
            Decision::Skip => {
                self.push(due, Fate::SkippedOverlap);
            }
            Decision::Queue => self.waiting = Some(self.push(due, Fate::Ran)),
            Decision::Start => self.begin_new(due, now),
            Decision::CancelOldAndStart => {
                for row in std::mem::take(&mut self.running) {
                    let row = &mut self.rows[row];
                    row.fate = Fate::Cancelled;
                    row.ended_at = Some(now);
                    // One that its jitter kept waiting never began.
                    if row.fired_at.is_some_and(|fired| fired > now) {
                        (row.fired_at, row.lateness_ms) = (None, None);
                    }
                }
                self.begin_new(due, now);
            }
        }
    }

    fn begin_new(&mut self, due: Timestamp, now: Timestamp) {
        let row = self.push(due, Fate::Ran);
        let at = self.schedule.run_at(due).max(now);
        self.begin(row, at);
    }

    fn begin(&mut self, row: usize, at: Timestamp) {
        let at = self.up_from(at);
        self.running.push(row);
        let row = &mut self.rows[row];
        row.fired_at = Some(at);
        row.ended_at = Some(at.checked_add(self.duration).unwrap_or(Timestamp::MAX));
        row.lateness_ms = Some(at.as_millisecond() - row.due.as_millisecond());
    }

    fn push(&mut self, due: Timestamp, fate: Fate) -> usize {
        self.rows.push(Simulated {
            due,
            fate,
            fired_at: None,
            ended_at: None,
            lateness_ms: None,
        });
        self.rows.len() - 1
    }

    /// Ends the runs that are over by `now`; what waited for them begins.
    fn settle(&mut self, now: Timestamp) {
        loop {
            let last = self
                .running
                .iter()
                .filter_map(|row| self.rows[*row].ended_at)
                .max();
            self.running
                .retain(|row| self.rows[*row].ended_at.is_some_and(|ended| ended > now));
            match (last, self.waiting) {
                (Some(last), Some(waiting)) if self.running.is_empty() => {
                    self.waiting = None;
                    let at = self.schedule.run_at(self.rows[waiting].due).max(last);
                    self.begin(waiting, at);
                }
                _ => return,
            }
        }
    }

    /// The first instant at or after `at` at which the scheduler is up.
    fn up_from(&self, at: Timestamp) -> Timestamp {
        self.outages
            .iter()
            .find(|(down, up)| *down <= at && at < *up)
            .map_or(at, |(_, up)| *up)
    }
}

/// In order and apart; empty ones left out.
fn merged(outages: &[(Timestamp, Timestamp)]) -> Vec<(Timestamp, Timestamp)> {
    let mut outages: Vec<_> = outages
        .iter()
        .copied()
        .filter(|(down, up)| down < up)
        .collect();
    outages.sort();
    outages.dedup_by(|later, earlier| {
        let touches = later.0 <= earlier.1;
        if touches {
            earlier.1 = earlier.1.max(later.1);
        }
        touches
    });
    outages
}

fn before(at: Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(at)
}

fn after(at: Timestamp) -> Timestamp {
    at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(at)
}

fn iso_option<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
