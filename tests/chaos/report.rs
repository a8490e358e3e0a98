//! The figures of a round, for people and for the test that asserts them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fleet::Fleet;
use super::oracle::Books;
use super::storm::{Fault, Storm};

pub struct Report {
    seed: u64,
    took: Duration,
    struck: BTreeMap<Fault, usize>,
    recoveries: BTreeMap<Fault, Vec<Duration>>,
    kills: usize,
    ended_at: BTreeMap<String, usize>,
    books: Books,
    logs: String,
}

impl Report {
    pub fn of(seed: u64, took: Duration, storm: Storm, fleet: &Fleet, books: Books) -> Report {
        Report {
            seed,
            took,
            struck: storm.struck,
            recoveries: storm.recoveries,
            kills: storm.kills + fleet.ended_at.values().sum::<usize>(),
            ended_at: fleet.ended_at.clone(),
            books,
            logs: fleet.logs(),
        }
    }

    /// Fails with the whole report unless nothing was lost and nothing doubled.
    pub fn assert_clean(&self) {
        self.books.assert_clean(&format!("{self}\n{}", self.logs));
        assert!(self.kills > 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = &self.books;
        writeln!(f, "seed {}, {} s", self.seed, self.took.as_secs())?;
        let at_places: usize = self.ended_at.values().sum();
        writeln!(
            f,
            "kills                   {:>8}   ({at_places} at {} named places)",
            self.kills,
            self.ended_at.len()
        )?;
        let figures = [
            ("acknowledged writes", books.acknowledged),
            ("committed changes", books.committed),
            ("events in the log", books.events),
            ("lost writes", books.lost_writes),
            ("lost events", books.lost_events),
            ("phantom events", books.phantom_events),
            ("holes in the log", books.holes),
            ("missed triggers", books.missed),
            ("dead letters", books.dead_letters),
            ("order inversions", books.inversions),
            ("duplicate effects", books.duplicate_effects),
            ("repeated runs", books.repeated_runs),
        ];
        for (name, figure) in figures.into_iter().chain(books.jobs.figures()) {
            writeln!(f, "{name:<24}{figure:>8}")?;
        }
        writeln!(
            f,
            "\n{:<18}{:>6}{:>10}{:>10}   until every object is served and jobs run again, s",
            "fault", "times", "median", "longest"
        )?;
        for (fault, times) in &self.struck {
            let mut waits = self.recoveries.get(fault).cloned().unwrap_or_default();
            waits.sort_unstable();
            let shown = |wait: Option<&Duration>| {
                wait.map_or("-".into(), |wait| format!("{:.2}", wait.as_secs_f64()))
            };
            let (median, longest) = (shown(waits.get(waits.len() / 2)), shown(waits.last()));
            writeln!(
                f,
                "{:<18}{times:>6}{median:>10}{longest:>10}",
                format!("{fault:?}")
            )?;
        }
        Ok(())
    }
}
