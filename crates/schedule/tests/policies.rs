//! What becomes of what was missed, and of what overlaps.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_schedule::overlap::decide;
use tidegate_schedule::{CatchUp, Decision, Overlap, Unfinished};

use crate::{at, schedule};

/// Hourly, last handled at 05:30; the look is at `now`. Due times as `06` for those made up, `06 late`, with what was skipped.
fn hourly(missed: Value, now: &str) -> (Vec<String>, Option<(String, String, usize)>) {
    let look = schedule(json!({ "cron": "0 * * * *", "missed": missed }))
        .catch_up(Some(at("2027-01-01T05:30:00Z")), at(now));
    assert_eq!(look.handled, at(now));
    let hour = |at: Timestamp| at.strftime("%H").to_string();
    let fire = look
        .fire
        .iter()
        .map(|due| {
            if due.missed {
                hour(due.at)
            } else {
                format!("{} late", hour(due.at))
            }
        })
        .collect();
    (
        fire,
        look.skipped
            .map(|skipped| (hour(skipped.first), hour(skipped.last), skipped.count)),
    )
}

fn skipped(first: &str, last: &str, count: usize) -> Option<(String, String, usize)> {
    Some((first.to_owned(), last.to_owned(), count))
}

#[test]
fn skip_makes_nothing_up() {
    assert_eq!(
        hourly(json!("skip"), "2027-01-01T10:20:00Z"),
        (vec![], skipped("06", "10", 5))
    );
    assert_eq!(
        hourly(json!("skip"), "2027-01-01T10:00:05Z"),
        (vec!["10 late".to_owned()], skipped("06", "09", 4))
    );
}

#[test]
fn one_is_the_latest_only() {
    assert_eq!(
        hourly(json!("one"), "2027-01-01T10:20:00Z"),
        (vec!["10".to_owned()], skipped("06", "09", 4))
    );
    // What is late stands for what was missed.
    assert_eq!(
        hourly(json!("one"), "2027-01-01T10:00:05Z"),
        (vec!["10 late".to_owned()], skipped("06", "09", 4))
    );
    assert_eq!(hourly(json!("one"), "2027-01-01T05:59:59Z"), (vec![], None));
}

#[test]
fn all_are_made_up_to_the_cap() {
    let hours = |hours: &[&str]| {
        hours
            .iter()
            .map(|hour| (*hour).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        hourly(json!("all"), "2027-01-01T08:20:00Z"),
        (hours(&["06", "07", "08"]), None)
    );
    assert_eq!(
        hourly(json!({ "all": 2 }), "2027-01-01T10:20:00Z"),
        (hours(&["09", "10"]), skipped("06", "08", 3))
    );
    // The cap is of what was missed; what is late fires besides.
    assert_eq!(
        hourly(json!({ "all": 2 }), "2027-01-01T10:00:29Z"),
        (hours(&["08", "09", "10 late"]), skipped("06", "07", 2))
    );
}

#[test]
fn less_than_thirty_seconds_is_late_and_not_missed() {
    assert_eq!(
        hourly(json!("skip"), "2027-01-01T06:00:29.999Z"),
        (vec!["06 late".to_owned()], None)
    );
    assert_eq!(
        hourly(json!("skip"), "2027-01-01T06:00:30Z"),
        (vec![], skipped("06", "06", 1))
    );
}

#[test]
fn what_is_seen_for_the_first_time_is_not_filled_back() {
    let now = at("2027-01-01T10:00:05Z");
    let nothing = CatchUp {
        fire: vec![],
        skipped: None,
        handled: now,
    };
    assert_eq!(
        schedule(json!({ "cron": "0 * * * *", "missed": "all" })).catch_up(None, now),
        nothing
    );
    // A moment that has just passed is what a form's "now" is.
    let fires = |moment: &str| {
        schedule(json!({ "once": moment }))
            .catch_up(None, now)
            .fire
            .len()
    };
    assert_eq!(
        (
            fires("2027-01-01T09:59:00Z"),
            fires("2027-01-01T09:50:05Z"),
            fires("2027-01-01T10:00:06Z")
        ),
        (1, 0, 0)
    );
}

#[test]
fn a_look_decides_each_due_time_once() {
    let schedule = schedule(json!({ "cron": "*/10 * * * *", "missed": "all" }));
    let mut handled = at("2027-01-01T00:00:00Z");
    let mut fired = Vec::new();
    // Looks at uneven times, and clocks that are put an hour on and back.
    for now in [
        "00:00:00", "00:09:59", "00:10:00", "00:10:00", "01:25:00", "00:26:00", "01:24:00",
        "01:31:00", "02:00:10",
    ] {
        let look = schedule.catch_up(Some(handled), at(&format!("2027-01-01T{now}Z")));
        assert!(look.handled >= handled && look.skipped.is_none());
        handled = look.handled;
        fired.extend(look.fire.iter().map(|due| due.at));
    }
    assert_eq!(
        fired,
        schedule.due_between(at("2027-01-01T00:00:00Z"), at("2027-01-01T02:00:10Z"), 99)
    );
}

#[test]
fn years_of_seconds_are_caught_up_at_once() {
    let schedule = schedule(json!({ "cron": "* * * * * *", "missed": { "all": 3 } }));
    let look = schedule.catch_up(
        Some(at("2020-01-01T00:00:00Z")),
        at("2027-01-01T00:00:00.5Z"),
    );
    let missed: Vec<String> = look
        .fire
        .iter()
        .filter(|due| due.missed)
        .map(|due| due.at.to_string())
        .collect();
    assert_eq!(
        missed,
        [
            "2026-12-31T23:59:28Z",
            "2026-12-31T23:59:29Z",
            "2026-12-31T23:59:30Z"
        ]
    );
    assert_eq!(look.fire.len(), 3 + 30, "half a minute is late");
    let skipped = look.skipped.unwrap();
    assert_eq!(
        (skipped.count, skipped.more, skipped.last),
        (10_000, true, at("2026-12-31T23:59:27Z"))
    );
}

/// Going backwards finds what going forwards finds, in expressions whose due times are far apart, near, or both.
#[test]
fn the_latest_are_the_last_of_all() {
    for expression in [
        "0 9 * * *",
        "*/7 * * * *",
        "30 2 * * SUN",
        "0 0 29 2 *",
        "* 3 1 1 *",
        "0 0 1 */5 *",
        "*/5 0-1 * * * *",
    ] {
        let schedule = schedule(
            json!({ "cron": expression, "timezone": "Europe/Berlin", "missed": { "all": 5 } }),
        );
        for now in [
            "2027-03-28T03:00:00Z",
            "2027-10-31T01:30:00Z",
            "2028-03-01T00:00:00Z",
            "2027-01-01T04:00:00Z",
        ] {
            let (last, now) = (at("2026-12-30T17:00:00Z"), at(now));
            let look = schedule.catch_up(Some(last), now);
            let all = schedule.due_between(last, now, usize::MAX);
            let count = look.skipped.map_or(0, |skipped| skipped.count) + look.fire.len();
            assert!(
                look.fire.iter().rev().map(|due| due.at).eq(all
                    .iter()
                    .rev()
                    .take(look.fire.len())
                    .copied()),
                "{expression} at {now}"
            );
            assert!(
                count == all.len() || all.len() > 10_000,
                "{expression} at {now}: {count} of {}",
                all.len()
            );
        }
    }
}

#[test]
fn overlap_decides_by_what_is_not_over() {
    let table = [
        (
            Overlap::Skip,
            [
                Decision::Start,
                Decision::Skip,
                Decision::Skip,
                Decision::Skip,
            ],
        ),
        (
            Overlap::Queue,
            [
                Decision::Start,
                Decision::Queue,
                Decision::Skip,
                Decision::Skip,
            ],
        ),
        (Overlap::Allow, [Decision::Start; 4]),
        (
            Overlap::Cancel,
            [
                Decision::Start,
                Decision::CancelOldAndStart,
                Decision::CancelOldAndStart,
                Decision::CancelOldAndStart,
            ],
        ),
    ];
    let unfinished =
        [(0, 0), (1, 0), (1, 1), (0, 1)].map(|(running, queued)| Unfinished { running, queued });
    for (policy, decisions) in table {
        assert_eq!(
            unfinished.map(|unfinished| decide(policy, unfinished)),
            decisions,
            "{policy:?}"
        );
    }
}
