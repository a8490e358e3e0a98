//! The router over a database of its own. Each answer is held against the document.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use axum::response::Response;
use serde_json::{Value, json};
use tidegate_admin::Admin;
use tidegate_event_log::EventLog;
use tidegate_job::{Graph, JobDefinition, JobOptions, WorkflowDefinition};
use tidegate_job_log::{Claimed, Ending, Finished, JobLog, Room};
use tidegate_testkit::{Database, Postgres};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::fits::misfit;

const KEY: &str = "master";
const WORKER: &str = "w1";

/// As Parse Server makes them.
const PARSE_TABLES: &str = r#"
create table "_JobStatus" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz, "jobName" text,
    "source" text, "status" text, "message" text, "params" jsonb, "finishedAt" timestamptz, "_rperm" text[], "_wperm" text[])"#;

pub struct Stage {
    pub jobs: JobLog,
    pub shutdown: CancellationToken,
    pub document: Value,
    router: Router,
    _database: Database,
}

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

/// Jobs `report` and `clean` (no retries), workflow `night` of the two; worker `w1`; nobody schedules.
pub async fn stage() -> Stage {
    let database = Postgres::shared().create_database().await;
    database
        .connect()
        .await
        .batch_execute(PARSE_TABLES)
        .await
        .unwrap();
    let config = tidegate_event_log::Config {
        database_url: database.url().to_owned(),
        max_connections: 2,
    };
    let log = EventLog::connect(config).await.unwrap();
    let config = tidegate_job_log::Config {
        database_url: database.url().to_owned(),
        max_connections: 4,
    };
    let jobs = JobLog::connect(config).await.unwrap();
    register(&jobs).await;
    let capture = tidegate_capture::Config {
        database_url: database.url().to_owned(),
        slot: database.name().to_owned(),
        publication: "tidegate".to_owned(),
        standby_interval: Duration::from_secs(1),
        heartbeat_interval: Duration::from_secs(10),
    };
    let shutdown = CancellationToken::new();
    let router = tidegate_admin_http::router(
        Admin::new(log, jobs.clone(), capture),
        |headers| {
            headers
                .get("x-parse-master-key")
                .is_some_and(|key| key == KEY)
        },
        shutdown.clone(),
    );
    let mut stage = Stage {
        jobs,
        shutdown,
        document: Value::Null,
        router,
        _database: database,
    };
    let answered = stage.send(Method::GET, "/openapi.json", None).await;
    stage.document = json_of(answered).await.body;
    stage
}

async fn register(jobs: &JobLog) {
    let options = json!({ "retries": 0, "concurrency": 5, "backoff": { "initial": 10 }, "description": "A report" });
    let job = |name: &str, options: &Value| JobDefinition {
        name: name.to_owned(),
        options: JobOptions::parse("the options", options).unwrap(),
    };
    let night = json!({ "nodes": { "first": "report", "then": { "job": "clean", "after": "first", "params": { "a": 1 } } } });
    let night = WorkflowDefinition {
        name: "night".to_owned(),
        graph: Graph::parse(&night).unwrap(),
    };
    let definitions = [
        job("report", &options),
        job("clean", &json!({ "retries": 0 })),
    ];
    jobs.register(&definitions, &[night], "r1").await.unwrap();
    jobs.join(WORKER).await.unwrap();
}

impl Stage {
    /// A request with the master key, to a path below the mount.
    pub async fn send(&self, method: Method, path: &str, body: Option<&str>) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(format!("/tidegate/v1{path}"))
            .header("x-parse-master-key", KEY);
        let body = body.map_or(Body::empty(), |text| Body::from(text.to_owned()));
        self.raw(request.body(body).unwrap()).await
    }

    pub async fn raw(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// A request whose answer must be one that the document has.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Reply {
        let text = (!body.is_null()).then(|| body.to_string());
        let answered = self.send(method.clone(), path, text.as_deref()).await;
        let reply = json_of(answered).await;
        self.check(&method, path, &reply);
        reply
    }

    #[track_caller]
    fn check(&self, method: &Method, path: &str, reply: &Reply) {
        let operation = self.operation(method, path);
        let answer = &operation["responses"][reply.status.to_string()];
        assert!(
            !answer.is_null(),
            "{method} {path} answered {}, which its document does not have: {}",
            reply.status,
            reply.body
        );
        let answer = match answer["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap(),
            None => answer,
        };
        let schema = &answer["content"]["application/json"]["schema"];
        let misfit = misfit(&self.document, schema, &reply.body, "the answer");
        assert_eq!(misfit, None, "{method} {path}");
    }

    /// The operation whose path fits; one without parameters goes first.
    #[track_caller]
    fn operation(&self, method: &Method, path: &str) -> &Value {
        let path = path.split('?').next().unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let own: Vec<&str> = template.split('/').collect();
            let mut pairs = own.iter().zip(&parts);
            own.len() == parts.len() && pairs.all(|(own, part)| own.starts_with('{') || own == part)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let exact = paths.get(path);
        let found = exact.or_else(|| {
            paths
                .iter()
                .find(|(own, _)| fits(own))
                .map(|(_, item)| item)
        });
        let name = method.as_str().to_lowercase();
        let operation = &found.unwrap_or_else(|| panic!("no path for {path}"))[name];
        assert!(
            !operation.is_null(),
            "{method} {path} is not in the document"
        );
        operation
    }

    pub async fn get(&self, path: &str) -> Value {
        self.expect(Method::GET, path, Value::Null, 200).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.expect(Method::POST, path, body, 200).await
    }

    pub async fn expect(&self, method: Method, path: &str, body: Value, status: u16) -> Value {
        let reply = self.call(method, path, body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        reply.body
    }

    /// A request that must be refused with this status; returns what is said.
    pub async fn refused(&self, method: Method, path: &str, body: Value, status: u16) -> String {
        let reply = self.expect(method, path, body, status).await;
        let code = match status {
            400 | 413 => "invalid",
            404 => "not_found",
            409 => "conflict",
            other => panic!("{other} is not expected here"),
        };
        assert_eq!(reply["code"], code);
        reply["error"].as_str().unwrap().to_owned()
    }

    /// Asks for a run, and returns its id.
    pub async fn start(&self, job: &str) -> String {
        let body = json!({ "job": job, "params": { "a": 1 } });
        let run = self.expect(Method::POST, "/runs", body, 201).await;
        run["id"].as_str().unwrap().to_owned()
    }

    /// Has the worker take everything that is due.
    pub async fn claim(&self) -> Vec<Claimed> {
        let room = Room {
            high: 100,
            normal: 100,
            low: 100,
        };
        let promoted = self.jobs.promote(room).await.unwrap();
        let ids: Vec<_> = promoted.queued.into_iter().map(|(id, _)| id).collect();
        self.jobs.claim(WORKER, &ids).await.unwrap()
    }

    pub async fn finish(&self, claimed: &Claimed, ending: Ending) {
        let finished = Finished {
            lease: claimed.lease.clone(),
            ending,
        };
        self.jobs.finish(&[finished]).await.unwrap();
    }

    /// A run that has failed.
    pub async fn dead(&self, job: &str) -> String {
        let run = self.start(job).await;
        for claimed in self.claim().await {
            self.finish(&claimed, failed("broken")).await;
        }
        run
    }
}

pub fn failed(error: &str) -> Ending {
    Ending::Failed {
        error: error.to_owned(),
    }
}

pub fn succeeded() -> Ending {
    Ending::Succeeded {
        value: Some(r#"{"rows":3}"#.to_owned()),
    }
}

pub async fn json_of(response: Response) -> Reply {
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8_lossy(&bytes);
    Reply {
        status,
        body: serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {text}")),
    }
}

/// Lines of a log, as a worker writes them.
pub async fn log(stage: &Stage, claimed: &Claimed, texts: &[&str]) {
    let line = |text: &&str| tidegate_job::LogLine {
        at_ms: 1_700_000_000_000,
        level: tidegate_job::LogLevel::Info,
        text: (*text).to_owned(),
    };
    let lines = texts.iter().map(line).collect();
    let mut budget = tidegate_job::LogBudget::default();
    let lease = tidegate_job::Lease {
        worker: Arc::clone(&claimed.lease.worker),
        ..claimed.lease.clone()
    };
    let lost = stage.jobs.logs(vec![(&lease, &mut budget, lines)]).await;
    assert!(lost.unwrap().is_empty());
}
