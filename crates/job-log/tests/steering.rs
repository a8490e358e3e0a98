//! Cancel, run again, delete, forget.

use std::time::Duration;

use serde_json::json;
use tidegate_job::{RunId, RunState};
use tidegate_job_log::{Ending, Error};

use crate::fixture::*;

#[tokio::test]
async fn what_has_not_begun_is_cancelled_at_once_in_every_state() {
    let (database, log) = log().await;
    let queued = start(&log, "one").await;
    promote(&log).await;
    let blocked = start(&log, "one").await;
    promote(&log).await;
    let later = start_with(&log, "a", json!({ "delay": 60_000 })).await;
    let waiting = start_with(&log, "a", json!({ "after": [later] })).await;
    let needs_it = start_with(&log, "a", json!({ "after": [waiting] })).await;
    for run in [blocked, queued, waiting, later] {
        assert_eq!(log.cancel(run).await.unwrap(), RunState::Cancelled, "{run}");
        let expected = ("failed".into(), Some("cancelled".into()), true);
        assert_eq!(shown(&database, run).await, expected);
    }
    assert_eq!(state(&log, needs_it).await, RunState::Skipped);
    assert_eq!(log.cancel(queued).await.unwrap(), RunState::Cancelled);
    assert!(log.claim(WORKER, &[queued]).await.unwrap().is_empty());
    assert!(matches!(
        log.cancel(RunId(999)).await,
        Err(Error::Unknown { .. })
    ));
}

#[tokio::test]
async fn a_cancel_wins_over_a_retry_and_a_success_over_a_cancel() {
    let (_database, log) = log().await;
    let endings = [
        (
            Ending::Retry {
                after: Duration::ZERO,
                error: "x".into(),
            },
            RunState::Cancelled,
        ),
        (Ending::HandedBack, RunState::Cancelled),
        (Ending::Cancelled, RunState::Cancelled),
        (failed("x"), RunState::Failed),
        (Ending::Succeeded { value: None }, RunState::Succeeded),
    ];
    for (ending, expected) in endings {
        let lease = running(&log, "a").await.lease;
        assert_eq!(log.cancel(lease.run).await.unwrap(), RunState::Running);
        assert!(
            log.run(lease.run)
                .await
                .unwrap()
                .summary
                .is_cancel_requested
        );
        assert_eq!(
            finish(&log, &lease, ending.clone()).await,
            Some(expected),
            "{ending:?}"
        );
    }
    let lease = running(&log, "a").await.lease;
    log.cancel(lease.run).await.unwrap();
    let until = jiff::Timestamp::now();
    assert_eq!(
        log.suspend(&lease, until).await.unwrap(),
        RunState::Cancelled
    );
    let lease = running(&log, "a").await.lease;
    log.cancel(lease.run).await.unwrap();
    reap(&log, WORKER).await;
    assert_eq!(state(&log, lease.run).await, RunState::Cancelled);
}

#[tokio::test]
async fn a_failed_run_runs_again_with_its_steps_or_afresh() {
    let (database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    log.step(&lease, "s", &json!(1)).await.unwrap();
    let effect = format!(
        "insert into tidegate.effect (cause, position, kind, class, answer) values ('{}', '1', 'create', 'Item', '{{}}')",
        lease.run.cause()
    );
    let client = sql(&database).await;
    client.batch_execute(&effect).await.unwrap();
    let effects = || async {
        let row = client
            .query_one("select count(*) from tidegate.effect", &[])
            .await
            .unwrap();
        row.get::<_, i64>(0)
    };
    assert!(matches!(
        log.retry(lease.run, false).await,
        Err(Error::Invalid { .. })
    ));
    fail(&log, &lease).await;
    log.retry(lease.run, false).await.unwrap();
    assert_eq!(
        shown(&database, lease.run).await,
        ("running".into(), None, false)
    );
    let again = claim_due(&log).await.remove(0);
    assert_eq!(
        (again.attempt, again.steps["s"].clone(), effects().await),
        (1, json!(1), 1)
    );
    assert!(again.lease.fence > lease.fence);
    fail(&log, &again.lease).await;
    log.retry(lease.run, true).await.unwrap();
    let afresh = claim_due(&log).await.remove(0);
    assert_eq!((afresh.steps.len(), effects().await), (0, 0));
    succeed(&log, &afresh.lease).await;
    let error = log.retry(lease.run, false).await.unwrap_err().to_string();
    assert!(error.contains("has succeeded"), "{error}");
    assert!(kinds(&log, lease.run).await.contains(&"retried".to_owned()));
}

#[tokio::test]
async fn a_run_that_begins_afresh_starts_anew_what_it_had_started() {
    let (_database, log) = log().await;
    let lease = running(&log, "a").await.lease;
    let other = RunId(lease.run.0 + 1_000);
    let child = async |cause: RunId| {
        let options = json!({ "idempotencyKey": format!("{}:1", cause.cause()) });
        log.start(&[new_run("b", options)]).await.unwrap()[0]
    };
    let (first, others) = (child(lease.run).await, child(other).await);
    fail(&log, &lease).await;
    log.retry(lease.run, false).await.unwrap();
    assert_eq!(child(lease.run).await.id, first.id);
    let mut claimed = claim_due(&log).await.into_iter();
    let again = claimed.find(|one| one.lease.run == lease.run).unwrap();
    fail(&log, &again.lease).await;
    log.retry(lease.run, true).await.unwrap();
    let second = child(lease.run).await;
    assert!(second.is_new && second.id != first.id);
    assert_eq!(child(other).await.id, others.id);
}

#[tokio::test]
async fn a_running_run_is_deleted_by_force_only_and_its_worker_writes_nothing_more() {
    let (database, log) = log().await;
    let lease = running(&log, "one").await.lease;
    let blocked = start(&log, "one").await;
    promote(&log).await;
    let needs_it = start_with(&log, "a", json!({ "after": [lease.run] })).await;
    let error = log.delete(lease.run, false).await.unwrap_err().to_string();
    assert!(error.contains("cancel it first"), "{error}");
    log.delete(lease.run, true).await.unwrap();
    assert!(matches!(
        log.run(lease.run).await,
        Err(Error::Unknown { .. })
    ));
    assert!(matches!(
        log.message(&lease, "x").await,
        Err(Error::Lost { .. })
    ));
    assert_eq!(
        finish(&log, &lease, Ending::Succeeded { value: None }).await,
        None
    );
    assert_eq!(state(&log, needs_it).await, RunState::Skipped);
    assert_eq!(promote(&log).await, [blocked]);
    let left = r#"select (select count(*) from "_JobStatus" where "objectId" = 'R000000001')
                       + (select count(*) from tidegate.run_event where run_id = 1)"#;
    let row = sql(&database).await.query_one(left, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    assert!(log.delete(lease.run, true).await.is_err());
}

#[tokio::test]
async fn what_is_over_and_old_is_forgotten_and_what_is_needed_stays() {
    let (database, log) = log().await;
    let client = sql(&database).await;
    let old = running(&log, "a").await.lease;
    let needed = running(&log, "a").await.lease;
    let open = start_with(&log, "b", json!({ "after": [needed.run], "delay": 60_000 })).await;
    succeed(&log, &old).await;
    succeed(&log, &needed).await;
    let effect = format!(
        "insert into tidegate.effect (cause, position, kind, class, answer) values ('{}', '1', 'create', 'Item', '{{}}');
         update tidegate.run set finished_at = finished_at - interval '40 days'",
        old.run.cause()
    );
    client.batch_execute(&effect).await.unwrap();
    let young = running(&log, "a").await.lease;
    succeed(&log, &young).await;
    let day = Duration::from_secs(86_400);
    assert_eq!(log.delete_expired(60 * day).await.unwrap(), 0);
    assert_eq!(log.delete_expired(30 * day).await.unwrap(), 1);
    assert!(log.run(old.run).await.is_err());
    for run in [needed.run, open, young.run] {
        log.run(run).await.unwrap();
    }
    let left = r#"select (select count(*) from tidegate.effect)
                       + (select count(*) from "_JobStatus" where "objectId" = 'R000000001')"#;
    assert_eq!(
        client.query_one(left, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
}
