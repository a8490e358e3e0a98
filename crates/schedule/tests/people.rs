//! What is shown to people: previews, simulations, descriptions.

use std::time::Duration;

use serde_json::{Value, json};

use tidegate_schedule::{Options, Simulation, describe, preview, simulate};

use crate::{at, schedule};

fn rows(options: Value, after: &str, count: usize) -> Vec<String> {
    let rows = preview(&schedule(options), at(after), count);
    rows.iter()
        .map(|row| {
            format!(
                "{} | {} {} | {}",
                row.due,
                row.local,
                row.zone,
                row.note.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn preview_marks_the_days_on_which_clocks_change() {
    assert_eq!(
        rows(
            json!({ "cron": "0 9 * * *", "timezone": "Europe/Berlin" }),
            "2027-03-27T00:00:00Z",
            3
        ),
        [
            "2027-03-27T08:00:00Z | 2027-03-27T09:00:00+01:00 CET | -",
            "2027-03-28T07:00:00Z | 2027-03-28T09:00:00+02:00 CEST | clocks go forward on this day, from 02:00 to 03:00",
            "2027-03-29T07:00:00Z | 2027-03-29T09:00:00+02:00 CEST | -",
        ]
    );
    assert_eq!(
        rows(
            json!({ "cron": "30 2 * * *", "timezone": "Europe/Berlin" }),
            "2027-03-28T00:00:00Z",
            1
        ),
        [
            "2027-03-28T01:00:00Z | 2027-03-28T03:00:00+02:00 CEST | clocks go forward: 02:30 does not exist, fires at 03:00"
        ]
    );
    assert_eq!(
        rows(
            json!({ "cron": "30 2 * * *", "timezone": "Europe/Berlin" }),
            "2027-10-31T00:00:00Z",
            1
        ),
        [
            "2027-10-31T00:30:00Z | 2027-10-31T02:30:00+02:00 CEST | clocks go back: 02:30 comes twice, fires the first time only"
        ]
    );
    assert_eq!(
        rows(
            json!({ "cron": "0 * * * *", "timezone": "Europe/Berlin" }),
            "2027-10-30T23:30:00Z",
            3
        ),
        [
            "2027-10-31T00:00:00Z | 2027-10-31T02:00:00+02:00 CEST | clocks go back: 02:00 comes twice, this is the first time",
            "2027-10-31T01:00:00Z | 2027-10-31T02:00:00+01:00 CET | clocks go back: 02:00 comes twice, this is the second time",
            "2027-10-31T02:00:00Z | 2027-10-31T03:00:00+01:00 CET | clocks go back on this day, from 03:00 to 02:00",
        ]
    );
    assert_eq!(
        rows(
            json!({ "cron": "0 9 * * *", "timezone": "Pacific/Apia" }),
            "2011-12-30T00:00:00Z",
            1
        ),
        [
            "2011-12-30T10:00:00Z | 2011-12-31T00:00:00+14:00 +14 | clocks go forward: 2011-12-30 09:00 does not exist, fires at 2011-12-31 00:00"
        ]
    );
    let row = &preview(
        &schedule(json!({ "once": "2027-01-01T00:00:00Z" })),
        at("2020-01-01T00:00:00Z"),
        9,
    );
    let expected = json!([{ "due": "2027-01-01T00:00:00Z", "local": "2027-01-01T00:00:00+00:00", "zone": "UTC", "note": null }]);
    assert_eq!(serde_json::to_value(row).unwrap(), expected);
}

/// Times of 2027-03-28 as `HH:MM`.
fn play(
    options: Value,
    from: &str,
    to: &str,
    outages: &[(&str, &str)],
    minutes: u64,
) -> Vec<String> {
    let time = |time: &str| at(&format!("2027-03-28T{time}:00Z"));
    let outages: Vec<_> = outages
        .iter()
        .map(|(down, up)| (time(down), time(up)))
        .collect();
    let Simulation { rows, truncated } = simulate(
        &schedule(options),
        time(from),
        time(to),
        &outages,
        Duration::from_secs(minutes * 60),
    );
    assert!(!truncated);
    let short = |at: Option<jiff::Timestamp>| {
        at.map_or("-".to_owned(), |at| at.strftime("%H:%M").to_string())
    };
    rows.iter()
        .map(|row| {
            format!(
                "{} {:?} {}..{} +{}m",
                short(Some(row.due)),
                row.fate,
                short(row.fired_at),
                short(row.ended_at),
                row.lateness_ms.unwrap_or(0) / 60_000
            )
        })
        .collect()
}

#[test]
fn simulation_of_missed() {
    let options = |missed: Value| json!({ "cron": "0,30 * * * *", "timezone": "Europe/Berlin", "missed": missed, "overlap": "allow" });
    let outage = [("00:20", "01:45")];
    assert_eq!(
        play(options(json!("skip")), "00:00", "02:00", &outage, 5),
        [
            "00:30 SkippedMissed -..- +0m",
            "01:00 SkippedMissed -..- +0m",
            "01:30 SkippedMissed -..- +0m",
            "02:00 Ran 02:00..02:05 +0m"
        ]
    );
    assert_eq!(
        play(options(json!("one")), "00:00", "02:00", &outage, 5),
        [
            "00:30 SkippedMissed -..- +0m",
            "01:00 SkippedMissed -..- +0m",
            "01:30 Ran 01:45..01:50 +15m",
            "02:00 Ran 02:00..02:05 +0m"
        ]
    );
    assert_eq!(
        play(options(json!({ "all": 2 })), "00:00", "02:00", &outage, 5),
        [
            "00:30 SkippedMissed -..- +0m",
            "01:00 Ran 01:45..01:50 +45m",
            "01:30 Ran 01:45..01:50 +15m",
            "02:00 Ran 02:00..02:05 +0m"
        ]
    );
    // An outage that outlasts the period leaves its due times open; outages that touch are one.
    assert_eq!(
        play(
            options(json!("one")),
            "00:00",
            "01:10",
            &[("00:40", "02:00"), ("00:20", "00:40")],
            5
        ),
        ["00:30 Undecided -..- +0m", "01:00 Undecided -..- +0m"]
    );
}

#[test]
fn simulation_of_overlap() {
    let options = |overlap: &str| json!({ "cron": "*/10 * * * *", "overlap": overlap });
    let of = |overlap: &str| play(options(overlap), "00:00", "00:40", &[], 25);
    assert_eq!(
        of("skip"),
        [
            "00:10 Ran 00:10..00:35 +0m",
            "00:20 SkippedOverlap -..- +0m",
            "00:30 SkippedOverlap -..- +0m",
            "00:40 Ran 00:40..01:05 +0m"
        ]
    );
    assert_eq!(
        of("queue"),
        [
            "00:10 Ran 00:10..00:35 +0m",
            "00:20 Ran 00:35..01:00 +15m",
            "00:30 SkippedOverlap -..- +0m",
            "00:40 Ran 01:00..01:25 +20m"
        ]
    );
    assert_eq!(of("allow").last().unwrap(), "00:40 Ran 00:40..01:05 +0m");
    assert_eq!(
        of("cancel"),
        [
            "00:10 Cancelled 00:10..00:20 +0m",
            "00:20 Cancelled 00:20..00:30 +0m",
            "00:30 Cancelled 00:30..00:40 +0m",
            "00:40 Ran 00:40..01:05 +0m"
        ]
    );
}

#[test]
fn simulation_ends_at_its_limit() {
    let every = schedule(json!({ "every": "1s", "overlap": "allow" }));
    let long = simulate(
        &every,
        at("2027-01-01T00:00:00Z"),
        at("2028-01-01T00:00:00Z"),
        &[(at("2027-01-01T00:30:00Z"), at("2027-06-01T00:00:00Z"))],
        Duration::ZERO,
    );
    assert!(long.truncated);
    assert_eq!(long.rows.len(), 10_000);
    assert!(long.rows.windows(2).all(|pair| pair[0].due < pair[1].due));
}

#[test]
fn descriptions() {
    let table = [
        (
            json!({ "cron": "0 9 * * MON-FRI", "timezone": "Europe/Berlin" }),
            "at 09:00 on Monday to Friday, Europe/Berlin",
        ),
        (
            json!({ "cron": "0 9,17 * * *" }),
            "at 09:00 and 17:00 every day, UTC",
        ),
        (
            json!({ "cron": "*/15 * * * *" }),
            "every 15 minutes every day, UTC",
        ),
        (
            json!({ "cron": "*/15 9-17 * * 1-5" }),
            "at every 15 minutes, of hour 9-17, on Monday, Tuesday, Wednesday, Thursday, and Friday, UTC",
        ),
        (json!({ "cron": "@hourly" }), "every hour every day, UTC"),
        (
            json!({ "cron": "5 */6 * * *" }),
            "every 6 hours at minute 5 every day, UTC",
        ),
        (
            json!({ "cron": "0 9-17 * * 1-5" }),
            "every hour from 09:00 to 17:00 on Monday to Friday, UTC",
        ),
        (
            json!({ "cron": "30 0 9 1,15,L * *" }),
            "at 09:00:30 on the 1st, the 15th and the last day of the month, UTC",
        ),
        (
            json!({ "cron": "0 9 15W JAN,JUN-AUG *" }),
            "at 09:00 on the working day nearest to the 15th of the month, in January and June to August, UTC",
        ),
        (
            json!({ "cron": "0 9 * * MON#2,FRIL" }),
            "at 09:00 on the second Monday of the month and the last Friday of the month, UTC",
        ),
        (
            json!({ "cron": "0 9 13 * FRI" }),
            "at 09:00 on the 13th of the month, and on Friday, UTC",
        ),
        (
            json!({ "cron": "0 9 13 * +FRI" }),
            "at 09:00 on the 13th of the month if it is Friday, UTC",
        ),
        (
            json!({ "cron": "*/10 * * * * *" }),
            "every 10 seconds every day, UTC",
        ),
        (json!({ "every": "1m" }), "every minute"),
        (
            json!({ "every": "90m", "starts": "2027-03-28T09:00:00Z" }),
            "every 1 hour and 30 minutes, from 2027-03-28 09:00 UTC",
        ),
        (
            json!({ "daily": "02:30", "timezone": "Asia/Tokyo" }),
            "at 02:30 every day, Asia/Tokyo",
        ),
        (
            json!({ "daily": { "at": "12:00", "every": "15m" } }),
            "every 15 minutes from 12:00 to the end of the day every day, UTC",
        ),
        (
            json!({ "weekly": { "on": ["MON", "TUE", "WED", "THU", "FRI"], "at": "09:00" } }),
            "at 09:00 on Monday to Friday, UTC",
        ),
        (
            json!({ "weekly": { "on": ["SUN", "MON"], "at": "09:00" }, "ends": "2027-12-31" }),
            "at 09:00 on Monday and Sunday, UTC, until 2027-12-31 23:59:59 UTC",
        ),
        (
            json!({ "monthly": { "on": [1, 22, "last"], "at": "00:05" } }),
            "at 00:05 on the 1st, 22nd and last day of each month, UTC",
        ),
        (
            json!({ "once": "2027-03-28T09:00:00Z" }),
            "once, at 2027-03-28 09:00 UTC",
        ),
    ];
    for (options, expected) in table {
        assert_eq!(
            describe(&Options::read(&options).unwrap()),
            expected,
            "{options}"
        );
    }
}
