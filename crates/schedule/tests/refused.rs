//! What is refused, word for word: each error names the option, the reason and the remedy.

use serde_json::{Value, json};
use tidegate_schedule::Options;

fn check(table: &[(Value, &str)]) {
    for (options, expected) in table {
        let said = Options::read(options).map_or_else(
            |error| error.to_string(),
            |read| format!("accepted as {}", read.to_value()),
        );
        assert_eq!(said, *expected, "{options}");
    }
}

fn cron(table: &[(&str, &str)]) {
    check(
        &table
            .iter()
            .map(|(cron, expected)| (json!({ "cron": cron }), *expected))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn fields_out_of_range() {
    cron(&[
        ("61 * * * *", "cron: \"61\": the minute field takes 0-59"),
        ("0 24 * * *", "cron: \"24\": the hour field takes 0-23"),
        (
            "0 0 32 * *",
            "cron: \"32\": the day of month field takes 1-31, L, LW or 15W",
        ),
        (
            "0 0 0 * *",
            "cron: \"0\": the day of month field takes 1-31, L, LW or 15W",
        ),
        (
            "0 0 1 13 *",
            "cron: \"13\": the month field takes 1-12 or JAN-DEC",
        ),
        (
            "0 0 * * 8",
            "cron: \"8\": the weekday field takes 0-7 (0 and 7 are Sunday), SUN-SAT, MON#2 or FRIL",
        ),
        ("60 0 0 * * *", "cron: \"60\": the second field takes 0-59"),
        (
            "0 9 * * MON-61",
            "cron: \"61\": the weekday field takes 0-7 (0 and 7 are Sunday), SUN-SAT, MON#2 or FRIL",
        ),
        (
            "1000 * * * *",
            "cron: \"1000\": the minute field takes 0-59",
        ),
        ("-1 * * * *", "cron: \"\": the minute field takes 0-59"),
    ]);
}

#[test]
fn what_nobody_means() {
    cron(&[
        (
            "0 9 MON * *",
            "cron: \"MON\": the day of month field takes 1-31, L, LW or 15W",
        ),
        (
            "0 9 * * MONDAY",
            "cron: \"MONDAY\": the weekday field writes this MON",
        ),
        (
            "0 9 * * FRI-MON",
            "cron: \"FRI-MON\": the weekday field runs backwards; write FRI-SAT,SUN-MON",
        ),
        (
            "0 22-3 * * *",
            "cron: \"22-3\": the hour field runs backwards; write 22-23,0-3",
        ),
        (
            "0 9,,10 * * *",
            "cron: \"\": the hour field has an empty place; write values with single commas between them and no spaces",
        ),
        (
            "0 *,3 * * *",
            "cron: \"*\": the hour field has a wildcard that cannot stand here; in a list or another field write values",
        ),
        (
            "? * * * *",
            "cron: \"?\": the minute field has a wildcard that cannot stand here; in a list or another field write values",
        ),
        (
            "5/10 * * * *",
            "cron: \"5/10\": the minute field steps from a single value; write */10, or 5-59/10",
        ),
        (
            "*/0 * * * *",
            "cron: \"*/0\": the minute field has a step that is not a number from 1 to 60",
        ),
        (
            "*/90 * * * *",
            "cron: \"*/90\": the minute field steps further than its 60 values; for intervals that do not divide them use every, such as every: \"90m\"",
        ),
        (
            "0 9 L,LW * *",
            "cron: \"L,LW\": the day of month field names L and LW together; make a schedule of each",
        ),
        (
            "0 9 L-3 * *",
            "cron: \"L\": the day of month field takes 1-31, L, LW or 15W",
        ),
        (
            "0 9 * * L",
            "cron: \"L\": the weekday field has L without a weekday; write FRIL for the last Friday of the month",
        ),
        (
            "0 9 * * MON#6",
            "cron: \"MON#6\": the weekday field counts weekdays in a month from #1 to #5, or #L for the last",
        ),
        ("a * * * *", "cron: \"A\": the minute field takes 0-59"),
        ("ж * * * *", "cron: \"Ж\": the minute field takes 0-59"),
    ]);
}

#[test]
fn expressions_of_another_shape() {
    cron(&[
        (
            "",
            "cron: is empty; write minute hour day month weekday, such as \"0 9 * * MON-FRI\"",
        ),
        (
            "0 9 * *",
            "cron: has 4 fields; write 5 (minute hour day month weekday) or 6 (second first), such as \"0 9 * * MON-FRI\"",
        ),
        (
            "0 0 9 * * * 2027",
            "cron: has 7 fields; there is no field for years, use starts and ends",
        ),
        ("@dayly", "cron: there is no @dayly; did you mean @daily?"),
        (
            "@reboot",
            "cron: there is no @reboot; the names are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually",
        ),
        (
            &"1,".repeat(200),
            "cron: 400 characters are too many; the most is 256",
        ),
    ]);
    check(&[(
        json!({ "cron": 5 }),
        "cron: 5 is not a text; write \"0 9 * * MON-FRI\"",
    )]);
}

#[test]
fn what_never_fires() {
    cron(&[
        (
            "0 9 31 2 *",
            "cron: never fires: 31 February does not exist; name a day that the month has, or L for its last",
        ),
        (
            "0 9 31 4,6 *",
            "cron: never fires: 31 April and 31 June do not exist; name a day that the months have, or L for their last",
        ),
        (
            "0 9 30 FEB *",
            "cron: never fires: 30 February does not exist; name a day that the month has, or L for its last",
        ),
        (
            "0 9 1-7 * +MON#2",
            "cron: never fires: no day of the next 50 years is what its day and month fields ask for",
        ),
    ]);
    // Rare is not never.
    assert!(Options::read(&json!({ "cron": "0 9 29 2 *" })).is_ok());
}

#[test]
fn zones() {
    check(&[
        (
            json!({ "daily": "09:00", "timezone": "Europe/Berlln" }),
            "timezone: there is no time zone \"Europe/Berlln\"; did you mean Europe/Berlin?",
        ),
        (
            json!({ "daily": "09:00", "timezone": "Berlin" }),
            "timezone: there is no time zone \"Berlin\"; did you mean Europe/Berlin?",
        ),
        (
            json!({ "daily": "09:00", "timezone": "US/New York" }),
            "timezone: there is no time zone \"US/New York\"; did you mean America/New_York?",
        ),
        (
            json!({ "daily": "09:00", "timezone": "+02:00" }),
            "timezone: there is no time zone \"+02:00\"; write an IANA name such as Europe/Berlin or UTC (an offset or an abbreviation is not a zone)",
        ),
        (
            json!({ "daily": "09:00", "timezone": "" }),
            "timezone: there is no time zone \"\"; write an IANA name such as Europe/Berlin or UTC (an offset or an abbreviation is not a zone)",
        ),
        (
            json!({ "daily": "09:00", "timezone": 2 }),
            "timezone: 2 is not a name; write an IANA name such as \"Europe/Berlin\"",
        ),
    ]);
    let read = Options::read(&json!({ "daily": "09:00", "timezone": "europe/berlin" })).unwrap();
    assert_eq!(read.timezone, "Europe/Berlin");
}

#[test]
fn times_and_intervals() {
    check(&[
        (
            json!({ "every": 999 }),
            "every: 999ms is too short; the least is 1s",
        ),
        (
            json!({ "every": "0s" }),
            "every: 0ms is too short; the least is 1s",
        ),
        (
            json!({ "every": "4000d" }),
            "every: 4000d is too long; the most is 3650d",
        ),
        (
            json!({ "every": "10 minutes" }),
            "every: \"10 minutes\" is not a duration; write whole milliseconds (600000) or a text such as \"90s\", \"10m\", \"2h\", \"1d\"",
        ),
        (
            json!({ "every": "99999999999999999999d" }),
            "every: \"99999999999999999999d\" is not a duration; write whole milliseconds (600000) or a text such as \"90s\", \"10m\", \"2h\", \"1d\"",
        ),
        (
            json!({ "daily": "9:00" }),
            "daily: \"9:00\" is not a time of day; write HH:MM from \"00:00\" to \"23:59\", two digits each",
        ),
        (
            json!({ "daily": "24:00" }),
            "daily: \"24:00\" is not a time of day; write HH:MM from \"00:00\" to \"23:59\", two digits each",
        ),
        (
            json!({ "daily": { "at": 9 } }),
            "daily.at: 9 is not a time of day; write HH:MM from \"00:00\" to \"23:59\", two digits each",
        ),
        (
            json!({ "daily": {} }),
            "daily.at: is missing; write a time of day such as \"09:00\"",
        ),
        (
            json!({ "weekly": "MON" }),
            "weekly: \"MON\" is not an object; write { on: [\"MON\", \"THU\"], at: \"09:00\" }",
        ),
        (
            json!({ "weekly": { "at": "09:00" } }),
            "weekly.on: names no day; write on: [\"MON\", \"THU\"]",
        ),
        (
            json!({ "weekly": { "on": [], "at": "09:00" } }),
            "weekly.on: names no day; write on: [\"MON\", \"THU\"]",
        ),
        (
            json!({ "weekly": { "on": ["MO"], "at": "09:00" } }),
            "weekly.on: \"MO\" is not a weekday; the names are MON, TUE, WED, THU, FRI, SAT, SUN",
        ),
        (
            json!({ "monthly": { "on": [0], "at": "09:00" } }),
            "monthly.on: 0 is not a day of the month; write numbers from 1 to 31, or \"last\"",
        ),
        (
            json!({ "monthly": { "on": 1, "at": "09:00" } }),
            "monthly.on: 1 is not a list of days; write on: [1, 15, \"last\"]",
        ),
        (
            json!({ "once": "tomorrow" }),
            "once: \"tomorrow\" is not a time; write ISO such as \"2027-03-28T09:00:00Z\" or \"2027-03-28\", or milliseconds since 1970",
        ),
        (
            json!({ "once": "2027-01-01T00:00:00Z", "ends": "2028-01-01" }),
            "once: is a moment by itself; leave out starts and ends",
        ),
        (
            json!({ "daily": "09:00", "starts": "2027-01-02", "ends": "2027-01-01" }),
            "ends: 2027-01-01T23:59:59.999Z is before starts, 2027-01-02T00:00:00Z; change one of them",
        ),
        (
            json!({ "daily": "09:00", "jitter": "2d" }),
            "jitter: 2d is too long; the most is 1d",
        ),
    ]);
}

#[test]
fn policies_and_names() {
    check(&[
        (
            json!({ "cron": "@daily", "missed": "some" }),
            "missed: \"some\" is not a policy; write \"skip\", \"one\", \"all\", or { all: most } with 1 to 1000",
        ),
        (
            json!({ "cron": "@daily", "missed": { "all": 0 } }),
            "missed: {\"all\":0} is not a policy; write \"skip\", \"one\", \"all\", or { all: most } with 1 to 1000",
        ),
        (
            json!({ "cron": "@daily", "overlap": true }),
            "overlap: true is not a policy; write \"skip\", \"queue\", \"allow\" or \"cancel\"",
        ),
        (
            json!({ "cron": "@daily", "timeZone": "UTC" }),
            "timeZone: there is no such option; did you mean timezone?",
        ),
        (
            json!({ "cron": "@daily", "tz": "UTC" }),
            "tz: there is no such option; did you mean timezone?",
        ),
        (
            json!({ "cron": "@daily", "overlpa": "skip" }),
            "overlpa: there is no such option; did you mean overlap?",
        ),
        (
            json!({ "weekly": { "on": ["MON"], "att": "09:00" } }),
            "weekly.att: there is no such option; did you mean at?",
        ),
        (
            json!({ "monthly": { "on": [1], "at": "09:00", "every": "1h" } }),
            "monthly.every: there is no such option; the options are on, at",
        ),
        (
            json!({ "cron": "@daily", "every": "1h" }),
            "cron: is not alone; leave out every, or make a schedule of each",
        ),
        (
            json!({ "timezone": "UTC" }),
            "schedule: says no time; write one of cron, every, daily, weekly, monthly, once",
        ),
        (
            json!("0 9 * * *"),
            "schedule: is not an object; write { cron: \"0 9 * * *\" }, or every, daily, weekly, monthly",
        ),
        (
            json!({ "cron": "@daily", "params": [1] }),
            "params: is not an object; write { name: value }",
        ),
        (
            json!({ "cron": "@daily", "retries": -1 }),
            "retries: -1 is not a whole number from 0 to 1000",
        ),
        (
            json!({ "cron": "@daily", "priority": 101 }),
            "priority: 101 is not a whole number from -100 to 100",
        ),
        (
            json!({ "cron": "@daily", "description": "x".repeat(1001) }),
            "description: is longer than 1000 characters",
        ),
    ]);
}
