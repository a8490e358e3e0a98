//! How long a question takes. By hand, in release: `cargo test --release -p tidegate-schedule -- --ignored --nocapture`.

use std::time::Instant;

use serde_json::json;

use crate::{at, schedule};

#[test]
#[ignore = "a measurement"]
fn next_after() {
    for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
        for expression in [
            "0 9 * * MON-FRI",
            "*/5 * * * *",
            "30 2 L * *",
            "0 0 1 1 *",
            "0 0 29 2 +MON",
        ] {
            let schedule = schedule(json!({ "cron": expression, "timezone": zone }));
            let begun = Instant::now();
            let mut due = at("2027-01-01T00:00:00Z");
            let mut count = 0;
            while count < 20_000 {
                due = schedule
                    .next_after(due)
                    .unwrap_or_else(|| at("2027-01-01T00:00:00Z"));
                count += 1;
            }
            println!(
                "{expression:18} {zone:18} {:8.0} ns",
                begun.elapsed().as_nanos() as f64 / f64::from(count)
            );
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn compile() {
    let begun = Instant::now();
    for minute in 0..10_000 {
        schedule(
            json!({ "cron": format!("{} {} * * MON-FRI", minute % 60, minute % 24), "timezone": "Europe/Berlin" }),
        );
    }
    println!(
        "read and compile: {:.0} ns",
        begun.elapsed().as_nanos() as f64 / 10_000.0
    );
}
