//! Loading a project: what its author is told when it cannot be loaded, and new code without a restart.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tidegate_testkit::TempDir;

use super::listener::Listener;
use crate::server::{Server, tidegate};
use crate::system::{APP_ID, System, breathe};

/// The exit code of a server with this main.js, and what it said at its end.
async fn refuses_to_start(main_js: &str) -> String {
    let system = System::prepare(main_js).await;
    let mut server = system.spawn("proxy,capture,dispatch,worker");
    let exit_code = server.wait();
    let said = server.wait_for("tidegate: ");
    assert_eq!(exit_code, Some(1), "{said}");
    assert!(server.line("listening").is_none(), "it must not serve");
    server.log()
}

#[tokio::test]
async fn code_that_throws_while_loading_is_named_by_file_and_line() {
    let said = refuses_to_start("const answer = 42;\n\nthrow new Error('cannot begin');\n").await;
    for text in ["cannot begin", "cloud/main.js:3"] {
        assert!(said.contains(text), "{text} is missing:\n{said}");
    }
}

#[tokio::test]
async fn code_that_is_no_javascript_is_shown() {
    let said = refuses_to_start("Parse.Cloud.define('f', () => {\n  let x x;\n});\n").await;
    for text in ["cloud/main.js:2:", "let x x;"] {
        assert!(said.contains(text), "{text} is missing:\n{said}");
    }
}

#[tokio::test]
async fn a_module_that_is_not_there_is_named() {
    let said = refuses_to_start("const x = require('no-such-package');\n").await;
    for text in ["cloud/main.js:1:", "no-such-package"] {
        assert!(said.contains(text), "{text} is missing:\n{said}");
    }
}

#[tokio::test]
async fn a_trigger_that_cannot_be_is_refused_at_registration() {
    let said = refuses_to_start("\nParse.Cloud.beforeSave('_Session', () => {});\n").await;
    for text in ["_Session", "cloud/main.js:2"] {
        assert!(said.contains(text), "{text} is missing:\n{said}");
    }
}

#[tokio::test]
async fn what_is_defined_twice_is_defined_last_and_warned_of() {
    let mut system =
        System::prepare("for (const n of [1, 2]) Parse.Cloud.define('f', () => n);").await;
    let server = system.serve("proxy,capture,dispatch,worker");
    assert_eq!(system.function("f", json!({})).await, 2);
    assert_eq!(
        system.server(server).wait_for("defin").get("level"),
        Some(&json!("WARN"))
    );
}

#[tokio::test]
async fn a_server_waits_for_a_main_that_awaits() {
    let system = System::start(
        "const greeting = await new Promise((resolve) => setTimeout(() => resolve('hello'), 20));
         Parse.Cloud.define('greet', () => greeting);",
    )
    .await;
    assert_eq!(system.function("greet", json!({})).await, "hello");
}

/// `tidegate dev` on servers that the test has.
fn dev(system: &System, project: &TempDir) -> Server {
    let mut command = tidegate();
    command.arg("dev").arg(project.path());
    command
        .env("DATABASE_URL", system.database.url())
        .env("REDIS_URL", system.redis.url());
    command
        .env("TIDEGATE_LISTEN", "127.0.0.1:0")
        .env("TIDEGATE_LOG_FORMAT", "json")
        .env("TIDEGATE_APP_ID", APP_ID);
    command.env("TIDEGATE_SLOT", system.database.name());
    let mut server = Server::spawn(command);
    server.wait_for("listening");
    server.wait_for("this process is ready");
    server
}

fn write_main(project: &Path, main_js: &str) {
    std::fs::write(project.join("cloud/main.js"), main_js).unwrap();
}

#[tokio::test]
async fn changed_code_is_served_without_a_restart() {
    let system = System::prepare("").await;
    let project = TempDir::new("dev");
    std::fs::create_dir(project.path().join("cloud")).unwrap();
    let version = |n: u32| {
        format!(
            "Parse.Cloud.define('version', () => {n});
             Parse.Cloud.define('slow', async ({{ params }}) => {{ await fetch(params.url); return {n}; }});"
        )
    };
    write_main(project.path(), &version(1));
    let mut server = dev(&system, &project);
    let url = server.url.clone().expect("it listens");
    let call = async |name: &str, params: serde_json::Value| {
        let request =
            reqwest::Client::new().request(Method::POST, format!("{url}/parse/functions/{name}"));
        let reply = request
            .header("X-Parse-Application-Id", APP_ID)
            .json(&params)
            .send()
            .await
            .unwrap();
        reply.json::<serde_json::Value>().await.unwrap()["result"].clone()
    };
    assert_eq!(call("version", json!({})).await, 1);

    // A call that is under way ends on the code that it began on.
    let listener = Listener::start().await;
    let change = async {
        let held = listener.next().await;
        write_main(project.path(), &version(2));
        while call("version", json!({})).await != 2 {
            breathe().await;
        }
        held.answer(200, "").await;
    };
    let (begun_before, ()) = tokio::join!(call("slow", json!({"url": listener.url("/")})), change);
    assert_eq!(begun_before, 1);

    // Code that does not load is reported, and what was served is served on.
    write_main(project.path(), "\nthrow new Error('not like this');");
    let reported = server.wait_for("not like this");
    assert!(
        reported.to_string().contains("cloud/main.js:2"),
        "{reported}"
    );
    assert_eq!(call("version", json!({})).await, 2);
    write_main(project.path(), &version(3));
    while call("version", json!({})).await != 3 {
        breathe().await;
    }

    // A file that main requires, and one that is new.
    std::fs::write(
        project.path().join("cloud/number.js"),
        "module.exports = 4;",
    )
    .unwrap();
    write_main(
        project.path(),
        "Parse.Cloud.define('version', () => require('./number'));",
    );
    while call("version", json!({})).await != 4 {
        breathe().await;
    }
    std::fs::write(
        project.path().join("cloud/number.js"),
        "module.exports = 5;",
    )
    .unwrap();
    while call("version", json!({})).await != 5 {
        breathe().await;
    }
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test]
async fn a_trigger_that_is_new_fires_from_then_on() {
    let system = System::prepare("").await;
    let project = TempDir::new("dev");
    std::fs::create_dir(project.path().join("cloud")).unwrap();
    write_main(project.path(), "Parse.Cloud.define('version', () => 1);");
    let mut server = dev(&system, &project);
    let url = server.url.clone().expect("it listens");
    let save = async || {
        let request = reqwest::Client::new().post(format!("{url}/parse/classes/Item"));
        request
            .header("X-Parse-Application-Id", APP_ID)
            .json(&json!({"n": 1}))
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(save().await, 201);
    write_main(
        project.path(),
        "Parse.Cloud.afterSave('Item', ({ object }) => console.log('fired for ' + object.id));",
    );
    server.wait_for("reloaded");
    // The class existed before it had a trigger: its table must join the publication now.
    assert_eq!(save().await, 201);
    server.wait_for("fired for ");
    assert_eq!(server.terminate(), Some(0));
}
