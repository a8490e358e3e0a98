//! Jobs and schedules, as an operator drives them: by the command line and over REST, beside a server that runs.

use std::process::{Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::tidegate;
use crate::system::{APP_ID, MASTER_KEY, PATIENCE, System, breathe};

const ALL: &str = "proxy,capture,dispatch,scheduler,worker";

/// One that reports how far it is, one that fails until it is told not to, one that does not end, and a chain.
const JOBS: &str = r#"
Parse.Cloud.job("export", { retries: 0, description: "Rows to a file" }, async (request) => {
  const total = request.params.rows ?? 4;
  for (let row = 1; row <= total; row++) {
    console.log(`row ${row}`);
    request.progress(row, total, "rows");
  }
  return { rows: total };
});
Parse.Cloud.job("fragile", { retries: 0 }, async () => {
  const switches = await new Parse.Query("Switch").find({ useMasterKey: true });
  if (switches.length === 0) throw new Error("not yet");
});
Parse.Cloud.job("endless", { retries: 0 }, async () => {
  for (;;) await new Promise((resolve) => setTimeout(resolve, 50));
});
Parse.Cloud.workflow("night", ["export", "export"]);
"#;

/// A command that needs Postgres alone: no key, no Redis, no project.
fn command(system: &System, arguments: &[&str]) -> Command {
    let mut command = tidegate();
    command
        .args(arguments)
        .env("DATABASE_URL", system.database.url())
        .env("TIDEGATE_SLOT", system.database.name())
        .current_dir(std::env::temp_dir());
    command
}

fn run(system: &System, arguments: &[&str]) -> Output {
    command(system, arguments).output().unwrap()
}

/// Runs a command that must succeed, with `--json`, and returns what it prints.
#[track_caller]
fn ask(system: &System, arguments: &[&str]) -> Value {
    let output = run(system, &[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {:?}", output.stdout))
}

/// Runs a command that must succeed, and returns what it prints for people.
#[track_caller]
fn read(system: &System, arguments: &[&str]) -> String {
    let output = run(system, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with this exit code, and returns what it says.
#[track_caller]
fn refused(mut command: Command, exit_code: i32) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit_code), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "no data on stdout");
    said
}

/// Waits until a run is in this state.
async fn wait_for_state(system: &System, run: &str, state: &str) {
    let id: u64 = run.trim_start_matches('R').parse().unwrap();
    let query = format!("select state = '{state}' from tidegate.run where id = {id}");
    system.wait_for_sql(&query).await;
}

async fn system() -> System {
    let mut system = System::prepare(JOBS).await;
    system.serve(ALL);
    system
}

#[tokio::test]
async fn a_run_is_followed_to_its_end_and_its_end_is_the_exit_code() {
    let system = system().await;
    let followed = run(
        &system,
        &[
            "jobs",
            "run",
            "export",
            "--params",
            r#"{"rows":3}"#,
            "--follow",
            "--json",
        ],
    );
    let said = String::from_utf8_lossy(&followed.stderr);
    assert!(followed.status.success(), "{said}");
    let ended: Value = serde_json::from_slice(&followed.stdout).unwrap();
    let id = ended["id"].as_str().unwrap();
    assert_eq!(
        (&ended["state"], &ended["source"]),
        (&"succeeded".into(), &"cli".into())
    );
    assert_eq!(
        ended["progress"],
        json!({ "done": 3.0, "total": 3.0, "message": "rows" })
    );
    for expected in ["row 1", "row 3", "succeeded", "100% 3 of 3 rows"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let shown = ask(&system, &["jobs", "show", id]);
    assert_eq!(shown["result"], json!({ "rows": 3 }));
    assert_eq!(shown["tries"][0]["logs"][2]["text"], "row 3");
    let text = read(&system, &["jobs", "show", id]);
    assert!(
        text.contains("attempt 1: succeeded") && text.contains("row 2"),
        "{text}"
    );
    assert!(read(&system, &["jobs", "logs", id]).ends_with(" row 3\n"));
    // Of what has ended, following tells all there is.
    assert!(read(&system, &["jobs", "logs", "-f", id]).ends_with(" row 3\n"));

    let failed = run(&system, &["jobs", "run", "fragile", "--follow"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(
        said.contains("failed: ") && said.contains("not yet"),
        "{said}"
    );

    let workflow = run(
        &system,
        &["jobs", "run", "night", "--workflow", "--follow", "--json"],
    );
    assert!(
        workflow.status.success(),
        "{}",
        String::from_utf8_lossy(&workflow.stderr)
    );
    let ended: Value = serde_json::from_slice(&workflow.stdout).unwrap();
    assert_eq!(
        (&ended["state"], &ended["succeeded"]),
        (&"succeeded".into(), &2.into())
    );
    let id = ended["id"].as_str().unwrap();
    assert!(read(&system, &["jobs", "show", id]).contains("export-2"));
}

#[tokio::test]
async fn what_runs_is_cancelled_and_what_is_dead_runs_again() {
    let system = system().await;
    let run = ask(&system, &["jobs", "run", "endless"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_for_state(&system, &run, "running").await;
    let following = command(&system, &["jobs", "logs", "-f", &run])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    ask(&system, &["jobs", "cancel", &run]);
    wait_for_state(&system, &run, "cancelled").await;
    assert!(following.wait_with_output().unwrap().status.success());
    refused(
        command(&system, &["jobs", "run", "endless", "--run-at", "soon"]),
        5,
    );

    for _ in 0..2 {
        let dead = ask(&system, &["jobs", "run", "fragile"])["id"]
            .as_str()
            .unwrap()
            .to_owned();
        wait_for_state(&system, &dead, "failed").await;
    }
    let dead = ask(&system, &["jobs", "dead", "--job", "fragile"]);
    assert_eq!(dead["runs"].as_array().unwrap().len(), 2);
    system
        .master(Method::POST, "classes/Switch", json!({}))
        .await;
    let done = ask(&system, &["jobs", "dead", "--job", "fragile", "--retry"]);
    assert_eq!(done["retried"], 2);
    for run in dead["runs"].as_array().unwrap() {
        wait_for_state(&system, run["id"].as_str().unwrap(), "succeeded").await;
    }
    let listed = read(&system, &["jobs", "list"]);
    assert!(listed.starts_with("JOB "), "{listed}");
    let deleted = dead["runs"][0]["id"].as_str().unwrap();
    ask(&system, &["jobs", "delete", deleted]);
    refused(command(&system, &["jobs", "show", deleted]), 3);
}

#[tokio::test]
async fn jobs_pause_alone_and_all_together() {
    let system = system().await;
    ask(&system, &["jobs", "pause", "export"]);
    let waits = ask(&system, &["jobs", "run", "export"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let runs = run(&system, &["jobs", "run", "fragile", "--follow"]);
    assert_eq!(runs.status.code(), Some(1));
    assert_eq!(ask(&system, &["jobs", "show", &waits])["attempts"], 0);
    assert!(read(&system, &["jobs", "list"]).contains("paused by"));
    ask(&system, &["jobs", "pause", "--all"]);
    ask(&system, &["jobs", "resume", "export"]);
    assert!(read(&system, &["jobs", "queue"]).contains("all jobs are paused by"));
    ask(&system, &["jobs", "resume", "--all"]);
    wait_for_state(&system, &waits, "succeeded").await;
}

#[tokio::test]
async fn schedules_are_made_changed_fired_and_deleted() {
    let system = system().await;
    let create = "schedules create nightly --job export --cron";
    let create: Vec<&str> = create.split(' ').collect();
    let made = ask(
        &system,
        &[&create[..], &["30 2 * * *", "--tz", "Europe/Berlin"]].concat(),
    );
    assert_eq!(made["options"]["timezone"], "Europe/Berlin");
    let edit = "schedules edit nightly --every 1s --clear timezone --overlap allow";
    let edited = ask(&system, &edit.split(' ').collect::<Vec<_>>());
    assert_eq!(
        (&edited["timing"], &edited["options"]["overlap"]),
        (&"every second".into(), &"allow".into())
    );
    let fired = "select count(*) > 1 from tidegate.run where schedule_id is not null and state = 'succeeded'";
    system.wait_for_sql(fired).await;
    assert_eq!(
        ask(&system, &["schedules", "pause", "nightly"])["nextDue"],
        Value::Null
    );
    let triggered = ask(&system, &["schedules", "trigger", "nightly"]);
    wait_for_state(&system, triggered["run"].as_str().unwrap(), "succeeded").await;
    let history = ask(&system, &["schedules", "history", "nightly"]);
    assert_eq!(history[0]["made"]["run"], triggered["run"]);
    let listed = read(&system, &["schedules", "list"]);
    assert!(
        listed.contains("paused by") && listed.contains("every second"),
        "{listed}"
    );
    ask(&system, &["schedules", "resume", "nightly"]);
    let preview = ask(
        &system,
        &["schedules", "preview", "nightly", "--count", "3"],
    );
    assert_eq!(preview["rows"].as_array().unwrap().len(), 3);
    ask(&system, &["schedules", "delete", "nightly"]);
    let said = refused(command(&system, &["schedules", "show", "nightly"]), 3);
    assert!(said.contains("there is no schedule nightly"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_exit_code() {
    let system = system().await;
    for (line, exit_code, expected) in [
        ("jobs run exprt", 3, "did you mean \"export\"?"),
        (
            "jobs run export --params {",
            5,
            "--params: this is not JSON",
        ),
        (
            "jobs run export --params [1]",
            5,
            "params must be an object",
        ),
        (
            "jobs run export --params @/does/not/exist",
            2,
            "cannot read",
        ),
        ("jobs run export --delay 5", 5, "--delay: "),
        ("jobs run export --priority 200", 5, "priority"),
        (
            "jobs run export --delay 5m --run-at 2027-01-01",
            2,
            "cannot be used with",
        ),
        ("jobs show R999", 3, "R000000999"),
        ("jobs show report", 5, "is not the id of a run"),
        ("jobs runs --state broken", 5, "state: "),
        ("jobs pause exprt", 3, "did you mean export?"),
        (
            "schedules create s --job exprt --daily 09:00",
            3,
            "did you mean \"export\"?",
        ),
        ("schedules create s --job export --daily 25:00", 5, "daily"),
        ("schedules create s --job export", 5, "schedule: "),
        (
            "schedules preview nothing",
            3,
            "there is no schedule nothing",
        ),
        ("schedules preview nothing --tz UTC", 5, "--tz: "),
    ] {
        let said = refused(
            command(&system, &line.split(' ').collect::<Vec<_>>()),
            exit_code,
        );
        assert!(said.contains(expected), "{line}: {said}");
    }
}

/// Without a database, a server or a project.
#[test]
fn expressions_are_previewed_and_simulated_by_the_command_alone() {
    let alone = |arguments: &[&str]| {
        let mut command = tidegate();
        command.args(arguments).current_dir(std::env::temp_dir());
        command
    };
    let preview = [
        "schedules",
        "preview",
        "0 9 * * MON-FRI",
        "--tz",
        "Europe/Berlin",
        "--at",
        "2027-03-27",
        "--count",
        "2",
    ];
    let output = alone(&preview).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines[0],
        "LOCAL                      ZONE  UTC                   NOTE"
    );
    assert_eq!(
        lines[1],
        "2027-03-29T09:00:00+02:00  CEST  2027-03-29T07:00:00Z"
    );
    let sunday = [
        "schedules",
        "preview",
        "daily 02:30",
        "--tz",
        "Europe/Berlin",
        "--at",
        "2027-03-28",
        "--count",
        "1",
    ];
    let output = alone(&sunday).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("02:30 does not exist, fires at 03:00"),
        "{text}"
    );
    let simulate = "schedules simulate @hourly --from 2027-03-01 --to 2027-03-01T06:00 \
                    --outage 2027-03-01T01:30/2027-03-01T03:30 --takes 10m --missed skip --json";
    let output = alone(&simulate.split_whitespace().collect::<Vec<_>>())
        .output()
        .unwrap();
    let played: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(played["counts"]["skippedMissed"], 2);
    for (expression, expected) in [
        ("61 * * * *", "cron: "),
        ("0 9 31 2 *", "never"),
        ("* * *", "cron: "),
        ("@dayly", "cron: "),
        ("every soon", "every: "),
        (
            r#"{"daily":"09:00","timezone":"Europe/Berln"}"#,
            "Europe/Berlin",
        ),
    ] {
        let said = refused(alone(&["schedules", "preview", expression]), 5);
        assert!(said.contains(expected), "{expression}: {said}");
    }
}

#[tokio::test]
async fn the_same_is_served_over_rest_to_whoever_has_the_master_key() {
    let system = system().await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}/tidegate/v1{path}", system.url());
    let ask = |method: Method, path: &str| {
        let request = client.request(method, url(path));
        request
            .header("X-Parse-Application-Id", APP_ID)
            .header("X-Parse-Master-Key", MASTER_KEY)
    };
    for (application, key) in [(APP_ID, "wrong"), ("other", MASTER_KEY), (APP_ID, "")] {
        let request = client
            .get(url("/jobs"))
            .header("X-Parse-Application-Id", application);
        let reply = request
            .header("X-Parse-Master-Key", key)
            .send()
            .await
            .unwrap();
        assert_eq!(reply.status(), 403);
    }
    let body = json!({ "job": "export", "params": { "rows": 2 } });
    let started = ask(Method::POST, "/runs").json(&body).send().await.unwrap();
    assert_eq!(started.status(), 201);
    let started: Value = started.json().await.unwrap();
    let run = started["id"].as_str().unwrap();
    // The stream ends with the run.
    let followed = ask(Method::GET, &format!("/runs/{run}/logs?follow=true")).timeout(PATIENCE);
    let followed = followed.send().await.unwrap().text().await.unwrap();
    assert!(
        followed.contains("row 2") && followed.contains("event: end"),
        "{followed}"
    );
    let body = json!({ "name": "often", "job": "export", "options": { "every": "1s" } });
    let made = ask(Method::POST, "/schedules")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    let begun = std::time::Instant::now();
    loop {
        let fires = ask(Method::GET, "/schedules/often/history")
            .send()
            .await
            .unwrap();
        let fires: Value = fires.json().await.unwrap();
        if !fires["fires"].as_array().unwrap().is_empty() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "never fired");
        breathe().await;
    }
    let document = ask(Method::GET, "/openapi.json").send().await.unwrap();
    assert_eq!(document.json::<Value>().await.unwrap()["openapi"], "3.1.0");
}
