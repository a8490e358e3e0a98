//! Due times become runs, each once.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_job::{Graph, RunId, RunState, StartOptions, WorkflowDefinition};
use tidegate_job_log::JobLog;
use tidegate_job_log::fire::{Due, Fired, Made, Missed, Plan};
use tidegate_job_log::schedule::{NewSchedule, Schedule, Source, Target};
use tidegate_schedule::Overlap;

use crate::fixture::*;

async fn scheduled(log: &JobLog, target: Target) -> Schedule {
    let new = NewSchedule {
        name: "s".into(),
        source: Source::Api,
        target,
        options: json!({ "every": "1m", "priority": 3, "params": { "n": 1 } }),
    };
    log.put_schedule(&new, true).await.unwrap()
}

async fn job_schedule(log: &JobLog) -> Schedule {
    scheduled(log, Target::Job("a".into())).await
}

fn minute(at: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * at).unwrap()
}

/// A plan that fires at these minutes, and looks again a minute after the last.
fn plan(schedule: &Schedule, overlap: Overlap, minutes: &[i64]) -> Plan {
    let due = |at: &i64| Due {
        at: minute(*at),
        run_at: Timestamp::UNIX_EPOCH,
    };
    let last = minutes.last().copied().unwrap_or(0);
    Plan {
        schedule: schedule.id,
        version: schedule.version,
        seen: schedule.handled_at,
        fires: minutes.iter().map(due).collect(),
        missed: None,
        handled: minute(last),
        next_due: Some(minute(last + 1)),
        overlap,
        target: schedule.target.clone(),
        params: json!({ "n": 1 }).as_object().unwrap().clone(),
        options: StartOptions {
            priority: Some(3),
            ..StartOptions::default()
        },
    }
}

/// Fires at a minute, as the schedule now is.
async fn fire(log: &JobLog, overlap: Overlap, minutes: &[i64]) -> Fired {
    let schedule = log.schedule("s").await.unwrap();
    log.fire(&[plan(&schedule, overlap, minutes)])
        .await
        .unwrap()
}

async fn results(log: &JobLog) -> Vec<String> {
    let mut fires = log.fires("s", None, 100).await.unwrap();
    fires.reverse();
    fires.into_iter().map(|fire| fire.result).collect()
}

fn run_of(made: Option<Made>) -> RunId {
    match made {
        Some(Made::Run(run)) => run,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_fire_makes_a_run_and_its_history_tells_all() {
    let (database, log) = log().await;
    let schedule = job_schedule(&log).await;
    assert_eq!(fire(&log, Overlap::Skip, &[1]).await.started, 1);
    let claimed = claim_due(&log).await.remove(0);
    let by = claimed.schedule.clone().unwrap();
    assert_eq!((by.name.as_str(), by.due_at), ("s", minute(1)));
    assert_eq!(
        (claimed.params.as_str(), claimed.source.as_str()),
        (r#"{"n":1}"#, "schedule")
    );
    succeed(&log, &claimed.lease).await;
    let fires = log.fires("s", None, 10).await.unwrap();
    assert_eq!(fires.len(), 1);
    assert_eq!(run_of(fires[0].made), claimed.lease.run);
    assert_eq!(fires[0].state.as_deref(), Some("succeeded"));
    assert!(fires[0].finished_at.is_some() && fires[0].started_at.is_some());
    // The test's due time is in 2027, or long ago: what counts is the difference.
    let lateness = (fires[0].started_at.unwrap() - minute(1))
        .total(jiff::Unit::Second)
        .unwrap();
    assert!((fires[0].lateness_seconds - lateness).abs() < 0.01);
    let after = log.schedule("s").await.unwrap();
    assert_eq!(
        (after.handled_at, after.next_due),
        (Some(minute(1)), Some(minute(2)))
    );
    assert_eq!(after.version, schedule.version);
    let row = sql(&database)
        .await
        .query_one(r#"select "source" from "_JobStatus""#, &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "schedule");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_that_fire_the_same_due_times_make_one_run_each() {
    let (database, log) = log().await;
    job_schedule(&log).await;
    for round in 0..15 {
        // Each read the schedule before any of them fired.
        let schedule = log.schedule("s").await.unwrap();
        let fires = (0..3).map(|_| {
            let (log, plan) = (
                log.clone(),
                plan(&schedule, Overlap::Allow, &[round * 2 + 1, round * 2 + 2]),
            );
            tokio::spawn(async move { log.fire(&[plan]).await.unwrap() })
        });
        let mut started = 0;
        for fire in fires.collect::<Vec<_>>() {
            started += fire.await.unwrap().started;
        }
        assert_eq!(started, 2);
    }
    let counts = "select (select count(*) from tidegate.fire), (select count(*) from tidegate.run)";
    let row = sql(&database).await.query_one(counts, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (30, 30));
}

#[tokio::test]
async fn a_due_time_that_comes_again_makes_nothing_whatever_the_row_says() {
    let (database, log) = log().await;
    job_schedule(&log).await;
    fire(&log, Overlap::Allow, &[1, 2]).await;
    // As after a restored backup of the one table.
    let back = "update tidegate.schedule set handled_at = null, next_due = '-infinity'";
    sql(&database).await.batch_execute(back).await.unwrap();
    assert_eq!(fire(&log, Overlap::Allow, &[1, 2, 3]).await.started, 1);
    assert_eq!(log.runs(&Default::default(), 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_plan_for_what_was_changed_since_does_nothing() {
    let (_database, log) = log().await;
    let schedule = job_schedule(&log).await;
    log.pause_schedule("s", "me").await.unwrap();
    let stale = log
        .fire(&[plan(&schedule, Overlap::Allow, &[1])])
        .await
        .unwrap();
    assert_eq!((stale.stale, stale.started), (1, 0));
    log.resume_schedule("s").await.unwrap();
    assert_eq!(
        log.fire(&[plan(&schedule, Overlap::Allow, &[1])])
            .await
            .unwrap()
            .stale,
        1
    );
    assert_eq!(fire(&log, Overlap::Allow, &[1]).await.started, 1);
    log.delete_schedule("s", Source::Api).await.unwrap();
    assert_eq!(
        log.fire(&[plan(&schedule, Overlap::Allow, &[2])])
            .await
            .unwrap()
            .stale,
        1
    );
}

#[tokio::test]
async fn skip_leaves_out_what_comes_while_one_runs() {
    let (_database, log) = log().await;
    job_schedule(&log).await;
    fire(&log, Overlap::Skip, &[1]).await;
    assert_eq!(fire(&log, Overlap::Skip, &[2]).await.skipped, 1);
    let claimed = claim_due(&log).await.remove(0);
    succeed(&log, &claimed.lease).await;
    assert_eq!(fire(&log, Overlap::Skip, &[3, 4]).await.started, 1);
    assert_eq!(
        results(&log).await,
        ["started", "skipped", "started", "skipped"]
    );
    let fires = log.fires("s", Some(minute(3)), 10).await.unwrap();
    assert_eq!(
        fires[0].detail,
        json!({ "reason": "an earlier one has not ended" })
    );
}

#[tokio::test]
async fn queue_lets_one_wait_until_the_one_before_has_ended_however() {
    let (_database, log) = log().await;
    job_schedule(&log).await;
    assert_eq!(
        fire(&log, Overlap::Queue, &[1, 2, 3]).await,
        Fired {
            started: 1,
            queued: 1,
            skipped: 1,
            ..Fired::default()
        }
    );
    let claimed = claim_due(&log).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(fire(&log, Overlap::Queue, &[4]).await.skipped, 1);
    fail(&log, &claimed[0].lease).await;
    let second = claim_due(&log).await.remove(0);
    assert_eq!(second.schedule.unwrap().due_at, minute(2));
    assert!(second.inputs.is_empty(), "it only waits");
    assert_eq!(fire(&log, Overlap::Queue, &[5]).await.queued, 1);
    log.cancel(second.lease.run).await.unwrap();
    finish(&log, &second.lease, tidegate_job_log::Ending::Cancelled).await;
    assert_eq!(claim_due(&log).await.len(), 1);
}

#[tokio::test]
async fn allow_runs_side_by_side_and_cancel_ends_the_old() {
    let (_database, log) = log().await;
    job_schedule(&log).await;
    assert_eq!(fire(&log, Overlap::Allow, &[1, 2]).await.started, 2);
    let claimed = claim_due(&log).await;
    assert_eq!(claimed.len(), 2);
    let fired = fire(&log, Overlap::Cancel, &[3, 4]).await;
    assert_eq!((fired.started, fired.skipped), (1, 1));
    for one in &claimed {
        let summary = log.run(one.lease.run).await.unwrap().summary;
        assert!(summary.is_cancel_requested);
    }
    assert_eq!(fire(&log, Overlap::Cancel, &[5]).await.started, 1);
    let fires = log.fires("s", None, 10).await.unwrap();
    assert_eq!(fires[0].state.as_deref(), Some("pending"));
    assert_eq!(fires[1].state.as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn missed_times_are_one_row_and_a_job_that_is_gone_is_said() {
    let (_database, log) = log().await;
    let schedule = job_schedule(&log).await;
    let mut missed = plan(&schedule, Overlap::Skip, &[]);
    missed.missed = Some(Missed {
        first: minute(-100),
        last: minute(-1),
        count: 100,
    });
    missed.handled = minute(0);
    assert_eq!(log.fire(&[missed]).await.unwrap().missed, 100);
    log.register(&jobs()[1..], &[], "r2").await.unwrap();
    assert_eq!(fire(&log, Overlap::Skip, &[1]).await.skipped, 1);
    let fires = log.fires("s", None, 10).await.unwrap();
    assert_eq!(
        fires[0].detail,
        json!({ "reason": "there is no job \"a\"" })
    );
    assert_eq!(
        (fires[1].result.as_str(), &fires[1].detail["count"]),
        ("missed", &json!(100))
    );
    assert!(log.runs(&Default::default(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_schedule_starts_workflows_too() {
    let (_database, log) = log().await;
    let flow = WorkflowDefinition {
        name: "flow".into(),
        graph: Graph::parse(&json!(["a", "b"])).unwrap(),
    };
    log.register(&jobs(), &[flow], "r2").await.unwrap();
    scheduled(&log, Target::Workflow("flow".into())).await;
    let both = fire(&log, Overlap::Queue, &[1, 2]).await;
    assert_eq!((both.started, both.queued), (1, 1));
    let mut claimed = claim_due(&log).await;
    assert_eq!(claimed.len(), 1);
    let first = claimed.remove(0);
    let params: Value = serde_json::from_str(&first.params).unwrap();
    assert_eq!(params, json!({ "n": 1 }));
    assert_eq!(fire(&log, Overlap::Queue, &[3]).await.skipped, 1);
    succeed(&log, &first.lease).await;
    let second = claim_due(&log).await.remove(0);
    assert_eq!(second.job, "b");
    succeed(&log, &second.lease).await;
    assert_eq!(claim_due(&log).await[0].job, "a");
    assert_eq!(fire(&log, Overlap::Cancel, &[4]).await.started, 1);
    let fires = log.fires("s", None, 10).await.unwrap();
    assert!(matches!(fires[0].made, Some(Made::Workflow(_))));
    assert_eq!(fires[3].state.as_deref(), Some("succeeded"));
}

#[tokio::test]
async fn a_schedule_is_fired_by_hand_whatever_its_state() {
    let (_database, log) = log().await;
    job_schedule(&log).await;
    log.pause_schedule("s", "me").await.unwrap();
    let before = log.schedule("s").await.unwrap();
    let run = run_of(Some(log.trigger_schedule("s").await.unwrap()));
    run_of(Some(log.trigger_schedule("s").await.unwrap()));
    let summary = log.run(run).await.unwrap().summary;
    assert_eq!(
        (summary.state, summary.priority, summary.schedule.as_deref()),
        (RunState::Pending, 3, Some("s"))
    );
    assert_eq!(log.schedule("s").await.unwrap(), before);
    assert_eq!(log.fires("s", None, 10).await.unwrap().len(), 2);
    assert!(log.trigger_schedule("t").await.is_err());
    let long_ago = before.created_at - SignedDuration::from_hours(1);
    assert!(log.fires("s", Some(long_ago), 10).await.unwrap().is_empty());
}

/// A schedule of a name for a target, with its plan of one fire with these params.
async fn planned(log: &JobLog, name: &str, target: Target, params: Value) -> Plan {
    let new = NewSchedule {
        name: name.into(),
        source: Source::Code,
        target,
        options: json!({ "every": "1m" }),
    };
    let schedule = log.put_schedule(&new, true).await.unwrap();
    Plan {
        params: params.as_object().unwrap().clone(),
        ..plan(&schedule, Overlap::Allow, &[1])
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_skipped_with_a_reason_and_the_others_start() {
    let (database, log) = log().await;
    let node = json!({ "job": "a", "params": { "own": "y".repeat(700_000) } });
    let flow = |name: &str, nodes: Value| WorkflowDefinition {
        name: name.into(),
        graph: Graph::parse(&json!({ "nodes": nodes })).unwrap(),
    };
    let flows = [
        flow("large", json!({ "x": node })),
        flow("broken", json!({ "x": { "job": "a" } })),
    ];
    log.register(&jobs(), &flows, "r1").await.unwrap();
    let half = json!({ "given": "x".repeat(700_000) });
    let job = || Target::Job("a".into());
    let bad = [
        ("nul", job(), json!({ "a": "\0" }), "NUL"),
        (
            "huge",
            job(),
            json!({ "a": "x".repeat(1_100_000) }),
            "limit",
        ),
        ("merged", Target::Workflow("large".into()), half, "limit"),
        (
            "read",
            Target::Workflow("broken".into()),
            json!({}),
            "cannot be read",
        ),
    ];
    let mut plans = Vec::new();
    for (name, target, params, _) in &bad {
        plans.push(planned(&log, name, target.clone(), params.clone()).await);
    }
    plans.push(planned(&log, "good", job(), json!({})).await);
    let break_it = "update tidegate.workflow_definition set graph = '[' where name = 'broken'";
    sql(&database).await.batch_execute(break_it).await.unwrap();
    let fired = log.fire(&plans).await.unwrap();
    assert_eq!((fired.started, fired.skipped), (1, 4));
    for (name, _, _, reason) in bad {
        let fire = log.fires(name, None, 10).await.unwrap().remove(0);
        let told = fire.detail["reason"].as_str().unwrap().to_owned();
        assert_eq!(fire.result, "skipped", "{name}");
        assert!(told.contains(reason), "{name}: {told}");
    }
    let good = log.fires("good", None, 10).await.unwrap().remove(0);
    assert_eq!(good.result, "started");
    assert_eq!(state(&log, run_of(good.made)).await, RunState::Pending);
}
