//! What the tests share: a host that records and answers, a release of fixture code, ways to look at processes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_cloud_code::{
    Bundle, Cause, CloudCode, Config, Error, Handler, Host, JobAnswer, JobCall, Outcome,
    ParseErrorJson, RestAnswer, RestCall, Run,
};
use tokio::sync::Semaphore;

/// The stand-in runtime.
pub const RUNTIME: &str = include_str!("fixture/runtime.js");

/// Held by tests that burn CPU or watch how long something takes, so that they have the machine to themselves.
pub static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A deadline that no healthy run comes near.
pub const LONG: Duration = Duration::from_secs(60);

/// Answers `echo` with the call's body, `gate` when a test opens it, `fail` with an error; records every call.
pub struct TestHost {
    pub calls: Mutex<Vec<(Arc<Cause>, RestCall)>>,
    /// Released once for each call that arrived.
    pub arrived: Semaphore,
    pub gate: Semaphore,
    /// What jobs said about themselves. A sleep past the year 2001 is granted, a message `gate` waits at the gate.
    pub said: Mutex<Vec<(Arc<Cause>, JobCall)>>,
    /// For `run`: the release whose function the call runs.
    pub code: Mutex<Option<Arc<CloudCode>>>,
}

impl TestHost {
    pub fn new() -> Arc<TestHost> {
        Arc::new(TestHost {
            calls: Mutex::default(),
            arrived: Semaphore::new(0),
            gate: Semaphore::new(0),
            said: Mutex::default(),
            code: Mutex::default(),
        })
    }

    /// Waits until `count` more calls have arrived.
    pub async fn arrived(&self, count: u32) {
        self.arrived.acquire_many(count).await.unwrap().forget();
    }

    /// What jobs said about themselves, in words.
    pub fn said(&self) -> Vec<String> {
        let said = self.said.lock().unwrap();
        said.iter().map(|(_, call)| format!("{call:?}")).collect()
    }

    pub fn paths(&self) -> Vec<String> {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .map(|(_, call)| call.path.clone())
            .collect()
    }
}

/// The host is shared with the test that looks at it.
pub struct Shared(pub Arc<TestHost>);

impl Host for Shared {
    fn call(
        &self,
        cause: &Arc<Cause>,
        call: RestCall,
    ) -> BoxFuture<'static, Result<RestAnswer, ParseErrorJson>> {
        let (host, cause) = (self.0.clone(), cause.clone());
        Box::pin(async move {
            host.calls
                .lock()
                .unwrap()
                .push((cause.clone(), call.clone()));
            host.arrived.add_permits(1);
            let answer = |body| {
                Ok(RestAnswer {
                    status: 200,
                    body,
                    headers: vec![("x-a".into(), "b".into())],
                })
            };
            match call.path.as_str() {
                "gate" => host.gate.acquire().await.unwrap().forget(),
                "fail" => {
                    return Err(ParseErrorJson {
                        code: 101,
                        message: "Object not found.".into(),
                    });
                }
                "run" => {
                    let code = host.code.lock().unwrap().clone().unwrap();
                    let name = call.body["function"].as_str().unwrap().to_owned();
                    let outcome = code.run(function(&name, call.body.clone())).await;
                    return answer(json!(format!("{outcome:?}")));
                }
                _ => {}
            }
            answer(call.body)
        })
    }

    fn job(
        &self,
        cause: &Arc<Cause>,
        call: JobCall,
    ) -> BoxFuture<'static, Result<JobAnswer, ParseErrorJson>> {
        let (host, cause) = (self.0.clone(), cause.clone());
        Box::pin(async move {
            host.said.lock().unwrap().push((cause, call.clone()));
            host.arrived.add_permits(1);
            match call {
                JobCall::Sleep { until_ms, .. } if until_ms > 1_000_000_000_000 => {
                    return Ok(JobAnswer::Suspend { until_ms });
                }
                JobCall::Message(text) if text == "gate" => {
                    host.gate.acquire().await.unwrap().forget()
                }
                JobCall::Message(text) if text == "fail" => {
                    return Err(ParseErrorJson {
                        code: 119,
                        message: "the run is no longer yours".into(),
                    });
                }
                _ => {}
            }
            Ok(JobAnswer::Done)
        })
    }
}

pub fn config() -> Config {
    Config {
        runtime: Some(RUNTIME.into()),
        isolates: 2,
        memory_limit_bytes: 64 * 1024 * 1024,
        ..Config::new(std::env::current_exe().unwrap())
    }
}

pub async fn load_with(
    config: &Config,
    code: &str,
    host: &Arc<TestHost>,
) -> Result<Arc<CloudCode>, Error> {
    CloudCode::load(
        config,
        Bundle::new(code.into(), None),
        Arc::new(Shared(host.clone())),
    )
    .await
}

pub async fn load(code: &str) -> Arc<CloudCode> {
    load_with(&config(), code, &TestHost::new()).await.unwrap()
}

pub fn function(name: &str, request: Value) -> Run {
    Run {
        handler: Handler::Function(name.into()),
        request,
        soft_deadline: LONG,
        hard_deadline: LONG * 2,
        cause: Arc::new(Cause::default()),
        control: None,
    }
}

pub fn job(name: &str, request: Value) -> Run {
    Run {
        handler: Handler::Job(name.into()),
        ..function("", request)
    }
}

/// A run that must end within `soft`, and is killed at twice that.
pub fn limited(name: &str, soft: Duration) -> Run {
    Run {
        soft_deadline: soft,
        hard_deadline: soft * 2,
        ..function(name, Value::Null)
    }
}

pub async fn call(code: &CloudCode, name: &str, request: Value) -> Outcome {
    code.run(function(name, request)).await
}

/// The message of what a handler threw.
pub fn message(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Threw { message, .. } => message,
        other => panic!("it did not throw: {other:?}"),
    }
}

/// The processes of a release, its zygote first.
pub async fn isolates(code: &CloudCode) -> Vec<i32> {
    code.pids().await.split_off(1)
}

pub fn is_alive(pid: i32) -> bool {
    // A zombie has ended.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// True while the process uses a processor or waits for one.
pub fn is_computing(pid: &i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('R'))
}

pub fn exists(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

/// Waits until `condition` holds; the test runner's own time limit is the limit.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut waited = 0;
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        waited += 1;
        assert!(waited < 4000, "waited in vain until {what}");
    }
}

/// A folder of files that goes when it is dropped.
pub struct Project {
    pub path: std::path::PathBuf,
}

impl Project {
    pub fn new(files: &[(&str, &str)]) -> Project {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("tidegate-project-{}-{number}", std::process::id()));
        for (name, text) in files {
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Project { path }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
