//! The law's own examples: Berlin, New York, Lord Howe, Apia; and what real time is not moved by.

use serde_json::json;

use crate::{at, local, schedule};

fn cron(expression: &str, zone: &str) -> tidegate_schedule::Schedule {
    schedule(json!({ "cron": expression, "timezone": zone }))
}

#[test]
fn a_time_in_the_gap_fires_at_its_end() {
    let due = local(
        &cron("30 2 * * *", "Europe/Berlin"),
        "2027-03-27T00:00:00Z",
        3,
    );
    assert_eq!(
        due,
        [
            "2027-03-27T02:30:00+01:00",
            "2027-03-28T03:00:00+02:00",
            "2027-03-29T02:30:00+02:00"
        ]
    );
    let due = local(
        &cron("30 2 * * *", "America/New_York"),
        "2027-03-13T06:00:00Z",
        3,
    );
    assert_eq!(
        due,
        [
            "2027-03-13T02:30:00-05:00",
            "2027-03-14T03:00:00-04:00",
            "2027-03-15T02:30:00-04:00"
        ]
    );
    // Half an hour is missing: 02:00 to 02:30.
    let due = local(
        &cron("15 2 * * *", "Australia/Lord_Howe"),
        "2027-10-02T00:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-10-03T02:30:00+11:00", "2027-10-04T02:15:00+11:00"]
    );
}

#[test]
fn several_times_in_the_gap_and_one_at_its_end_are_one_fire() {
    let due = local(
        &cron("0,30 2,3 * * *", "Europe/Berlin"),
        "2027-03-28T00:00:00Z",
        3,
    );
    assert_eq!(
        due,
        [
            "2027-03-28T03:00:00+02:00",
            "2027-03-28T03:30:00+02:00",
            "2027-03-29T02:00:00+02:00"
        ]
    );
    let due = local(
        &cron("*/10 2 * * *", "Europe/Berlin"),
        "2027-03-28T00:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-03-28T03:00:00+02:00", "2027-03-29T02:00:00+02:00"]
    );
    let due = local(
        &cron("0 */2 * * *", "Europe/Berlin"),
        "2027-03-27T23:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-03-28T03:00:00+02:00", "2027-03-28T04:00:00+02:00"]
    );
}

#[test]
fn what_comes_each_hour_makes_nothing_up() {
    let due = local(
        &cron("15 * * * *", "Australia/Lord_Howe"),
        "2027-10-02T14:30:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-10-03T01:15:00+10:30", "2027-10-03T03:15:00+11:00"]
    );
    let due = local(
        &cron("*/30 * * * *", "Europe/Berlin"),
        "2027-03-28T00:00:00Z",
        3,
    );
    assert_eq!(
        due,
        [
            "2027-03-28T01:30:00+01:00",
            "2027-03-28T03:00:00+02:00",
            "2027-03-28T03:30:00+02:00"
        ]
    );
    let due = local(
        &cron("20 * * * *", "Europe/Berlin"),
        "2027-03-28T00:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-03-28T01:20:00+01:00", "2027-03-28T03:20:00+02:00"]
    );
}

#[test]
fn a_fixed_time_that_comes_twice_fires_the_first_time() {
    let due = local(
        &cron("30 2 * * *", "Europe/Berlin"),
        "2027-10-30T12:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"]
    );
    // Asked in the second hour, it has been.
    let due = local(
        &cron("30 2 * * *", "Europe/Berlin"),
        "2027-10-31T01:10:00Z",
        1,
    );
    assert_eq!(due, ["2027-11-01T02:30:00+01:00"]);
    let due = local(
        &cron("15 1 * * *", "America/New_York"),
        "2027-11-07T05:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-11-07T01:15:00-04:00", "2027-11-08T01:15:00-05:00"]
    );
    let due = local(
        &cron("45 1 * * *", "Australia/Lord_Howe"),
        "2027-04-03T12:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2027-04-04T01:45:00+11:00", "2027-04-05T01:45:00+10:30"]
    );
}

#[test]
fn a_stepped_time_that_comes_twice_fires_twice() {
    let due = local(
        &cron("*/30 * * * *", "Europe/Berlin"),
        "2027-10-30T23:45:00Z",
        5,
    );
    let expected = [
        "02:00:00+02:00",
        "02:30:00+02:00",
        "02:00:00+01:00",
        "02:30:00+01:00",
        "03:00:00+01:00",
    ];
    assert_eq!(due, expected.map(|time| format!("2027-10-31T{time}")));
    let due = local(
        &cron("0 */2 * * *", "Europe/Berlin"),
        "2027-10-30T22:30:00Z",
        3,
    );
    assert_eq!(
        due,
        ["02:00:00+02:00", "02:00:00+01:00", "04:00:00+01:00"]
            .map(|time| format!("2027-10-31T{time}"))
    );
}

#[test]
fn a_day_that_was_skipped_fires_when_it_is_over() {
    // Samoa crossed the date line: 30 December 2011, a Friday, was not.
    let due = local(
        &cron("0 9 * * *", "Pacific/Apia"),
        "2011-12-29T00:00:00Z",
        4,
    );
    assert_eq!(
        due,
        [
            "2011-12-29T09:00:00-10:00",
            "2011-12-31T00:00:00+14:00",
            "2011-12-31T09:00:00+14:00",
            "2012-01-01T09:00:00+14:00"
        ]
    );
    let due = local(
        &cron("0 9 * * FRI", "Pacific/Apia"),
        "2011-12-29T00:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2011-12-31T00:00:00+14:00", "2012-01-06T09:00:00+14:00"]
    );
    let due = local(
        &cron("0 0 * * *", "Pacific/Apia"),
        "2011-12-29T12:00:00Z",
        2,
    );
    assert_eq!(
        due,
        ["2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"]
    );
}

#[test]
fn real_time_is_not_moved_by_clocks() {
    let starts = schedule(
        json!({ "every": "1h", "timezone": "Europe/Berlin", "starts": "2027-03-28T00:10:00.500Z" }),
    );
    let due: Vec<String> = starts
        .after(at("2027-01-01T00:00:00Z"))
        .take(3)
        .map(|due| due.to_string())
        .collect();
    assert_eq!(
        due,
        [
            "2027-03-28T00:10:00.5Z",
            "2027-03-28T01:10:00.5Z",
            "2027-03-28T02:10:00.5Z"
        ]
    );
    // Without a start it counts from the creation, 2020-01-01, and never fires at it or before it.
    let every = schedule(json!({ "every": "36h" }));
    let due: Vec<String> = every
        .after(at("2019-01-01T00:00:00Z"))
        .take(2)
        .map(|due| due.to_string())
        .collect();
    assert_eq!(due, ["2020-01-01T00:00:00Z", "2020-01-02T12:00:00Z"]);
    assert_eq!(
        every.next_after(at("2020-01-01T00:00:00Z")),
        Some(at("2020-01-02T12:00:00Z"))
    );
}

#[test]
fn starts_and_ends_belong_to_the_schedule() {
    let year = schedule(
        json!({ "daily": "09:00", "timezone": "Europe/Berlin", "starts": "2027-03-27", "ends": "2027-03-29" }),
    );
    let due = local(&year, "2020-01-01T00:00:00Z", 9);
    assert_eq!(
        due,
        [
            "2027-03-27T09:00:00+01:00",
            "2027-03-28T09:00:00+02:00",
            "2027-03-29T09:00:00+02:00"
        ]
    );
    let exact = schedule(
        json!({ "cron": "0 9 * * *", "starts": "2027-01-01T09:00:00Z", "ends": "2027-01-02T09:00:00Z" }),
    );
    assert_eq!(
        local(&exact, "2020-01-01T00:00:00Z", 9),
        ["2027-01-01T09:00:00+00:00", "2027-01-02T09:00:00+00:00"]
    );
    assert_eq!(exact.next_after(at("2027-01-02T09:00:00Z")), None);
    let local_start = schedule(
        json!({ "every": "1d", "timezone": "America/New_York", "starts": "2027-01-01T09:00" }),
    );
    assert_eq!(
        local_start.next_after(at("2020-01-01T00:00:00Z")),
        Some(at("2027-01-01T14:00:00Z"))
    );
}

#[test]
fn rare_days_are_found_and_the_search_ends() {
    let leap = schedule(json!({ "cron": "0 0 29 2 *" }));
    assert_eq!(
        local(&leap, "2096-03-01T00:00:00Z", 1),
        ["2104-02-29T00:00:00+00:00"]
    );
    let monday = schedule(json!({ "cron": "0 0 29 2 +MON" }));
    assert_eq!(
        local(&monday, "2072-03-01T00:00:00Z", 1),
        ["2112-02-29T00:00:00+00:00"]
    );
    // jiff's years end with 9999.
    assert_eq!(leap.next_after(at("9997-01-01T00:00:00Z")), None);
    assert_eq!(
        schedule(json!({ "every": "1s" })).next_after(jiff::Timestamp::MAX),
        None
    );
}

#[test]
fn jitter_delays_by_the_same_each_time() {
    let some = schedule(json!({ "daily": "09:00", "jitter": "30s" }));
    let due: Vec<_> = some.after(at("2027-01-01T00:00:00Z")).take(200).collect();
    let delays: Vec<i64> = due
        .iter()
        .map(|due| some.run_at(*due).as_millisecond() - due.as_millisecond())
        .collect();
    assert!(
        delays.iter().all(|delay| (0..=30_000).contains(delay)),
        "{delays:?}"
    );
    assert!(
        delays.iter().any(|delay| *delay < 3000) && delays.iter().any(|delay| *delay > 27_000),
        "they scatter"
    );
    // Not to change between releases: two schedulers of different releases agree.
    assert_eq!(delays[..3], [3_846, 17_890, 17_991]);
    assert!(
        due.iter().all(|due| due.as_second() % 60 == 0),
        "due times are not moved"
    );
    assert_eq!(schedule(json!({ "daily": "09:00" })).run_at(due[0]), due[0]);
}
