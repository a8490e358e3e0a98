//! What people see.

use serde_json::json;
use tidegate_job::RunState;
use tidegate_job_log::list::Filter;

use crate::fixture::*;

#[tokio::test]
async fn runs_are_listed_by_job_and_state_page_by_page() {
    let (_database, log) = log().await;
    for job in ["a", "b", "a", "b", "a"] {
        let lease = running(&log, job).await.lease;
        match job {
            "a" => succeed(&log, &lease).await,
            _ => fail(&log, &lease).await,
        }
    }
    let pending = start(&log, "a").await;
    let list = async |filter: Filter, limit| {
        let runs = log.runs(&filter, limit).await.unwrap();
        runs.into_iter().map(|run| run.id.0).collect::<Vec<u64>>()
    };
    assert_eq!(list(Filter::default(), 100).await, [6, 5, 4, 3, 2, 1]);
    let of_a = Filter {
        job: Some("a".into()),
        ..Filter::default()
    };
    assert_eq!(list(of_a.clone(), 2).await, [6, 5]);
    let next = Filter {
        before: Some(tidegate_job::RunId(5)),
        ..of_a.clone()
    };
    assert_eq!(list(next, 2).await, [3, 1]);
    let failed = Filter {
        states: vec![RunState::Failed, RunState::Pending],
        ..Filter::default()
    };
    assert_eq!(list(failed, 100).await, [6, 4, 2]);
    let both = Filter {
        states: vec![RunState::Succeeded],
        ..of_a
    };
    assert_eq!(list(both, 100).await, [5, 3, 1]);
    let counts = log.counts().await.unwrap();
    let texts: Vec<String> = counts
        .iter()
        .map(|one| format!("{} {} {}", one.job, one.state, one.runs))
        .collect();
    assert_eq!(texts, ["a pending 1", "a succeeded 3", "b failed 2"]);
    let needs = start_with(&log, "c", json!({ "after": [pending] })).await;
    assert_eq!(
        log.run(needs).await.unwrap().needs[&pending],
        Some(RunState::Pending)
    );
}

#[tokio::test]
async fn the_snapshot_counts_what_is_open_and_how_old_it_is() {
    let (database, log) = log().await;
    let failed = running(&log, "a").await.lease;
    fail(&log, &failed).await;
    running(&log, "one").await;
    start(&log, "one").await;
    start(&log, "b").await;
    promote(&log).await;
    let pending = start(&log, "b").await;
    start_with(&log, "c", json!({ "after": [pending] })).await;
    let old =
        "update tidegate.run set run_at = run_at - interval '30 seconds' where state = 'pending'";
    sql(&database).await.batch_execute(old).await.unwrap();
    let found = log.snapshot().await.unwrap();
    assert_eq!(
        (found.running, found.blocked, found.queued, found.pending),
        (1, 1, 1, 1)
    );
    assert_eq!((found.waiting, found.parked, found.workers), (1, 0, 1));
    assert_eq!(log.dead_runs().await.unwrap(), 1);
    assert!((29..60).contains(&found.oldest_due.as_secs()), "{found:?}");
    assert!(found.schedule_lateness.is_zero());
}

#[tokio::test]
async fn jobs_are_registered_with_their_options_and_those_of_old_releases_end() {
    let (_database, log) = log().await;
    log.register(&jobs()[1..], &[], "r2").await.unwrap();
    let listed = log.jobs().await.unwrap();
    let find = |name: &str| listed.iter().find(|job| job.name == name).unwrap();
    assert_eq!(
        (find("a").is_registered, find("a").release.as_str()),
        (false, "r1")
    );
    assert_eq!(
        (find("one").is_registered, find("one").release.as_str()),
        (true, "r2")
    );
    assert_eq!(find("one").options.concurrency, Some(1));
    assert!(log.start(&[new_run("a", json!({}))]).await.is_err());
    log.register(&jobs(), &[], "r3").await.unwrap();
    start(&log, "a").await;
}

#[tokio::test]
async fn a_database_without_the_tables_is_named() {
    let database = tidegate_testkit::Postgres::shared().create_database().await;
    let config = tidegate_job_log::Config {
        database_url: database.url().to_owned(),
        max_connections: 1,
    };
    let error = tidegate_job_log::JobLog::connect(config)
        .await
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("has a Tidegate server run on it"),
        "{error}"
    );
}
