//! Each form of options: read, written back in one form, and what it fires.

use serde_json::{Value, json};
use tidegate_schedule::Options;

use crate::{local, schedule};

#[test]
fn options_are_written_back_in_one_form() {
    let table = [
        (
            json!({ "cron": " 0  9 * * mon-fri " }),
            json!({ "cron": "0 9 * * mon-fri", "timezone": "UTC", "missed": "one", "overlap": "skip" }),
        ),
        (
            json!({ "every": 5_400_000, "jitter": 30_000, "retries": null, "priority": -5, "missed": { "all": 100 }, "overlap": "cancel" }),
            json!({ "every": "1h30m", "timezone": "UTC", "jitter": "30s", "priority": -5, "missed": "all", "overlap": "cancel" }),
        ),
        (
            json!({ "weekly": { "on": ["sunday", "MON", "mon"], "at": "09:05" }, "timezone": "europe/berlin", "params": { "a": 1 } }),
            json!({ "weekly": { "on": ["MON", "SUN"], "at": "09:05" }, "timezone": "Europe/Berlin", "params": { "a": 1 }, "missed": "one", "overlap": "skip" }),
        ),
        (
            json!({ "monthly": { "on": ["last", 15, 1], "at": "00:00" }, "missed": { "all": 7 }, "starts": "2027-03-28", "timezone": "Asia/Tokyo" }),
            json!({ "monthly": { "on": [1, 15, "last"], "at": "00:00" }, "missed": { "all": 7 }, "starts": "2027-03-27T15:00:00Z", "timezone": "Asia/Tokyo", "overlap": "skip" }),
        ),
        (
            json!({ "daily": { "at": "09:00:30", "every": "15m" }, "ends": 1_800_000_000_000u64 }),
            json!({ "daily": { "at": "09:00:30", "every": "15m" }, "ends": "2027-01-15T08:00:00Z", "timezone": "UTC", "missed": "one", "overlap": "skip" }),
        ),
        (
            json!({ "once": "2027-03-28T09:00:00+02:00" }),
            json!({ "once": "2027-03-28T07:00:00Z", "timezone": "UTC", "missed": "one", "overlap": "skip" }),
        ),
    ];
    for (written, canonical) in table {
        let options = Options::read(&written).unwrap();
        assert_eq!(options.to_value(), canonical, "{written}");
        // What serde reads and writes is the same.
        let again: Options =
            serde_json::from_str(&serde_json::to_string(&options).unwrap()).unwrap();
        assert_eq!(again, options);
    }
    let refused = serde_json::from_value::<Options>(json!({ "cron": "61 * * * *" })).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cron: \"61\": the minute field takes 0-59"
    );
}

fn fires(options: Value, after: &str, count: usize) -> Vec<String> {
    let times = local(&schedule(options), after, count);
    times
        .iter()
        .map(|time| time[..16].replace('T', " "))
        .collect()
}

#[test]
fn plain_forms_fire_as_they_read() {
    let after = "2027-01-30T12:00:00Z"; // a Saturday
    assert_eq!(
        fires(json!({ "daily": "09:00" }), after, 2),
        ["2027-01-31 09:00", "2027-02-01 09:00"]
    );
    assert_eq!(
        fires(
            json!({ "weekly": { "on": ["MON", "WED"], "at": "06:30" } }),
            after,
            3
        ),
        ["2027-02-01 06:30", "2027-02-03 06:30", "2027-02-08 06:30"]
    );
    assert_eq!(
        fires(
            json!({ "monthly": { "on": [1, 31, "last"], "at": "00:00" } }),
            after,
            5
        ),
        [
            "2027-01-31 00:00",
            "2027-02-01 00:00",
            "2027-02-28 00:00",
            "2027-03-01 00:00",
            "2027-03-31 00:00"
        ]
    );
    assert_eq!(
        fires(
            json!({ "daily": { "at": "22:10", "every": "50m" } }),
            after,
            4
        ),
        [
            "2027-01-30 22:10",
            "2027-01-30 23:00",
            "2027-01-30 23:50",
            "2027-01-31 22:10"
        ]
    );
    assert_eq!(
        fires(
            json!({ "weekly": { "on": ["SUN"], "at": "12:00", "every": "6h" } }),
            after,
            3
        ),
        ["2027-01-31 12:00", "2027-01-31 18:00", "2027-02-07 12:00"]
    );
    assert_eq!(
        fires(json!({ "once": "2027-02-01T00:00:00Z" }), after, 9),
        ["2027-02-01 00:00"]
    );
    assert_eq!(
        fires(json!({ "every": "90m", "starts": "2027-02-01" }), after, 2),
        ["2027-02-01 00:00", "2027-02-01 01:30"]
    );
}

#[test]
fn cron_fires_as_it_reads() {
    let after = "2027-01-30T12:00:00Z";
    let table = [
        ("@hourly", "2027-01-30 13:00", "2027-01-30 14:00"),
        ("@midnight", "2027-01-31 00:00", "2027-02-01 00:00"),
        ("@weekly", "2027-01-31 00:00", "2027-02-07 00:00"),
        ("@monthly", "2027-02-01 00:00", "2027-03-01 00:00"),
        ("@YEARLY", "2028-01-01 00:00", "2029-01-01 00:00"),
        ("0 9 L * *", "2027-01-31 09:00", "2027-02-28 09:00"),
        ("0 9 LW * *", "2027-02-26 09:00", "2027-03-31 09:00"),
        ("0 9 15W * ?", "2027-02-15 09:00", "2027-03-15 09:00"),
        ("0 9 ? * FRI#2", "2027-02-12 09:00", "2027-03-12 09:00"),
        ("0 9 * * FRIL", "2027-02-26 09:00", "2027-03-26 09:00"),
        ("0 9 * * 5#L", "2027-02-26 09:00", "2027-03-26 09:00"),
        ("0 9 * * 7", "2027-01-31 09:00", "2027-02-07 09:00"),
        ("0 9 * * FRI-SUN", "2027-01-31 09:00", "2027-02-05 09:00"),
        ("0 9 13 * FRI", "2027-02-05 09:00", "2027-02-12 09:00"),
        ("0 9 13 * +FRI", "2027-08-13 09:00", "2028-10-13 09:00"),
        (
            "15-45/15 9 * feb,apr *",
            "2027-02-01 09:15",
            "2027-02-01 09:30",
        ),
        ("30 0 9 * * *", "2027-01-31 09:00", "2027-02-01 09:00"),
    ];
    for (expression, first, second) in table {
        assert_eq!(
            fires(json!({ "cron": expression }), after, 2),
            [first, second],
            "{expression}"
        );
    }
}
