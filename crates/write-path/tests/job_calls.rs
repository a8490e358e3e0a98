//! What a run says while it runs, through the host's door.

use std::sync::Arc;

use serde_json::json;
use tidegate_cloud_code::{Cause, JobAnswer, JobCall, RunScope};
use tidegate_job_log::Room;

use crate::desk::Desk;

/// A run that worker `w` holds.
async fn running(desk: &Desk) -> RunScope {
    desk.call("POST", "jobs/report", json!({})).await.unwrap();
    let room = Room {
        high: 10,
        normal: 10,
        low: 10,
    };
    let queued = desk.jobs.promote(room).await.unwrap().queued;
    desk.jobs.join("w").await.unwrap();
    let claimed = desk.jobs.claim("w", &[queued[0].0]).await.unwrap();
    let lease = claimed[0].lease.clone();
    RunScope {
        id: lease.run.0,
        fence: lease.fence,
        worker: lease.worker,
    }
}

async fn say(desk: &Desk, run: Option<RunScope>, call: JobCall) -> Result<JobAnswer, String> {
    let cause = Arc::new(Cause {
        run,
        ..Cause::default()
    });
    let answer = desk.write_path.host().job(&cause, call).await;
    answer.map_err(|error| error.message)
}

fn message(text: &str) -> JobCall {
    JobCall::Message(text.into())
}

#[tokio::test]
async fn only_a_run_with_its_lease_is_heard() {
    let desk = Desk::open().await;
    let scope = running(&desk).await;
    let shown = async || {
        let runs = desk.jobs.runs(&Default::default(), 10).await.unwrap();
        runs[0].message.clone()
    };
    assert_eq!(
        say(&desk, Some(scope.clone()), message("here")).await,
        Ok(JobAnswer::Done)
    );
    assert_eq!(shown().await.as_deref(), Some("here"));
    let late = RunScope {
        fence: scope.fence - 1,
        ..scope.clone()
    };
    let refused = say(&desk, Some(late), message("late")).await.unwrap_err();
    assert!(refused.contains("not held"), "{refused}");
    assert!(say(&desk, None, message("nobody")).await.is_err());
    assert_eq!(shown().await.as_deref(), Some("here"));
}

#[tokio::test]
async fn steps_and_sleeps_are_remembered_and_a_sleep_ends_the_attempt() {
    let desk = Desk::open().await;
    let scope = running(&desk).await;
    let step = JobCall::Step {
        name: "load".into(),
        value: json!({"n": 1}),
    };
    assert_eq!(
        say(&desk, Some(scope.clone()), step).await,
        Ok(JobAnswer::Done)
    );
    let sleep = |until_ms| JobCall::Sleep {
        name: "sleep 1".into(),
        until_ms,
    };
    let suspended = Ok(JobAnswer::Suspend { until_ms: 5_000 });
    assert_eq!(
        say(&desk, Some(scope.clone()), sleep(5_000)).await,
        suspended
    );
    // The first word counts.
    assert_eq!(
        say(&desk, Some(scope.clone()), sleep(9_000)).await,
        suspended
    );
    let run = tidegate_job::RunId(scope.id);
    assert_eq!(
        desk.jobs.run(run).await.unwrap().steps["load"],
        json!({"n": 1})
    );
    let unnamed = JobCall::Step {
        name: String::new(),
        value: json!(null),
    };
    let refused = say(&desk, Some(scope), unnamed).await.unwrap_err();
    assert!(refused.contains("the name of a step"), "{refused}");
}
