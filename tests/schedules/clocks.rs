//! Hours that nobody was there for, and clocks that were put back.
//!
//! A test cannot turn the machine's clock. What a step of the clock means for a scheduler is where a schedule stands
//! relative to it: one that is handled up to an hour before now has missed an hour (or the clock was put forward), and one
//! that is handled up to an hour from now has seen the clock put back. The row of a schedule says where it stands.

use serde_json::{Value, json};

use super::{create, history, results, serving, wait_for_fires, wait_for_runs};
use crate::system::System;

/// As if the schedule were this much older, and nobody had looked at it for so long.
async fn put_back(system: &System, name: &str, interval: &str) {
    let update = format!(
        "update tidegate.schedule set created_at = created_at - interval '{interval}', handled_at = handled_at - interval '{interval}',
                next_due = next_due - interval '{interval}' where name = $1 and handled_at is not null"
    );
    let changed = system.sql().await.execute(&update, &[&name]).await;
    assert_eq!(changed.unwrap(), 1, "{name} was planned before");
}

#[tokio::test]
async fn what_was_missed_while_no_scheduler_ran_is_made_up_for_as_each_schedule_says() {
    let mut system = System::prepare(super::JOBS).await;
    system.serve("proxy,capture,worker");
    let scheduler = system.serve("scheduler");
    let policies = [
        ("skip", json!("skip")),
        ("one", json!("one")),
        ("all", json!("all")),
        ("two", json!({"all": 2})),
    ];
    for (name, missed) in &policies {
        let options = json!({"every": "1h", "missed": missed, "overlap": "allow"});
        create(&system, name, "note", options).await;
    }
    let planned =
        "select bool_and(handled_at is not null and next_due > now()) from tidegate.schedule";
    system.wait_for_sql(planned).await;
    system.server(scheduler).kill();
    // Five due times, the latest half an hour ago.
    for (name, _) in &policies {
        put_back(&system, name, "5 hours 30 minutes").await;
    }
    system.serve("scheduler");
    system.wait_for_sql(planned).await;

    let missed = |count: u64| ("missed", count);
    let started = ("started", 0);
    for (name, expected) in [
        ("skip", vec![missed(5)]),
        ("one", vec![missed(4), started]),
        ("all", vec![started; 5]),
        ("two", vec![missed(3), started, started]),
    ] {
        let mut fires = history(&system, name).await;
        fires.reverse();
        let counted = |fire: &Value| fire["detail"]["count"].as_u64().unwrap_or(0);
        let told: Vec<(&str, u64)> = results(&fires)
            .into_iter()
            .zip(fires.iter().map(counted))
            .collect();
        assert_eq!(told, expected, "{name}: {fires:?}");
        let runs = expected
            .iter()
            .filter(|(result, _)| *result == "started")
            .count();
        let ran = wait_for_runs(&system, name, runs).await;
        assert_eq!(ran.len(), runs, "{name}");
    }
    // Each an hour after the one before, the last half an hour ago, the next in half an hour.
    let spaced = "
        select count(*) = 4 and bool_and(due_at - before = interval '1 hour')
               and max(due_at) between now() - interval '31 minutes' and now() - interval '29 minutes'
               and max(next_due) - max(due_at) = interval '1 hour'
          from (select due_at, lag(due_at) over (order by due_at) as before, next_due from tidegate.fire
                  join tidegate.schedule on schedule.id = schedule_id and name = 'all') as fires
         where before is not null";
    system.wait_for_sql(spaced).await;
}

/// The clock was put back by an hour: nothing that has fired fires again, and the schedule goes on when its time has come.
#[tokio::test]
async fn a_clock_that_is_put_back_fires_nothing_twice_and_the_schedule_goes_on_in_time() {
    let mut system = System::prepare(super::JOBS).await;
    system.serve("proxy,capture,worker");
    let mut scheduler = system.serve("scheduler");
    for name in ["beat", "ahead"] {
        let options = json!({"every": "1s", "missed": "all", "overlap": "allow"});
        create(&system, name, "note", options).await;
        wait_for_runs(&system, name, 2).await;
    }
    let put_forward = |interval: &str| {
        format!(
            "with moved as (
                 update tidegate.schedule set handled_at = handled_at + interval '{interval}', next_due = next_due + interval '{interval}'
                  where name = 'ahead' returning id, handled_at)
             select handled_at::text, (select count(*) from tidegate.fire where schedule_id = moved.id) from moved"
        )
    };
    let client = system.sql().await;
    let row = client.query_one(&put_forward("1 hour"), &[]).await.unwrap();
    let fired: i64 = row.get(1);
    // For one that leads, and for one that has just come.
    for _ in 0..2 {
        let beats = history(&system, "beat").await.len();
        wait_for_fires(&system, "beat", "started", beats + 3).await;
        assert_eq!(history(&system, "ahead").await.len() as i64, fired);
        system.server(scheduler).kill();
        scheduler = system.serve("scheduler");
    }

    // The hour is nearly over: it goes on where it stood, with the first due time after it.
    let row = client
        .query_one(&put_forward("-59 minutes -55 seconds"), &[])
        .await
        .unwrap();
    let (handled, fired): (String, i64) = (row.get(0), row.get(1));
    let fires = wait_for_fires(&system, "ahead", "started", fired as usize + 2).await;
    let goes_on = format!(
        "select '{}'::timestamptz - '{handled}'::timestamptz between interval '1 microsecond' and interval '1 second'",
        fires[fired as usize]["dueAt"].as_str().unwrap()
    );
    system.wait_for_sql(&goes_on).await;
    let once = r#"select count(*) = count(distinct "dueAt") from "Ran" where schedule = 'ahead'"#;
    system.wait_for_sql(once).await;
}

#[tokio::test]
async fn what_is_merely_late_fires_whatever_is_said_of_what_is_missed() {
    let system = serving("").await;
    let options = json!({"every": "5s", "missed": "skip", "overlap": "allow", "starts": "2026-01-01T00:00:00Z"});
    create(&system, "late", "note", options).await;
    system
        .wait_for_sql("select next_due > now() from tidegate.schedule where name = 'late'")
        .await;
    // A scheduler that took over after twenty seconds.
    put_back(&system, "late", "20 seconds").await;
    system
        .sql()
        .await
        .batch_execute("notify tidegate_job")
        .await
        .unwrap();
    let fires = wait_for_fires(&system, "late", "started", 4).await;
    assert!(
        fires.iter().all(|fire| fire["result"] == "started"),
        "{fires:?}"
    );
}
