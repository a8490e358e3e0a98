//! A database, a Redis, and any number of schedulers; tests play the workers.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_event_log::EventLog;
use tidegate_job::{JobDefinition, JobOptions, NewRun, RunId, Source, StartOptions};
use tidegate_job_log::schedule::{self, NewSchedule, Target};
use tidegate_job_log::{Claimed, Config, JobLog};
use tidegate_queue::Queue;
use tidegate_queue::runs::RunQueue;
use tidegate_testkit::{Database, Postgres, Redis};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up. Not a bound that is asserted.
const PATIENCE: Duration = Duration::from_secs(60);

pub const LEASE: Duration = Duration::from_millis(500);

pub struct Stage {
    pub database: Database,
    pub redis: Redis,
    pub log: JobLog,
    pub queue: RunQueue,
}

/// As Parse Server makes them.
const PARSE_TABLES: &str = r#"
create table "_JobStatus" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz, "jobName" text,
    "source" text, "status" text, "message" text, "params" jsonb, "finishedAt" timestamptz, "_rperm" text[], "_wperm" text[]);
create table "_JobSchedule" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz, "jobName" text,
    "description" text, "params" text, "startAfter" text, "daysOfWeek" jsonb, "timeOfDay" text, "lastRun" double precision,
    "repeatMinutes" double precision, "_rperm" text[], "_wperm" text[])"#;

impl Stage {
    /// Jobs `report` and `single`, the latter one at a time.
    pub async fn new() -> Stage {
        let database = Postgres::shared().create_database().await;
        let redis = Redis::start();
        let stage_sql = sql(&database).await;
        stage_sql.batch_execute(PARSE_TABLES).await.unwrap();
        let events = tidegate_event_log::Config {
            database_url: database.url().to_owned(),
            max_connections: 2,
        };
        EventLog::connect(events).await.unwrap();
        let log = JobLog::connect(Config {
            database_url: database.url().to_owned(),
            max_connections: 8,
        });
        let log = log.await.unwrap();
        let job = |name: &str, options| JobDefinition {
            name: name.into(),
            options: JobOptions::parse("the options", &options).unwrap(),
        };
        let jobs = [
            job("report", json!({})),
            job("single", json!({"concurrency": 1})),
        ];
        log.register(&jobs, &[], "r1").await.unwrap();
        let queue = connect(&redis).await;
        Stage {
            database,
            redis,
            log,
            queue,
        }
    }

    /// Starts a scheduler; aborting the task is as sudden as a kill to everyone else.
    pub fn schedule(&self) -> JoinHandle<()> {
        self.schedule_until(CancellationToken::new())
    }

    pub fn schedule_until(&self, shutdown: CancellationToken) -> JoinHandle<()> {
        let config = tidegate_scheduler::Config {
            max_queued: 100,
            worker_lease: LEASE,
            standby_interval: Duration::from_millis(50),
            keep: Duration::from_secs(3600),
        };
        let (log, queue) = (self.log.clone(), self.queue.clone());
        tokio::spawn(async move { tidegate_scheduler::run(config, log, queue, shutdown).await })
    }

    pub async fn start(&self, job: &str, options: StartOptions) -> RunId {
        let run = NewRun {
            job: job.into(),
            params: "{}".into(),
            options,
            source: Source::Api,
        };
        self.log.start(&[run]).await.unwrap()[0].id
    }

    /// Makes a schedule that belongs to the API.
    pub async fn put_schedule(&self, name: &str, job: &str, options: serde_json::Value) {
        let options = tidegate_schedule::Options::read(&options)
            .unwrap()
            .to_value();
        let schedule = NewSchedule {
            name: name.into(),
            source: schedule::Source::Api,
            target: Target::Job(job.into()),
            options,
        };
        self.log.put_schedule(&schedule, false).await.unwrap();
    }

    /// Puts a worker on the list that lives as long as the stage.
    pub async fn join(&self, worker: &'static str) {
        self.log.join(worker).await.unwrap();
        let log = self.log.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LEASE / 10);
            while log.beat(worker, &[]).await.is_ok() {
                ticks.tick().await;
            }
        });
    }

    /// Claims a run as soon as it counts as queued.
    pub async fn claim(&self, worker: &str, run: RunId) -> Claimed {
        let begun = Instant::now();
        loop {
            let claimed = self.log.claim(worker, &[run]).await.unwrap();
            if let Some(claimed) = claimed.into_iter().next() {
                return claimed;
            }
            give_way(begun, "the run is not queued").await;
        }
    }

    pub async fn sql(&self) -> tokio_postgres::Client {
        sql(&self.database).await
    }

    /// Returns when a query of one boolean says true.
    pub async fn until(&self, query: &str) {
        let client = self.sql().await;
        let begun = Instant::now();
        while !client
            .query_one(query, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            give_way(begun, query).await;
        }
    }

    /// Returns when that many ids are in the queue.
    pub async fn until_queued(&self, count: u64) {
        let begun = Instant::now();
        while self
            .queue
            .queued()
            .await
            .map_or(0, |waiting| waiting.total())
            < count
        {
            give_way(begun, "the queue is not filled").await;
        }
    }
}

async fn connect(redis: &Redis) -> RunQueue {
    let queue = Queue::connect(tidegate_queue::Config {
        redis_url: redis.url().to_owned(),
        namespace: "scheduler".into(),
        lanes: 4,
        max_queued: 1000,
    });
    RunQueue::new(&queue.await.unwrap())
}

async fn sql(database: &Database) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// Lets others go on; fails when the test has waited for too long.
pub async fn give_way(begun: Instant, what: &str) {
    assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
    tokio::time::sleep(Duration::from_millis(5)).await;
}
