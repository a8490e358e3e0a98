//! A worker of jobs with everything around it but a scheduler, whose part is one task here: what is due is promoted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tidegate_cloud_code::{Cause, CloudCode};
use tidegate_event_log::EventLog;
use tidegate_job::{JobDefinition, JobOptions, RunId, RunState};
use tidegate_job_log::history::Event;
use tidegate_job_log::list::Detail;
use tidegate_job_log::{JobLog, Room};
use tidegate_parse_protocol::{JobCall, Request};
use tidegate_queue::Queue;
use tidegate_queue::runs::{Band, RunQueue};
use tidegate_storage::Storage;
use tidegate_testkit::{Database, Postgres, Redis, TempDir};
use tidegate_worker::jobs::Config;
use tidegate_write_path::{Answer, Caller, Error, Wait, Waiters, WritePath};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything healthy takes.
const TOO_LONG: Duration = Duration::from_secs(30);

/// The parts that a test does not look at are here to stay.
pub struct Stage {
    pub jobs: JobLog,
    pub write_path: Arc<WritePath>,
    pub database: Database,
    pub code: Arc<CloudCode>,
    queue: RunQueue,
    shutdown: CancellationToken,
    worker: Option<JoinHandle<Result<(), tidegate_worker::Error>>>,
    scheduler: JoinHandle<()>,
    _redis: Redis,
}

impl Stage {
    /// Loads `main` as a project's `cloud/main.js`, registers its jobs, and starts a worker named `w`.
    pub async fn start(main: &str) -> Stage {
        let (database, redis) = (Postgres::shared().create_database().await, Redis::start());
        let (write_path, jobs) = write_path(&database).await;
        let code = load(main, &write_path).await;
        jobs.register(&definitions(&code), &[], "r1").await.unwrap();
        let queue = RunQueue::new(&connect_queue(&redis).await);
        let scheduler = tokio::spawn(promote_all(jobs.clone(), queue.clone()));
        let mut stage = Stage {
            jobs,
            write_path,
            database,
            code,
            queue,
            shutdown: CancellationToken::new(),
            worker: None,
            scheduler,
            _redis: redis,
        };
        stage.start_worker("w");
        stage
    }

    /// To be called when there is no worker.
    pub fn start_worker(&mut self, name: &str) {
        let config = Config {
            name: name.into(),
            concurrency: 8,
            job_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(2),
        };
        self.shutdown = CancellationToken::new();
        self.worker = Some(tokio::spawn(tidegate_worker::run_jobs(
            config,
            self.jobs.clone(),
            self.queue.clone(),
            Arc::clone(&self.write_path),
            self.shutdown.clone(),
        )));
    }

    /// As SIGTERM; returns when the worker has ended.
    pub async fn stop_worker(&mut self) {
        self.shutdown.cancel();
        let worker = self.worker.take().unwrap();
        must(worker).await.unwrap().unwrap();
    }

    /// As a caller with the master key.
    pub async fn call(&self, call: JobCall) -> Result<Answer, Error> {
        let caller = Caller {
            master: true,
            session: None,
            cause: Arc::new(Cause::default()),
            context: Map::new(),
            wait: Wait::None,
            request_key: None,
        };
        self.write_path.execute(&caller, Request::Job(call)).await
    }

    pub async fn begin(&self, job: &str, params: Value) -> RunId {
        let Value::Object(params) = params else {
            panic!("params are an object")
        };
        let start = JobCall::Start {
            job: job.into(),
            params,
            options: None,
        };
        let answer = self.call(start).await.unwrap();
        let (_, id) = &answer.headers[0];
        id.parse().unwrap()
    }

    pub async fn run(&self, run: RunId) -> Detail {
        self.jobs.run(run).await.unwrap()
    }

    /// Waits until the run is in this state.
    pub async fn reaches(&self, run: RunId, state: RunState) -> Detail {
        eventually(async || {
            let detail = self.run(run).await;
            let found = detail.summary.state;
            let may_change = found == state || !found.is_final();
            assert!(may_change, "{run} is {found}: {:?}", detail.summary.error);
            (found == state).then_some(detail)
        })
        .await
    }

    /// Waits until the run's history has such an event, the `nth` one from 1.
    pub async fn happens(&self, run: RunId, kind: &str, nth: usize) -> Event {
        eventually(async || {
            let history = self.jobs.history(run, 0, 1000).await.unwrap();
            let mut such = history.into_iter().filter(|event| event.kind == kind);
            such.nth(nth - 1)
        })
        .await
    }

    pub async fn kinds(&self, run: RunId) -> Vec<String> {
        let history = self.jobs.history(run, 0, 1000).await.unwrap();
        history.into_iter().map(|event| event.kind).collect()
    }

    pub async fn lines(&self, run: RunId) -> Vec<String> {
        let lines = self.jobs.log_lines(run, None, 0, 1000).await.unwrap();
        lines.into_iter().map(|logged| logged.line.text).collect()
    }

    /// The first column of the only row.
    pub async fn sql(&self, query: &str) -> String {
        let client = self.database.connect().await;
        let row = client.query_one(query, &[]).await.unwrap();
        row.get(0)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.scheduler.abort();
    }
}

async fn write_path(database: &Database) -> (Arc<WritePath>, JobLog) {
    let database_url = database.url().to_owned();
    let storage = Storage::connect(tidegate_storage::Config {
        database_url: database_url.clone(),
        max_connections: 8,
        publication: "tidegate".into(),
        statement_timeout_ms: 30_000,
        message_prefix: tidegate_event::context::MESSAGE_PREFIX.into(),
    });
    let storage = storage.await.unwrap();
    let log = EventLog::connect(tidegate_event_log::Config {
        database_url: database_url.clone(),
        max_connections: 4,
    });
    let log = log.await.unwrap();
    tidegate_write_path::ensure_job_classes(&storage)
        .await
        .unwrap();
    let jobs = JobLog::connect(tidegate_job_log::Config {
        database_url,
        max_connections: 8,
    });
    let jobs = jobs.await.unwrap();
    let config = tidegate_write_path::Config {
        mount: "/parse".into(),
        process: "p".into(),
        function_timeout: TOO_LONG,
        trigger_timeout: TOO_LONG,
        wait_timeout: TOO_LONG,
        max_trigger_depth: 8,
        client_class_creation: true,
        custom_object_ids: false,
        session_lifetime: TOO_LONG,
    };
    let waiters = Arc::new(Waiters::default());
    (
        WritePath::new(config, storage, log, jobs.clone(), waiters),
        jobs,
    )
}

async fn load(main: &str, write_path: &Arc<WritePath>) -> Arc<CloudCode> {
    let project = TempDir::new("project");
    std::fs::create_dir(project.path().join("cloud")).unwrap();
    std::fs::write(project.path().join("cloud/main.js"), main).unwrap();
    let bundle = tidegate_cloud_code::bundle(project.path()).await.unwrap();
    let config = tidegate_cloud_code::Config {
        isolates: 2,
        server_url: "http://localhost:1337/parse".into(),
        application_id: "app".into(),
        ..tidegate_cloud_code::Config::new(std::env::current_exe().unwrap())
    };
    let code = CloudCode::load(&config, bundle, write_path.host())
        .await
        .unwrap();
    write_path.replace_code(Arc::clone(&code));
    code
}

fn definitions(code: &CloudCode) -> Vec<JobDefinition> {
    let definition = |job: &tidegate_cloud_code::JobDefinition| JobDefinition {
        name: job.name.clone(),
        options: JobOptions::parse(&job.name, &job.options).unwrap(),
    };
    code.manifest().jobs.iter().map(definition).collect()
}

async fn connect_queue(redis: &Redis) -> Queue {
    let queue = Queue::connect(tidegate_queue::Config {
        redis_url: redis.url().into(),
        namespace: "test".into(),
        lanes: 1,
        max_queued: 1,
    });
    queue.await.unwrap()
}

/// Puts into the queue what may begin; there is at most this long between two looks.
async fn promote_all(jobs: JobLog, queue: RunQueue) {
    const LOOK: Duration = Duration::from_millis(20);
    let room = Room {
        high: 100,
        normal: 100,
        low: 100,
    };
    queue.incarnation().await.unwrap();
    let mut listener = jobs.listen().await.unwrap();
    loop {
        let promoted = jobs.promote(room).await.unwrap();
        let runs: Vec<(u64, Band)> = promoted
            .queued
            .iter()
            .map(|(RunId(id), _)| (*id, Band::Normal))
            .collect();
        if !runs.is_empty() {
            queue.push(&runs).await.unwrap();
        }
        listener.next(LOOK).await.unwrap();
    }
}

pub async fn must<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(TOO_LONG, future).await;
    ended.expect("it takes too long")
}

/// Asks until the answer is there.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut asking = tokio::time::interval(Duration::from_millis(10));
    must(async {
        loop {
            asking.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    })
    .await
}
