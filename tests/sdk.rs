//! The official Parse JavaScript SDK, as it comes from npm, in Node.js against this server.
//!
//! Each script of `tests/sdk/` asserts for itself; here it is given a server, and its output is shown when it fails.

use std::process::Command;

use crate::system::{APP_ID, MASTER_KEY, System, repository};

/// Runs `tests/sdk/<name>.mjs` against a server with this cloud code.
async fn run_script(name: &str, main_js: &str) {
    let system = System::start(main_js).await;
    let mut node = Command::new("node");
    node.arg(repository().join("tests/sdk").join(format!("{name}.mjs")));
    node.env(
        "SDK_FROM",
        repository().join("crates/cloud-code/js/package.json"),
    );
    node.env("SERVER_URL", format!("{}/parse", system.url()));
    node.env("APP_ID", APP_ID).env("MASTER_KEY", MASTER_KEY);
    let output = node.output().expect("Node.js can be started");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "{name}.mjs: {}\n{said}",
        output.status
    );
    assert!(
        said.ends_with("all done\n"),
        "{name}.mjs ended before its end:\n{said}"
    );
}

#[tokio::test]
async fn objects_are_saved_changed_fetched_and_destroyed() {
    run_script("objects", "").await;
}

#[tokio::test]
async fn queries_find_sort_page_count_and_include() {
    run_script("queries", "").await;
}

#[tokio::test]
async fn users_sign_up_log_in_and_own_what_they_save() {
    run_script("users", "").await;
}

#[tokio::test]
async fn cloud_functions_and_triggers_are_called() {
    let main_js = include_str!("sdk/main.js");
    run_script("cloud", main_js).await;
}
