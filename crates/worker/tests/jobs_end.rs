//! Runs that are ended from outside: cancelled, out of time, their worker or their process gone.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_job::RunState;
use tidegate_parse_protocol::JobCall;

use crate::stage::{Stage, eventually};

/// Longer than any test.
const ENDLESS: &str = "Parse.Cloud.job('waits', async () => new Promise(() => {}));
    Parse.Cloud.job('spins', () => { for (;;); });
    Parse.Cloud.job('sleeps', async (request) => request.sleep(3600e3));";

#[tokio::test]
async fn a_cancelled_run_ends_within_a_second_wherever_it_is() {
    let stage = Stage::start(ENDLESS).await;
    for (job, state) in [
        ("waits", RunState::Running),
        ("spins", RunState::Running),
        ("sleeps", RunState::Sleeping),
    ] {
        let run = stage.begin(job, json!({})).await;
        stage.reaches(run, state).await;
        let asked = Instant::now();
        stage
            .call(JobCall::Cancel {
                id: run.to_string(),
            })
            .await
            .unwrap();
        stage.reaches(run, RunState::Cancelled).await;
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{job}: {:?}",
            asked.elapsed()
        );
    }
    // The isolates' places are free again.
    let run = stage.begin("sleeps", json!({})).await;
    stage.reaches(run, RunState::Sleeping).await;
}

#[tokio::test]
async fn a_cancel_that_nobody_heard_is_seen_by_the_next_beat() {
    let stage = Stage::start(ENDLESS).await;
    let run = stage.begin("waits", json!({})).await;
    stage.reaches(run, RunState::Running).await;
    let sql = stage.database.connect().await;
    sql.batch_execute("update tidegate.run set cancel_requested_at = clock_timestamp()")
        .await
        .unwrap();
    stage.reaches(run, RunState::Cancelled).await;
}

#[tokio::test]
async fn a_signal_lets_a_job_clean_up_and_its_success_counts() {
    let main = "Parse.Cloud.job('polite', async (request) => {
            await new Promise((resolve) => request.signal.addEventListener('abort', resolve));
            await new Parse.Object('Row').save({ cleaned: true }, { useMasterKey: true });
            throw request.signal.reason;
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("polite", json!({})).await;
    stage.reaches(run, RunState::Running).await;
    stage
        .call(JobCall::Cancel {
            id: run.to_string(),
        })
        .await
        .unwrap();
    stage.reaches(run, RunState::Cancelled).await;
    assert_eq!(stage.sql("select count(*)::text from \"Row\"").await, "1");
}

#[tokio::test]
async fn time_is_up_after_a_warning_and_a_signal() {
    let main = "Parse.Cloud.job('slow', { timeout: 1500, retries: 1, backoff: { initial: 1 } }, async (request) => {
            request.signal.addEventListener('abort', () => console.log('signal'));
            await new Promise(() => {});
        });
        Parse.Cloud.job('obeys', { timeout: 300, retries: 0 }, async (request) => {
            await new Promise((_, reject) => request.signal.addEventListener('abort', () => reject(request.signal.reason)));
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("slow", json!({})).await;
    let detail = stage.reaches(run, RunState::Failed).await;
    assert_eq!(
        detail.summary.error.as_deref(),
        Some("timed out after 1500 ms")
    );
    let attempt = ["queued", "started", "warned", "log"];
    let expected = [
        &["created"][..],
        &attempt,
        &["retry"],
        &attempt,
        &["finished"],
    ]
    .concat();
    assert_eq!(stage.kinds(run).await, expected);
    let warning = stage.happens(run, "warned", 1).await;
    assert_eq!(
        warning.body["message"],
        "1000 ms are left of the time limit of 1500 ms"
    );

    let run = stage.begin("obeys", json!({})).await;
    let detail = stage.reaches(run, RunState::Failed).await;
    assert_eq!(
        detail.summary.error.as_deref(),
        Some("timed out after 300 ms")
    );
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_hands_back_what_does_not() {
    let mut stage = Stage::start(ENDLESS).await;
    let run = stage.begin("waits", json!({})).await;
    stage.reaches(run, RunState::Running).await;
    let asked = Instant::now();
    stage.stop_worker().await;
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
    stage.happens(run, "handed_back", 1).await;
    assert_eq!(
        stage
            .sql("select count(*)::text from tidegate.job_worker")
            .await,
        "0"
    );
    stage.start_worker("next");
    let resumed = stage.happens(run, "resumed", 1).await;
    assert_eq!(
        (resumed.attempt, resumed.body["worker"].as_str()),
        (1, Some("next-1"))
    );
}

#[tokio::test]
async fn a_worker_that_was_given_up_ends_its_runs_and_comes_back_as_another() {
    let main = "Parse.Cloud.job('import', { retries: 1 }, async (request) => {
            await new Parse.Object('Row').save({ n: request.attempt }, { useMasterKey: true });
            if (request.attempt === 1) await new Promise(() => {});
            return request.attempt;
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("import", json!({})).await;
    let begun = eventually(async || {
        let exists = "select to_regclass('\"Row\"') is not null and count(*) > 0 from tidegate.run";
        let client = stage.database.connect().await;
        let exists: bool = client.query_one(exists, &[]).await.unwrap().get(0);
        match exists {
            true => (stage.sql("select count(*)::text from \"Row\"").await == "1").then_some(()),
            false => None,
        }
    });
    begun.await;
    // Until no beat came between the look and the loss.
    loop {
        let workers = stage.jobs.workers().await.unwrap();
        let worker = workers.iter().find(|worker| worker.name == "w-1").unwrap();
        if stage.jobs.reap("w-1", worker.beat).await.unwrap().is_some() {
            break;
        }
    }
    let detail = stage.reaches(run, RunState::Succeeded).await;
    assert_eq!(detail.result, Some(json!(2)));
    assert_eq!(
        stage
            .sql("select count(*) || ' ' || min(\"n\") from \"Row\"")
            .await,
        "1 1"
    );
    let started = stage.happens(run, "started", 2).await;
    assert_eq!(started.body["worker"], "w-2");
}

#[tokio::test]
async fn what_a_run_says_without_its_lease_ends_it() {
    let main = "Parse.Cloud.job('talks', async (request) => {
            for (let n = 0; ; n += 1) {
                await new Promise((resolve) => setTimeout(resolve, 20));
                try { await request.message(String(n)); } catch (error) { /* it goes on */ }
            }
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("talks", json!({})).await;
    stage.happens(run, "message", 2).await;
    let isolates = stage.code.pids().await.len();
    let sql = stage.database.connect().await;
    let taken = "update tidegate.run set fence = fence + 1";
    sql.batch_execute(taken).await.unwrap();
    eventually(async || (stage.code.pids().await.len() < isolates).then_some(())).await;
    assert_eq!(
        stage.run(run).await.summary.state,
        RunState::Running,
        "nothing is said of it"
    );
}

#[tokio::test]
async fn a_job_that_ends_its_process_is_quarantined_after_three_in_a_row() {
    let main =
        "Parse.Cloud.job('poison', { retries: 9, backoff: { initial: 1 } }, async (request) => {
            await request.message('here ' + request.attempt);
            await new Promise(() => {});
        });";
    let stage = Stage::start(main).await;
    let run = stage.begin("poison", json!({})).await;
    for nth in 1..=3 {
        stage.happens(run, "message", nth).await;
        assert_eq!(stage.run(run).await.summary.crashes, nth as u32 - 1);
        // The first is the zygote.
        for pid in &stage.code.pids().await[1..] {
            let killed = std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status();
            assert!(killed.is_ok());
        }
    }
    let detail = stage.reaches(run, RunState::Failed).await;
    let error = detail.summary.error.unwrap();
    assert!(error.starts_with("quarantined: "), "{error}");
    assert_eq!(detail.summary.attempts, 3);
}

#[tokio::test]
async fn a_run_whose_job_this_release_does_not_have_waits_for_one_that_does() {
    let stage = Stage::start(ENDLESS).await;
    let other = tidegate_job::JobDefinition {
        name: "elsewhere".into(),
        options: Default::default(),
    };
    stage.jobs.register(&[other], &[], "r2").await.unwrap();
    let run = stage.begin("elsewhere", json!({})).await;
    let waits = stage.reaches(run, RunState::Sleeping).await;
    assert_eq!((waits.summary.attempts, waits.summary.error), (1, None));
    stage.happens(run, "resumed", 1).await;
}
