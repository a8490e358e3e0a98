//! The first minutes of a newcomer: `tidegate dev`, its own servers, its messages.

use std::process::Stdio;

use reqwest::Method;
use serde_json::json;

use crate::server::{Server, tidegate};
use crate::system::{System, repository};

#[test]
fn the_quickstart_checks_itself() {
    let project = copy_of_quickstart();
    let output = tidegate()
        .args(["dev", "--check", "--listen", "127.0.0.1:0"])
        .arg(project.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (printed, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{printed}\n{said}");
    for answer in ["Hello, Ada!", "INSERT 0 1", "\"source\":\"sql\""] {
        assert!(
            printed.contains(answer),
            "{answer} is missing in:\n{printed}"
        );
    }
}

#[tokio::test]
async fn the_example_keeps_its_promises() {
    let system = System::of_example("quickstart").await;
    let item = |price: u32| json!({"name": " Lamp ", "price": price});
    let mut items = Vec::new();
    for price in [40, 2] {
        let saved = system.call(Method::POST, "classes/Item", item(price)).await;
        assert_eq!((saved.status, &saved.body["name"]), (201, &json!("Lamp")));
        items.push(
            json!({"__type": "Pointer", "className": "Item", "objectId": saved.body["objectId"]}),
        );
    }
    let order = system
        .call(Method::POST, "classes/Order", json!({"items": items}))
        .await
        .body["objectId"]
        .clone();
    assert_eq!(
        system
            .function("orderTotal", json!({"orderId": order}))
            .await,
        json!({"total": 42})
    );
    let audit = system.find("AuditEntry", json!({"name": "Lamp"})).await;
    assert_eq!(
        (audit.len(), &audit[0]["context"]),
        (2, &json!({"checkedBy": "beforeSave"}))
    );
    system
        .call(Method::POST, "classes/Item", json!({"price": 1}))
        .await
        .expect_error(400, 142);
}

#[test]
fn killed_servers_leave_nothing_behind_and_the_next_start_works() {
    let project = copy_of_quickstart();
    let start = || {
        let mut command = tidegate();
        command
            .args(["dev", "--listen", "127.0.0.1:0", "--set", "log_format=json"])
            .arg(project.path());
        let mut server = Server::spawn(command);
        server.wait_for("this process is ready");
        server
    };
    let mut first = start();
    let servers = processes_naming(project.path().to_str().unwrap());
    assert!(!servers.is_empty(), "Postgres names its data folder");
    first.kill();
    let second = start();
    drop(second);
    let begun = std::time::Instant::now();
    while !processes_naming(project.path().to_str().unwrap()).is_empty() {
        assert!(
            begun.elapsed() < crate::system::PATIENCE,
            "a server outlived tidegate"
        );
        std::thread::yield_now();
    }
}

#[test]
fn what_is_missing_or_wrong_is_said_with_its_remedy() {
    let project = copy_of_quickstart();
    let said = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = tidegate();
        command
            .arg("dev")
            .arg(project.path())
            .env("TIDEGATE_LISTEN", "127.0.0.1:0");
        change(&mut command);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = said(&|command| {
        command.arg("--set").arg("trigger_timeout=5");
    });
    assert!(
        code == Some(2) && text.contains("did you mean trigger_timeout_ms?"),
        "{code:?} {text}"
    );

    let (code, text) = said(&|command| {
        command
            .arg("--database-url")
            .arg("postgres://nobody@127.0.0.1:1/none");
    });
    assert!(
        code == Some(6) && text.contains("DATABASE_URL"),
        "{code:?} {text}"
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = said(&|command| {
        command.arg("--listen").arg(&address);
    });
    assert!(
        code == Some(2) && text.contains("is in use") && text.contains("--listen"),
        "{code:?} {text}"
    );

    std::fs::write(
        project.path().join("cloud/main.js"),
        "Parse.Cloud.define('f', () => {\n  return 1 +\n});",
    )
    .unwrap();
    let (code, text) = said(&|_| {});
    assert!(
        code == Some(1) && text.contains("main.js:3"),
        "{code:?} {text}"
    );
}

#[tokio::test]
async fn a_missing_binary_and_a_postgres_without_logical_wal_are_named() {
    let project = copy_of_quickstart();
    let said = |database_url: &str| {
        let output = tidegate()
            .arg("dev")
            .arg(project.path())
            .args(["--listen", "127.0.0.1:0", "--database-url", database_url])
            // Where there is no redis-server.
            .env("PATH", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = said("postgres://nobody@127.0.0.1:1/none");
    assert!(
        code == Some(6)
            && text.contains("redis-server was not found")
            && text.contains("REDIS_URL"),
        "{code:?} {text}"
    );

    let postgres = tidegate_testkit::Postgres::start_with(&["wal_level=replica"]);
    let database = postgres.create_database().await;
    let redis = tidegate_testkit::Redis::start();
    let output = tidegate()
        .arg("dev")
        .arg(project.path())
        .args(["--listen", "127.0.0.1:0", "--database-url", database.url()])
        .args(["--redis-url", redis.url()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(
        text.contains("alter system set wal_level = logical"),
        "{text}"
    );
}

fn copy_of_quickstart() -> tidegate_testkit::TempDir {
    let copy = tidegate_testkit::TempDir::new("quickstart");
    let source = repository().join("examples/quickstart");
    for part in ["cloud", "tidegate.toml"] {
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(source.join(part))
            .arg(copy.path())
            .status();
        assert!(copied.unwrap().success());
    }
    copy
}

/// Processes whose command line names this folder.
fn processes_naming(folder: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let names = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() && String::from_utf8_lossy(&line).contains(folder)
    };
    pids.filter(names).collect()
}
