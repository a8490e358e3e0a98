//! `examples/jobs`: each job and the workflow, run to its end, and what it made.
//!
//! The services that they call are the test's own listener, or the stand-ins that come with the example.

mod cleanup;
mod export;
mod month_end;
mod report;
mod services;
mod sync;

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_testkit::TempDir;

use crate::server::tidegate;
use crate::system::{System, repository};

const ROLES: &str = "proxy,capture,dispatch,worker,scheduler";

/// The example, with its services at this port; no server yet.
async fn project(port: u16) -> System {
    let system = System::prepare("").await;
    copy_cloud(&system.project);
    let settings = system.project.path().join("cloud/settings.js");
    let text = std::fs::read_to_string(&settings).unwrap();
    let moved = text.replace("127.0.0.1:8025", &format!("127.0.0.1:{port}"));
    assert_ne!(text, moved, "the example's services have another address");
    std::fs::write(&settings, moved).unwrap();
    system
}

async fn shop(port: u16) -> System {
    let mut system = project(port).await;
    system.serve(ROLES);
    system
}

fn copy_cloud(to: &TempDir) {
    let packages = repository().join("examples/jobs/cloud/node_modules");
    assert!(
        packages.is_dir(),
        "ops/setup installs the example's packages"
    );
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(repository().join("examples/jobs/cloud"))
        .arg(to.path())
        .status();
    assert!(copied.unwrap().success());
}

/// Starts a job, and returns its run's id.
async fn start(system: &System, job: &str, params: Value) -> String {
    let reply = system
        .master(Method::POST, &format!("jobs/{job}"), params)
        .await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let id = reply.header("x-parse-job-status-id");
    id.expect("the answer names the run").to_owned()
}

/// Waits until a run has ended; returns its `_JobStatus` object.
async fn ended(system: &System, run: &str) -> Value {
    let has_ended = json!({"objectId": run, "status": {"$in": ["succeeded", "failed"]}});
    system
        .wait_for_objects("_JobStatus", has_ended, 1)
        .await
        .remove(0)
}

/// Runs a job to its end, which must be a success, and returns what it said last.
async fn run(system: &System, job: &str, params: Value) -> String {
    let run = start(system, job, params).await;
    succeeded(system, &run).await
}

async fn succeeded(system: &System, run: &str) -> String {
    let status = ended(system, run).await;
    assert_eq!(status["status"], "succeeded", "{status}");
    let message = status["message"].as_str();
    message.expect("the job says what it did").to_owned()
}

/// Makes an object with the master key; its class comes to be with it.
async fn make(system: &System, class: &str, fields: Value) {
    let path = format!("classes/{class}");
    let reply = system.master(Method::POST, &path, fields).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
}

async fn make_order(system: &System, customer: &str, country: &str, cents: u32, placed_at: &str) {
    let placed_at = json!({"__type": "Date", "iso": placed_at});
    let order = json!({
        "number": 1, "customer": customer, "country": country, "totalCents": cents, "placedAt": placed_at,
    });
    make(system, "Order", order).await;
}

/// What an independent reader finds in a file that is given in base64.
fn read(kind: &str, base64: &str) -> Value {
    read_from(kind, "base64", file_of(base64))
}

/// `read.mjs` inflates and parses it with what Node.js has.
fn read_from(kind: &str, encoding: &str, file: std::fs::File) -> Value {
    let output = std::process::Command::new("node")
        .arg(repository().join("tests/jobs_examples/read.mjs"))
        .args([kind, encoding])
        .stdin(file)
        .output()
        .expect("Node.js can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file without a name: base64 may be longer than a command line.
fn file_of(text: &str) -> std::fs::File {
    use std::io::{Seek, Write};
    let folder = TempDir::new("made");
    let path = folder.path().join("base64");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create_new(true)
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn the_commands_to_try_do_what_they_promise() {
    let project = TempDir::new("jobs");
    copy_cloud(&project);
    let settings = repository().join("examples/jobs/tidegate.toml");
    std::fs::copy(settings, project.path().join("tidegate.toml")).unwrap();
    let output = tidegate()
        .args(["dev", "--check", "--listen", "127.0.0.1:0"])
        .arg(project.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let (printed, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{printed}\n{said}");
    assert!(printed.contains("deleted 200 visits"), "{printed}");
}

#[tokio::test]
async fn their_schedules_are_planned() {
    let system = shop(1).await;
    // The names, what each starts, and its next due time on the clock of Berlin, or of UTC.
    system
        .wait_for_sql(
            "select array_agg(name || ' ' || coalesce(job, workflow) || ' '
                              || to_char(next_due at time zone case name when 'hourlySync' then 'UTC' else 'Europe/Berlin' end,
                                         case name when 'hourlySync' then '\"**:\"MI'
                                                   when 'monthEnd' then 'DD HH24:MI' else 'HH24:MI' end) order by name)
                    = array['dailyReport dailyReport 09:00', 'hourlySync hourlySync **:00', 'monthEnd monthEnd 01 06:00',
                            'nightlyCleanup nightlyCleanup 03:30']
                    and bool_and(next_due > now())
               from tidegate.schedule where source = 'code'",
        )
        .await;
}
