//! The house rules that a compiler does not check: who may depend on whom, what every crate and file has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::system::repository;

/// Every allowed dependency inside the workspace. Vocabulary ← edges ← steps ← executable; an edge never depends on an
/// edge, nor a step on a step, but for write-path, the library of the steps that take requests and run triggers.
const ALLOWED: &[(&str, &[&str])] = &[
    ("parse-protocol", &[]),
    ("event", &[]),
    ("job", &[]),
    ("schedule", &[]),
    ("postgres-replication", &[]),
    ("storage", &["parse-protocol"]),
    ("event-log", &["event"]),
    ("job-log", &["event", "job", "schedule"]),
    ("queue", &[]),
    ("cloud-code", &["event", "job", "schedule"]),
    (
        "write-path",
        &[
            "cloud-code",
            "event",
            "event-log",
            "job",
            "job-log",
            "parse-protocol",
            "schedule",
            "storage",
        ],
    ),
    (
        "proxy",
        &[
            "cloud-code",
            "event",
            "event-log",
            "parse-protocol",
            "queue",
            "write-path",
        ],
    ),
    ("capture", &["event", "event-log", "postgres-replication"]),
    ("dispatch", &["event", "event-log", "queue"]),
    (
        "scheduler",
        &["event", "job", "job-log", "queue", "schedule"],
    ),
    (
        "worker",
        &[
            "cloud-code",
            "event",
            "event-log",
            "job",
            "job-log",
            "queue",
            "write-path",
        ],
    ),
    ("fan-out", &["event", "event-log"]),
    (
        "admin",
        &[
            "capture",
            "event",
            "event-log",
            "job",
            "job-log",
            "schedule",
        ],
    ),
    ("admin-http", &["admin"]),
    (
        "tidegate",
        &[
            "admin",
            "admin-http",
            "capture",
            "cloud-code",
            "dispatch",
            "event",
            "event-log",
            "fan-out",
            "job",
            "job-log",
            "parse-protocol",
            "proxy",
            "queue",
            "schedule",
            "scheduler",
            "storage",
            "worker",
            "write-path",
        ],
    ),
    ("testkit", &[]),
];

/// Libraries that one crate alone may name: each outside system has one door.
const ONE_DOOR: &[(&str, &[&str])] = &[
    ("apalis-core", &["queue"]),
    ("apalis-cron", &["queue"]),
    // What a sink fills is another Redis than the queue's: somebody else's, with other rules.
    ("redis", &["queue", "fan-out"]),
    ("async-nats", &["fan-out"]),
    ("croner", &["schedule"]),
    ("rquickjs", &["cloud-code"]),
    ("reqwest", &["cloud-code"]),
    ("postgres-protocol", &["postgres-replication"]),
    ("axum", &["proxy", "admin-http"]),
    ("clap", &["tidegate"]),
    ("toml", &["tidegate"]),
];

/// What vocabulary may not know.
const PURE: &[&str] = &["parse-protocol", "event", "job", "schedule"];
const IMPURE_LIBRARIES: &[&str] = &[
    "tokio",
    "tokio-postgres",
    "redis",
    "axum",
    "reqwest",
    "deadpool-postgres",
];

/// Dependencies of each crate, by folder name; development dependencies left out.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let folder = |path: &str| {
        Path::new(path)
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let own = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["kind"].is_null());
            let names = own.map(|one| {
                one["name"]
                    .as_str()
                    .unwrap()
                    .trim_start_matches("tidegate-")
                    .to_owned()
            });
            (
                folder(package["manifest_path"].as_str().unwrap()),
                names.collect(),
            )
        })
        .collect()
}

#[test]
fn dependencies_point_down_only() {
    let found = dependencies();
    let folders: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        found.len(),
        folders.len(),
        "a crate was added or removed: say here what it may depend on"
    );
    for (name, allowed) in ALLOWED {
        let inside = found[*name]
            .iter()
            .filter(|dependency| folders.contains(&dependency.as_str()));
        let forbidden: Vec<&String> = inside
            .filter(|dependency| !allowed.contains(&dependency.as_str()))
            .collect();
        assert!(
            forbidden.is_empty(),
            "{name} may not depend on {forbidden:?}"
        );
    }
}

#[test]
fn each_outside_system_has_one_door() {
    let found = dependencies();
    for (library, doors) in ONE_DOOR {
        let users = found
            .iter()
            .filter(|(_, dependencies)| dependencies.iter().any(|name| name == library));
        let others: Vec<&String> = users
            .map(|(name, _)| name)
            .filter(|name| !doors.contains(&name.as_str()))
            .collect();
        assert!(
            others.is_empty(),
            "{library} is for {doors:?} alone, not for {others:?}"
        );
    }
    for name in PURE {
        let impure: Vec<&String> = found[*name]
            .iter()
            .filter(|library| IMPURE_LIBRARIES.contains(&library.as_str()))
            .collect();
        assert!(
            impure.is_empty(),
            "{name} is pure and may not know {impure:?}"
        );
    }
}

#[test]
fn every_crate_says_what_it_is_and_every_file_begins_with_it() {
    for (name, _) in ALLOWED {
        let folder = repository().join("crates").join(name);
        assert!(
            folder.join("README.md").exists(),
            "crates/{name} has no README.md"
        );
    }
    for file in rust_files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let opening = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let says_what = opening.starts_with("//!") || opening.starts_with("#![doc");
        assert!(
            says_what,
            "{} does not begin with what it is for",
            file.display()
        );
    }
}

#[test]
fn every_test_file_is_run() {
    let main = std::fs::read_to_string(repository().join("tests/main.rs")).unwrap();
    for entry in std::fs::read_dir(repository().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
            assert!(
                main.contains(&format!("mod {name};")),
                "tests/{name}.rs is not in tests/main.rs"
            );
        }
    }
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(repository().join(document)).unwrap();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let path = link.split('#').next().unwrap();
            assert!(
                repository().join(path).exists(),
                "{document} links to {path}, which does not exist"
            );
        }
    }
    let lines = std::fs::read_to_string(repository().join("ARCHITECTURE.md"))
        .unwrap()
        .lines()
        .count();
    assert!(
        lines <= 250,
        "ARCHITECTURE.md has {lines} lines; it is to be read in one sitting"
    );
}

fn rust_files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
        ])
        .current_dir(repository())
        .output()
        .unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    names
        .lines()
        .map(|name| repository().join(name))
        .filter(|file| file.exists())
        .collect()
}
