//! A job log in a database of its own, and the few moves that most tests begin with.

use std::sync::Arc;

use serde_json::json;
use tidegate_event_log::EventLog;
use tidegate_job::{
    JobDefinition, JobOptions, Lease, NewRun, RunId, RunState, Source, StartOptions,
};
use tidegate_job_log::{Claimed, Config, Ending, Finished, JobLog, Room};
use tidegate_testkit::{Database, Postgres};

pub const WORKER: &str = "w1";

/// Room for everything a test starts.
pub const ROOM: Room = Room {
    high: 10_000,
    normal: 10_000,
    low: 10_000,
};

/// As Parse Server makes them.
const PARSE_TABLES: &str = r#"
create table "_JobStatus" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz, "jobName" text,
    "source" text, "status" text, "message" text, "params" jsonb, "finishedAt" timestamptz, "_rperm" text[], "_wperm" text[]);
create table "_JobSchedule" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz, "jobName" text,
    "description" text, "params" text, "startAfter" text, "daysOfWeek" jsonb, "timeOfDay" text, "lastRun" double precision,
    "repeatMinutes" double precision, "_rperm" text[], "_wperm" text[])"#;

/// Jobs `a`, `b`, `c`, `undo-a`, `undo-b` without options, `one` with concurrency 1, `keyed` with keyConcurrency 2; worker `w1`.
pub async fn log() -> (Database, JobLog) {
    let database = Postgres::shared().create_database().await;
    sql(&database)
        .await
        .batch_execute(PARSE_TABLES)
        .await
        .unwrap();
    let config = tidegate_event_log::Config {
        database_url: database.url().to_owned(),
        max_connections: 2,
    };
    EventLog::connect(config).await.unwrap();
    let log = connect(&database).await;
    log.register(&jobs(), &[], "r1").await.unwrap();
    log.join(WORKER).await.unwrap();
    (database, log)
}

pub async fn connect(database: &Database) -> JobLog {
    let config = Config {
        database_url: database.url().to_owned(),
        max_connections: 8,
    };
    JobLog::connect(config).await.unwrap()
}

pub fn jobs() -> Vec<JobDefinition> {
    let job = |name: &str, options: serde_json::Value| JobDefinition {
        name: name.to_owned(),
        options: JobOptions::parse("the options", &options).unwrap(),
    };
    let mut jobs: Vec<JobDefinition> = ["a", "b", "c", "undo-a", "undo-b"]
        .map(|name| job(name, json!({})))
        .to_vec();
    jobs.push(job("one", json!({ "concurrency": 1 })));
    jobs.push(job("keyed", json!({ "keyConcurrency": 2, "retries": 0 })));
    jobs
}

/// A connection for looking into the tables.
pub async fn sql(database: &Database) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

pub fn new_run(job: &str, options: serde_json::Value) -> NewRun {
    NewRun {
        job: job.to_owned(),
        params: "{}".to_owned(),
        options: StartOptions::parse(&options).unwrap(),
        source: Source::Api,
    }
}

pub async fn start(log: &JobLog, job: &str) -> RunId {
    start_with(log, job, json!({})).await
}

pub async fn start_with(log: &JobLog, job: &str, options: serde_json::Value) -> RunId {
    log.start(&[new_run(job, options)]).await.unwrap()[0].id
}

/// Promotes what is due, and returns the ids.
pub async fn promote(log: &JobLog) -> Vec<RunId> {
    let promoted = log.promote(ROOM).await.unwrap();
    promoted.queued.into_iter().map(|(id, _)| id).collect()
}

/// Promotes what is due, and claims all of it.
pub async fn claim_due(log: &JobLog) -> Vec<Claimed> {
    let ids = promote(log).await;
    log.claim(WORKER, &ids).await.unwrap()
}

/// Starts one run and claims it.
pub async fn running(log: &JobLog, job: &str) -> Claimed {
    start(log, job).await;
    let mut claimed = claim_due(log).await;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

pub async fn finish(log: &JobLog, lease: &Lease, ending: Ending) -> Option<RunState> {
    let finished = Finished {
        lease: lease.clone(),
        ending,
    };
    log.finish(&[finished]).await.unwrap().remove(&lease.run)
}

pub async fn succeed(log: &JobLog, lease: &Lease) {
    let ending = Ending::Succeeded {
        value: Some(r#"{"done":true}"#.to_owned()),
    };
    assert_eq!(finish(log, lease, ending).await, Some(RunState::Succeeded));
}

pub async fn fail(log: &JobLog, lease: &Lease) {
    assert_eq!(
        finish(log, lease, failed("broken")).await,
        Some(RunState::Failed)
    );
}

pub fn failed(error: &str) -> Ending {
    Ending::Failed {
        error: error.to_owned(),
    }
}

pub async fn state(log: &JobLog, run: RunId) -> RunState {
    log.run(run).await.unwrap().summary.state
}

/// Takes a worker off the list as lost, with the beat that it has now.
pub async fn reap(log: &JobLog, worker: &str) -> Vec<RunId> {
    let workers = log.workers().await.unwrap();
    let found = workers.iter().find(|one| one.name == worker).unwrap();
    log.reap(worker, found.beat).await.unwrap().unwrap()
}

/// Kinds of the events of a run, in order.
pub async fn kinds(log: &JobLog, run: RunId) -> Vec<String> {
    let events = log.history(run, 0, 1000).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

/// Status and message in `_JobStatus`, and whether it has an end.
pub async fn shown(database: &Database, run: RunId) -> (String, Option<String>, bool) {
    let query = r#"select "status", "message", "finishedAt" is not null from "_JobStatus" where "objectId" = $1"#;
    let row = sql(database)
        .await
        .query_one(query, &[&run.to_string()])
        .await
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

pub fn lease(run: RunId, worker: &str, fence: u64) -> Lease {
    Lease {
        run,
        worker: Arc::from(worker),
        fence,
    }
}
