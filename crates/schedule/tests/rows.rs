//! Rows of stock dashboards: what they are read as, and when they fire.

use serde_json::{Value, json};
use tidegate_schedule::{Error, Options, Schedule, parse_form};

use crate::at;

const CREATED: &str = "2027-01-30T12:00:00Z"; // a Saturday

fn row(row: Value) -> Result<Options, Error> {
    parse_form::job_schedule(row.as_object().unwrap(), at(CREATED))
}

fn fires(options: &Options, count: usize) -> Vec<String> {
    let schedule = Schedule::new("parse:x", options, at(CREATED)).unwrap();
    schedule
        .after(at("2027-01-01T00:00:00Z"))
        .take(count)
        .map(|due| due.strftime("%m-%d %H:%M").to_string())
        .collect()
}

#[test]
fn a_row_of_the_dashboard() {
    let daily = json!({
        "jobName": "report", "description": "Daily report", "params": "{\"to\":\"a@b.c\"}", "startAfter": "2027-01-30T12:00:00.000Z",
        "daysOfWeek": [1, 1, 1, 1, 1, 1, 1], "timeOfDay": "09:30:00.000Z", "repeatMinutes": 1440, "lastRun": 1_700_000_000, "objectId": "x",
    });
    let options = row(daily).unwrap();
    assert_eq!(
        options.to_value(),
        json!({ "daily": "09:30", "timezone": "UTC", "starts": "2027-01-30T12:00:00Z", "params": { "to": "a@b.c" }, "description": "Daily report", "missed": "one", "overlap": "skip" })
    );
    assert_eq!(fires(&options, 2), ["01-31 09:30", "02-01 09:30"]);
}

#[test]
fn a_row_that_never_repeats_fires_once() {
    let options = row(json!({ "jobName": "x", "startAfter": "2027-02-01T08:00:00.000Z", "timeOfDay": "12:00:00.000Z", "daysOfWeek": ["1", "1", "1", "1", "1", "1", "1"] })).unwrap();
    assert_eq!(fires(&options, 9), ["02-01 08:00"]);
    // Parse Server fills startAfter in; a row of somebody else's means its creation.
    assert_eq!(
        fires(&row(json!({ "repeatMinutes": 0 })).unwrap(), 9),
        ["01-30 12:00"]
    );
    assert_eq!(fires(&row(json!({ "startAfter": { "__type": "Date", "iso": "2027-02-01T08:00:00.000Z" }, "repeatMinutes": null })).unwrap(), 9), ["02-01 08:00"]);
}

#[test]
fn an_interval_begins_each_day_at_its_time() {
    let interval = |minutes: Value, days: Value| json!({ "startAfter": CREATED, "timeOfDay": "22:10:00.000Z", "repeatMinutes": minutes, "daysOfWeek": days });
    let options = row(interval(json!(45), json!([1, 1, 1, 1, 1, 1, 1]))).unwrap();
    assert_eq!(
        options.to_value()["daily"],
        json!({ "at": "22:10", "every": "45m" })
    );
    assert_eq!(
        fires(&options, 4),
        ["01-30 22:10", "01-30 22:55", "01-30 23:40", "01-31 22:10"]
    );
    // Index 0 is Monday.
    let options = row(interval(
        json!("60"),
        json!(["1", "0", "0", "0", "0", "0", "1"]),
    ))
    .unwrap();
    assert_eq!(
        fires(&options, 4),
        ["01-31 22:10", "01-31 23:10", "02-01 22:10", "02-01 23:10"]
    );
    // Two days: from the first such time on.
    assert_eq!(
        fires(&row(interval(json!(2880), Value::Null)).unwrap(), 3),
        ["01-30 22:10", "02-01 22:10", "02-03 22:10"]
    );
    // No time of day: from the start on.
    assert_eq!(
        fires(
            &row(json!({ "startAfter": CREATED, "repeatMinutes": 7 })).unwrap(),
            2
        ),
        ["01-30 12:00", "01-30 12:07"]
    );
}

#[test]
fn rows_that_cannot_be_understood() {
    let table = [
        (
            json!({ "startAfter": "soon" }),
            "startAfter: \"soon\" is not a time; write ISO such as \"2027-03-28T09:00:00Z\" or \"2027-03-28\", or milliseconds since 1970",
        ),
        (
            json!({ "repeatMinutes": 1440, "timeOfDay": "25:00:00.000Z" }),
            "timeOfDay: \"25:00:00.000Z\" is not a time of day; write \"HH:MM:00.000Z\", in UTC",
        ),
        (
            json!({ "repeatMinutes": -5 }),
            "repeatMinutes: -5 is not a number of minutes; write a whole number up to 5256000, 1440 for daily",
        ),
        (
            json!({ "repeatMinutes": 1440, "daysOfWeek": [0, 0, 0, 0, 0, 0, 0] }),
            "daysOfWeek: names no day, so it would never fire; write 1 for each day that is meant",
        ),
        (
            json!({ "repeatMinutes": 1440, "daysOfWeek": [1, 1] }),
            "daysOfWeek: [1,1] is not seven of 0 and 1, Monday first",
        ),
        (
            json!({ "repeatMinutes": 2880, "daysOfWeek": [1, 0, 0, 0, 0, 0, 0], "timeOfDay": "09:00:00.000Z" }),
            "daysOfWeek: cannot be kept with an interval of more than a day; choose all days, or an interval up to 1440",
        ),
        (
            json!({ "repeatMinutes": 15, "daysOfWeek": [1, 0, 0, 0, 0, 0, 0] }),
            "timeOfDay: is missing; days of the week with an interval need the time at which it begins",
        ),
        (
            json!({ "params": "{" }),
            "params: is not a JSON object, nor the text of one",
        ),
    ];
    for (bad, expected) in table {
        assert_eq!(row(bad.clone()).unwrap_err().to_string(), expected, "{bad}");
    }
}

#[test]
fn the_form_of_back4app() {
    let form = |form: Value| parse_form::back4app(form.as_object().unwrap(), at(CREATED));
    let daily = form(
        json!({ "start": "2027-01-30T12:00:00.000Z", "dailyRun": "09:30", "intervalRun": null }),
    )
    .unwrap();
    assert_eq!(fires(&daily, 2), ["01-31 09:30", "02-01 09:30"]);
    let interval = form(
        json!({ "start": "2027-01-30T12:00:00.000Z", "dailyRun": null, "intervalRun": "01:30" }),
    )
    .unwrap();
    assert_eq!(
        fires(&interval, 3),
        ["01-30 12:00", "01-30 13:30", "01-30 15:00"]
    );
    let once =
        form(json!({ "start": "2027-02-01T08:00:00.000Z", "dailyRun": null, "intervalRun": null }))
            .unwrap();
    assert_eq!(fires(&once, 9), ["02-01 08:00"]);
    assert_eq!(
        form(json!({ "intervalRun": "00:00" }))
            .unwrap_err()
            .to_string(),
        "intervalRun: is 00:00; the least is 00:01"
    );
    assert_eq!(
        form(json!({ "dailyRun": "9" })).unwrap_err().to_string(),
        "dailyRun: \"9\" is not a time; write HH:MM, or null"
    );
}

#[test]
fn moments_are_whole_milliseconds() {
    let whole = at("2027-02-01T08:00:00.123Z");
    for moment in [
        json!("2027-02-01T08:00:00.1234567Z"),
        json!("2027-02-01T08:00:00.123999999"),
        json!("2027-02-01T09:00:00.123456789+01:00"),
        json!(1_801_468_800_123.9),
    ] {
        let options = Options::read(&json!({ "once": moment })).unwrap();
        let said = options.to_value();
        assert_eq!(said["once"], "2027-02-01T08:00:00.123Z", "{moment}");
        let limits = json!({ "cron": "@daily", "starts": moment, "ends": moment });
        let limits = Options::read(&limits).unwrap();
        assert_eq!((limits.starts, limits.ends), (Some(whole), Some(whole)));
        let once = row(json!({ "startAfter": moment })).unwrap();
        assert_eq!(once.timing, options.timing);
        let form = json!({ "start": moment });
        let form = parse_form::back4app(form.as_object().unwrap(), at(CREATED)).unwrap();
        assert_eq!(form.timing, options.timing);
    }
    // Also that of a row without one, and what came before 1970.
    let created = at("2027-02-01T08:00:00.123456Z");
    let nothing = serde_json::Map::new();
    let by_row = parse_form::job_schedule(&nothing, created).unwrap();
    let by_form = parse_form::back4app(&nothing, created).unwrap();
    let whole = Options::read(&json!({ "once": whole.to_string() })).unwrap();
    assert_eq!(
        (&by_row.timing, &by_form.timing),
        (&whole.timing, &whole.timing)
    );
    let old = Options::read(&json!({ "once": "1969-12-31T23:59:59.9991Z" })).unwrap();
    assert_eq!(old.to_value()["once"], "1969-12-31T23:59:59.999Z");
    assert!(Options::read(&json!({ "once": 1e300 })).is_err());
}
