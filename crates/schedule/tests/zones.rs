//! All IANA zones, 2024 to 2034, against [`crate::model`]: no fire missed, none twice, in order.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};
use serde_json::json;
use tidegate_schedule::Schedule;

use crate::model::{Expression, Model, offsets};
use crate::{Random, at, schedule};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

const fn fixed(text: &'static str) -> Expression {
    Expression {
        text,
        every_hour: false,
        repeats: false,
    }
}

const fn stepped(text: &'static str) -> Expression {
    Expression {
        text,
        every_hour: false,
        repeats: true,
    }
}

const fn hourly(text: &'static str) -> Expression {
    Expression {
        text,
        every_hour: true,
        repeats: true,
    }
}

/// Around changes, where they happen: at night.
const EXPRESSIONS: [Expression; 28] = [
    fixed("0 30 2 * * *"),
    hourly("0 */30 * * * *"),
    fixed("0 0 0 * * *"),
    stepped("0 * 2 * * *"),
    fixed("0 0,30 0-4 * * *"),
    hourly("0 20 * * * *"),
    stepped("0 0 */2 * * *"),
    fixed("0 0 3 * * *"),
    stepped("0 */15 0-3 * * *"),
    fixed("0 30 1 * * SUN"),
    hourly("0 */7 * * * *"),
    fixed("0 15 0,1,2,3,23 * * *"),
    stepped("0 30 */3 * * *"),
    hourly("0 45 0-23 * * *"),
    fixed("0 30 2 * * SUN"),
    fixed("0 0 9 * * MON-FRI"),
    fixed("0 30 1 L * *"),
    fixed("0 30 2 15W * *"),
    fixed("0 0 0 LW * *"),
    fixed("0 0 2 * * SUN#2"),
    fixed("0 30 1 * * SUNL"),
    fixed("0 30 2 13 * FRI"),
    fixed("0 0 3 1-31 * +SAT-SUN"),
    fixed("0 0 0 1,15 * *"),
    fixed("0 59 23 31 * *"),
    fixed("0 0 1 28,29 2 *"),
    fixed("0 5 1,2 */2 MAR-NOV *"),
    fixed("0 0 12 * MAR,OCT FRI-SUN"),
];

const TO_THE_SECOND: [Expression; 4] = [
    hourly("*/7 * * * * *"),
    fixed("*/10 30 2 * * *"),
    fixed("59 59 1,2 * * *"),
    stepped("1 */20 1-3 * * *"),
];

/// Zones that are the same to the minute for ten years, under all their names.
struct Group {
    zone: TimeZone,
    names: Vec<String>,
    /// The first second of each change.
    changes: Vec<i64>,
}

fn every_zone() -> Vec<(String, TimeZone)> {
    let mut zones: Vec<_> = tz::db()
        .available()
        .map(|name| {
            (
                name.as_str().to_owned(),
                tz::db().get(name.as_str()).unwrap(),
            )
        })
        .collect();
    zones.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(
        zones.len() > 400,
        "a whole database has several hundred zones, this one {}",
        zones.len()
    );
    zones
}

fn ten_years() -> (i64, i64) {
    (
        at("2024-01-01T00:00:00Z").as_second(),
        at("2034-01-01T00:00:00Z").as_second(),
    )
}

/// The model walks once for zones that are the same; each name is then held against it.
fn groups() -> Vec<Group> {
    let (from, to) = ten_years();
    let mut groups: HashMap<(i32, Vec<(i64, i32)>), Group> = HashMap::new();
    for (name, zone) in every_zone() {
        let changes = changes(&zone, from, to);
        let key = (
            offset(&zone, from),
            changes
                .iter()
                .map(|change| (*change, offset(&zone, *change)))
                .collect(),
        );
        groups
            .entry(key)
            .or_insert_with(|| Group {
                zone,
                names: Vec::new(),
                changes,
            })
            .names
            .push(name);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|one, other| one.names.cmp(&other.names));
    groups
}

/// Looked for each two hours, then by the minute.
fn changes(zone: &TimeZone, from: i64, to: i64) -> Vec<i64> {
    let coarse = offsets(zone, from, to, 2 * HOUR);
    let around = coarse
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] != pair[1])
        .map(|(index, _)| from + index as i64 * 2 * HOUR);
    around
        .map(|before| {
            (1..=120)
                .map(|minute| before + minute * MINUTE)
                .find(|at| offset(zone, *at) != offset(zone, before))
                .unwrap()
        })
        .collect()
}

fn offset(zone: &TimeZone, second: i64) -> i32 {
    zone.to_offset(instant(second)).seconds()
}

fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A stretch of real time, as the model sees it.
struct Window {
    from: i64,
    step: i64,
    offsets: Vec<i32>,
}

impl Window {
    fn new(zone: &TimeZone, from: i64, to: i64, step: i64) -> Self {
        Window {
            from,
            step,
            offsets: offsets(zone, from, to, step),
        }
    }

    fn due(&self, expression: &Expression) -> Vec<i64> {
        Model::new(expression).due(self.from, self.step, &self.offsets)
    }

    /// Our answer for the same stretch is theirs.
    fn check(&self, schedule: &Schedule, expression: &Expression, theirs: &[i64]) {
        let to = self.from + (self.offsets.len() as i64 - 1) * self.step;
        let ours: Vec<i64> = schedule
            .due_between(instant(self.from), instant(to), usize::MAX)
            .iter()
            .map(|due| due.as_second())
            .collect();
        let only = |some: &[i64], other: &[i64]| {
            some.iter()
                .filter(|due| other.binary_search(due).is_err())
                .map(|due| instant(*due))
                .take(9)
                .collect::<Vec<_>>()
        };
        assert!(
            ours == theirs,
            "{:?} in {:?} after {}: missed {:?}, not due {:?}",
            expression.text,
            schedule.zone,
            instant(self.from),
            only(theirs, &ours),
            only(&ours, theirs)
        );
        self.ask_within(schedule, expression, theirs);
    }

    /// Whoever asks in the middle, also of a repeated hour, is told the same.
    fn ask_within(&self, schedule: &Schedule, expression: &Expression, theirs: &[i64]) {
        let middle = self.from + self.offsets.len() as i64 / 2 * self.step;
        for after in (-7..=7)
            .map(|step| middle + step * 11 * MINUTE)
            .filter(|after| *after > self.from)
        {
            if let Some(expected) = theirs.get(theirs.partition_point(|due| *due <= after)) {
                let due = schedule
                    .next_after(instant(after))
                    .map(|due| due.as_second());
                assert_eq!(
                    due,
                    Some(*expected),
                    "{:?} in {:?} after {}",
                    expression.text,
                    schedule.zone,
                    instant(after)
                );
            }
        }
    }
}

/// Schedules of some expressions, made once for each name: reading costs more than asking.
fn schedules(expressions: &[Expression], name: &str) -> Vec<Schedule> {
    expressions
        .iter()
        .map(|expression| schedule(json!({ "cron": expression.text, "timezone": name })))
        .collect()
}

/// Each change of each zone, a day before and after, by the minute, every expression in turn at every fourth change.
#[test]
fn every_change_of_every_zone() {
    let mut seen = 0;
    for group in groups().iter().filter(|group| !group.changes.is_empty()) {
        let schedules: Vec<_> = group
            .names
            .iter()
            .map(|name| schedules(&EXPRESSIONS, name))
            .collect();
        for (turn, change) in group.changes.iter().enumerate() {
            let window = Window::new(&group.zone, change - DAY, change + DAY, MINUTE);
            for (index, expression) in EXPRESSIONS
                .iter()
                .enumerate()
                .filter(|(index, _)| (index + turn / 2).is_multiple_of(4))
            {
                let theirs = window.due(expression);
                schedules
                    .iter()
                    .for_each(|of_name| window.check(&of_name[index], expression, &theirs));
            }
        }
        seen += group.changes.len() * group.names.len();
    }
    assert!(
        seen > 2000,
        "the ten years have thousands of changes, seen {seen}"
    );
}

/// Each change again, from a quarter of an hour before it to an hour and a quarter after, by the second.
#[test]
fn every_change_to_the_second() {
    for group in groups().iter().filter(|group| !group.changes.is_empty()) {
        let schedules: Vec<_> = group
            .names
            .iter()
            .map(|name| schedules(&TO_THE_SECOND, name))
            .collect();
        for (turn, change) in group.changes.iter().enumerate() {
            let window = Window::new(&group.zone, change - 15 * MINUTE, change + 75 * MINUTE, 1);
            let index = turn / 2 % TO_THE_SECOND.len();
            let theirs = window.due(&TO_THE_SECOND[index]);
            schedules
                .iter()
                .for_each(|of_name| window.check(&of_name[index], &TO_THE_SECOND[index], &theirs));
        }
    }
}

/// Quiet times too: for each zone a week somewhere in the ten years.
#[test]
fn any_week_of_every_zone() {
    let mut random = Random(4);
    for (name, zone) in every_zone() {
        let from = ten_years().0 + random.below(3640) as i64 * DAY;
        // At noon: the model cannot know that it begins within a repeated hour, and those are at night.
        let from = from + 12 * HOUR - i64::from(offset(&zone, from)) / HOUR * HOUR;
        let window = Window::new(&zone, from, from + 7 * DAY, MINUTE);
        for _ in 0..3 {
            let expression = &EXPRESSIONS[random.below(EXPRESSIONS.len() as u64) as usize];
            window.check(
                &schedules(std::slice::from_ref(expression), &name)[0],
                expression,
                &window.due(expression),
            );
        }
    }
}

/// Ten years by the minute, in zones that differ most.
#[test]
fn ten_whole_years() {
    let (from, to) = ten_years();
    for (turn, name) in ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"]
        .into_iter()
        .enumerate()
    {
        let window = Window::new(&tz::db().get(name).unwrap(), from, to, MINUTE);
        for expression in EXPRESSIONS.iter().skip(turn).step_by(9) {
            window.check(
                &schedules(std::slice::from_ref(expression), name)[0],
                expression,
                &window.due(expression),
            );
        }
    }
}

/// A daily time comes once on each of the 3,653 days, in each zone, whatever its clocks do.
#[test]
fn each_day_once() {
    for (index, (name, zone)) in every_zone().into_iter().enumerate() {
        let time = ["00:00", "00:30", "01:30", "02:30", "03:00", "23:30"][index % 6];
        let schedule = schedule(json!({ "daily": time, "timezone": name }));
        let midnight = |year: i16| {
            zone.to_timestamp(jiff::civil::date(year, 1, 1).at(0, 0, 0, 0))
                .unwrap()
        };
        let just_before = Timestamp::from_second(midnight(2024).as_second() - 1).unwrap();
        let mut last = just_before;
        let mut count = 0;
        for due in schedule
            .after(just_before)
            .take_while(|due| *due < midnight(2034))
        {
            assert!(due > last, "{name}: {due} after {last}");
            assert!(
                (due.as_second() - last.as_second()) <= 27 * HOUR || count == 0,
                "{name}: nothing between {last} and {due}"
            );
            (last, count) = (due, count + 1);
        }
        assert_eq!(count, 3653, "{name} at {time}");
    }
}
