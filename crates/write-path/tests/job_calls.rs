//! What a run says while it runs, through the host's door.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tidegate_cloud_code::{Cause, CloudCode, Control, JobAnswer, JobCall, Outcome, RunScope};
use tidegate_job_log::{Claimed, Room};
use tidegate_testkit::TempDir;

use crate::desk::Desk;

/// A run of `report` that worker `w` holds.
async fn claimed(desk: &Desk) -> Claimed {
    desk.call("POST", "jobs/report", json!({})).await.unwrap();
    let room = Room {
        high: 10,
        normal: 10,
        low: 10,
    };
    let queued = desk.jobs.promote(room).await.unwrap().queued;
    desk.jobs.join("w").await.unwrap();
    let mut claimed = desk.jobs.claim("w", &[queued[0].0]).await.unwrap();
    claimed.remove(0)
}

async fn running(desk: &Desk) -> RunScope {
    let lease = claimed(desk).await.lease;
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

async fn load(desk: &Desk, main: &str) -> Arc<CloudCode> {
    let project = TempDir::new("project");
    std::fs::create_dir(project.path().join("cloud")).unwrap();
    std::fs::write(project.path().join("cloud/main.js"), main).unwrap();
    let bundle = tidegate_cloud_code::bundle(project.path()).await.unwrap();
    let config = tidegate_cloud_code::Config {
        isolates: 1,
        server_url: "http://localhost:1337/parse".into(),
        application_id: "app".into(),
        ..tidegate_cloud_code::Config::new(std::env::current_exe().unwrap())
    };
    let code = CloudCode::load(&config, bundle, desk.write_path.host());
    code.await.unwrap()
}

#[tokio::test]
async fn a_woken_run_goes_on_where_the_clock_is_behind_that_of_postgres() {
    let desk = Desk::open().await;
    let main = "Parse.Cloud.job('report', async (request) => { await request.sleep(60000); return 'awake' });";
    let code = load(&desk, main).await;
    let first = claimed(&desk).await;
    let run = async |claimed: &Claimed| {
        let limit = Duration::from_secs(60);
        let ran = desk
            .write_path
            .run_job(&code, claimed, 1, limit, Control::default());
        ran.await.outcome
    };
    let Outcome::Suspended { until_ms } = run(&first).await else {
        panic!("it does not sleep")
    };
    // By this process's clock it is too early. Postgres has woken the run, and by its clock it is not, or it is.
    let until = Timestamp::from_millisecond(until_ms).unwrap();
    let woken = |claimed_at| Claimed {
        is_resumed: true,
        sleeps: [("sleep 1".to_owned(), until_ms)].into(),
        claimed_at,
        ..first.clone()
    };
    let early = woken(until - SignedDuration::from_millis(1));
    assert_eq!(run(&early).await, Outcome::Suspended { until_ms });
    assert_eq!(run(&woken(until)).await, Outcome::Returned(json!("awake")));
}
