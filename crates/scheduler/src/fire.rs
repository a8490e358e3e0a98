//! The path: due schedules → what their policies say → a run for each due time that fires.

use std::time::Duration;

use jiff::Timestamp;
use metrics::{counter, histogram};
use tidegate_event::failpoint;
use tidegate_job::StartOptions;
use tidegate_job_log::JobLog;
use tidegate_job_log::fire::{Due, Fired, Missed, Plan};
use tidegate_job_log::schedule::{DueSchedules, Schedule};
use tidegate_schedule::{Options, Overlap};

use crate::lead::{LOOK_INTERVAL, Words, word};
use crate::{Error, metric_names};

/// Schedules that one transaction handles.
const BATCH: u32 = 200;

/// Fires until an error.
pub(crate) async fn fire(log: &JobLog, mut words: Words) -> Result<(), Error> {
    loop {
        words.mark_unchanged();
        let due = log.due_schedules(BATCH).await?;
        if due.schedules.is_empty() {
            let next = log.next_schedule_at().await?;
            word(&mut words, idle_time(next, due.now)).await;
            continue;
        }
        let plans: Vec<Plan> = due
            .schedules
            .iter()
            .map(|schedule| plan(schedule, due.now))
            .collect();
        failpoint::pass(failpoint::SCHEDULER_DUE);
        let fired = log.fire(&plans).await?;
        failpoint::pass(failpoint::SCHEDULER_FIRED);
        report(&due, &plans, &fired);
    }
}

/// Both times are Postgres's; how long is measured here.
fn idle_time(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    wait.unwrap_or(LOOK_INTERVAL)
}

/// What is to become of a schedule at `now`.
fn plan(row: &Schedule, now: Timestamp) -> Plan {
    let read = || {
        let options = Options::read(&row.options)?;
        let schedule = tidegate_schedule::Schedule::new(&row.name, &options, row.created_at)?;
        Ok::<_, tidegate_schedule::Error>((options, schedule))
    };
    match read() {
        Ok((options, schedule)) => plan_of(row, options, &schedule, now),
        // Written by a newer version, or for a zone that this machine lacks. Another look comes with another version.
        Err(error) => {
            tracing::error!(schedule = row.name, %error, "a schedule cannot be read; it does not fire");
            Plan {
                handled: row.handled_at.unwrap_or(now),
                ..blank(row)
            }
        }
    }
}

fn plan_of(
    row: &Schedule,
    options: Options,
    schedule: &tidegate_schedule::Schedule,
    now: Timestamp,
) -> Plan {
    let caught_up = schedule.catch_up(row.handled_at, now);
    let due = |due: &tidegate_schedule::Due| Due {
        at: due.at,
        run_at: schedule.run_at(due.at),
    };
    Plan {
        fires: caught_up.fire.iter().map(due).collect(),
        missed: caught_up.skipped.map(|skipped| Missed {
            first: skipped.first,
            last: skipped.last,
            count: skipped.count as u64,
        }),
        handled: caught_up.handled,
        next_due: schedule.next_after(caught_up.handled),
        overlap: options.overlap,
        options: StartOptions {
            retries: options.retries,
            priority: options.priority,
            ..StartOptions::default()
        },
        params: options.params.unwrap_or_default(),
        ..blank(row)
    }
}

/// A plan by which nothing happens.
fn blank(row: &Schedule) -> Plan {
    Plan {
        schedule: row.id,
        version: row.version,
        seen: row.handled_at,
        fires: Vec::new(),
        missed: None,
        handled: row.created_at,
        next_due: None,
        overlap: Overlap::default(),
        target: row.target.clone(),
        params: Default::default(),
        options: StartOptions::default(),
    }
}

fn report(due: &DueSchedules, plans: &[Plan], fired: &Fired) {
    let results = [
        ("started", fired.started),
        ("queued", fired.queued),
        ("skipped", fired.skipped),
    ];
    for (result, count) in results {
        counter!(metric_names::FIRES, "result" => result).increment(count);
    }
    counter!(metric_names::MISSED).increment(fired.missed);
    for fire in plans.iter().flat_map(|plan| &plan.fires) {
        let lateness = due.now.duration_since(fire.at).as_secs_f64();
        histogram!(metric_names::FIRE_LATENESS).record(lateness.max(0.0));
    }
    if fired.missed > 0 {
        tracing::warn!(
            due_times = fired.missed,
            "schedules had due times while nobody was there to fire them"
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_job_log::schedule::{Source, Target};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn row(options: serde_json::Value, handled_at: Option<&str>) -> Schedule {
        Schedule {
            id: 3,
            name: "daily".into(),
            source: Source::Api,
            target: Target::Job("report".into()),
            options,
            version: 2,
            created_at: at("2026-01-01T00:00:00Z"),
            updated_at: at("2026-01-01T00:00:00Z"),
            paused_at: None,
            paused_by: None,
            handled_at: handled_at.map(at),
            next_due: None,
        }
    }

    #[test]
    fn a_due_time_fires_and_the_next_is_known() {
        let row = row(
            json!({"daily": "09:00", "priority": 5, "params": {"a": 1}}),
            Some("2026-03-01T08:59:59Z"),
        );
        let plan = plan(&row, at("2026-03-01T09:00:00Z"));
        let due = at("2026-03-01T09:00:00Z");
        assert_eq!(
            plan.fires,
            [Due {
                at: due,
                run_at: due
            }]
        );
        assert_eq!(plan.next_due, Some(at("2026-03-02T09:00:00Z")));
        assert_eq!((plan.version, plan.seen), (2, row.handled_at));
        assert_eq!(
            (plan.options.priority, &plan.params["a"]),
            (Some(5), &json!(1))
        );
    }

    #[test]
    fn one_that_is_new_waits_for_its_next_due_time() {
        let plan = plan(
            &row(json!({"daily": "09:00"}), None),
            at("2026-03-01T10:00:00Z"),
        );
        assert!(plan.fires.is_empty() && plan.missed.is_none());
        assert_eq!(plan.handled, at("2026-03-01T10:00:00Z"));
        assert_eq!(plan.next_due, Some(at("2026-03-02T09:00:00Z")));
    }

    #[test]
    fn what_was_missed_is_told() {
        let row = row(
            json!({"daily": "09:00", "missed": "skip"}),
            Some("2026-03-01T08:00:00Z"),
        );
        let plan = plan(&row, at("2026-03-03T10:00:00Z"));
        assert!(plan.fires.is_empty());
        assert_eq!(plan.missed.unwrap().count, 3);
    }

    #[test]
    fn one_that_cannot_be_read_never_fires_and_holds_up_nobody() {
        let plan = plan(
            &row(json!({"hourlyish": true}), None),
            at("2026-03-01T10:00:00Z"),
        );
        assert!(plan.fires.is_empty() && plan.next_due.is_none());
    }

    #[test]
    fn the_wait_is_until_the_next_due_time() {
        let now = at("2026-03-01T10:00:00Z");
        assert_eq!(
            idle_time(Some(at("2026-03-01T10:00:05Z")), now),
            Duration::from_secs(5)
        );
        assert_eq!(
            idle_time(Some(at("2026-03-01T09:00:00Z")), now),
            Duration::ZERO
        );
        assert_eq!(idle_time(None, now), LOOK_INTERVAL);
    }
}
