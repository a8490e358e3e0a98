//! A write path on a database of its own, where jobs `report` and `load` and workflow `flow` are registered.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidegate_cloud_code::Cause;
use tidegate_event::EffectScope;
use tidegate_event_log::EventLog;
use tidegate_job::{Graph, JobDefinition, WorkflowDefinition};
use tidegate_job_log::JobLog;
use tidegate_parse_protocol::{ErrorCode, Request};
use tidegate_storage::Storage;
use tidegate_testkit::{Database, Postgres};
use tidegate_write_path::{Answer, Caller, Config, Error, Wait, Waiters, WritePath};

const LONG: Duration = Duration::from_secs(30);

pub struct Desk {
    pub write_path: Arc<WritePath>,
    pub jobs: JobLog,
    _database: Database,
}

impl Desk {
    pub async fn open() -> Desk {
        let database = Postgres::shared().create_database().await;
        let database_url = database.url().to_owned();
        let storage = Storage::connect(tidegate_storage::Config {
            database_url: database_url.clone(),
            max_connections: 4,
            publication: "tidegate".into(),
            statement_timeout_ms: 30_000,
            message_prefix: tidegate_event::context::MESSAGE_PREFIX.into(),
        });
        let storage = storage.await.unwrap();
        let log = EventLog::connect(tidegate_event_log::Config {
            database_url: database_url.clone(),
            max_connections: 2,
        });
        let log = log.await.unwrap();
        tidegate_write_path::ensure_job_classes(&storage)
            .await
            .unwrap();
        let jobs = JobLog::connect(tidegate_job_log::Config {
            database_url,
            max_connections: 4,
        });
        let jobs = jobs.await.unwrap();
        register(&jobs).await;
        let waiters = Arc::new(Waiters::default());
        let write_path = WritePath::new(config(), storage, log, jobs.clone(), waiters);
        Desk {
            write_path,
            jobs,
            _database: database,
        }
    }

    /// A call with the master key.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Result<Answer, Error> {
        self.call_as(&master(), method, path, body).await
    }

    pub async fn call_as(
        &self,
        caller: &Caller,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Answer, Error> {
        let request = Request::parse(method, path, &body)?;
        self.write_path.execute(caller, request).await
    }

    /// Code and text of the refusal of a call with the master key.
    pub async fn refused(&self, method: &str, path: &str, body: Value) -> (ErrorCode, String) {
        let told = self.call(method, path, body).await.unwrap_err().to_parse();
        (told.code, told.message)
    }
}

fn config() -> Config {
    Config {
        mount: "/parse".into(),
        process: "p".into(),
        function_timeout: LONG,
        trigger_timeout: LONG,
        wait_timeout: LONG,
        max_trigger_depth: 8,
        client_class_creation: true,
        custom_object_ids: false,
        session_lifetime: LONG,
    }
}

async fn register(jobs: &JobLog) {
    let definitions = ["report", "load"].map(|name| JobDefinition {
        name: name.into(),
        options: Default::default(),
    });
    let flow = WorkflowDefinition {
        name: "flow".into(),
        graph: Graph::parse(&json!(["load", "report"])).unwrap(),
    };
    jobs.register(&definitions, &[flow], "r1").await.unwrap();
}

pub fn master() -> Caller {
    Caller {
        master: true,
        session: None,
        cause: Arc::new(Cause::default()),
        context: Map::new(),
        wait: Wait::None,
        request_key: None,
    }
}

/// A handler that is tried again, at this place among its writes.
pub fn handler(path: &str) -> Caller {
    let scope = EffectScope {
        cause: "1-0.A-0:afterSave:Order".into(),
        log_offset: Some(1),
        path: path.into(),
        is_recorded: true,
        earlier: Arc::default(),
    };
    Caller {
        cause: Arc::new(Cause {
            effects: Some(scope),
            ..Cause::default()
        }),
        ..master()
    }
}

/// The value of the only header of an answer without a body.
pub fn header(answer: Answer, name: &str) -> String {
    assert_eq!((answer.status, answer.body), (200, json!({})));
    let [(found, value)] = answer.headers.try_into().unwrap();
    assert_eq!(found, name);
    value
}
