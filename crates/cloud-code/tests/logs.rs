//! What a run printed comes with its failure, whoever else ran beside it and however it ended.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_cloud_code::{Config, Outcome};

use crate::support::{ALONE, TestHost, config, function, limited, load_with};

const SOURCE: &str = "
    define('talk', async (name, run) => {
        run.log('info', name + ' begins');
        await run.host({ kind: 'rest', path: 'gate' });
        run.log('error', name + ' goes on');
        await run.sleep(1);
        run.log('debug', name + ' ends');
        if (name !== 'quiet') throw new Error(name);
    });
    define('flood', (_, run) => {
        for (let line = 0; line < 5000; line++) run.log('info', 'line ' + line);
        throw new Error('flood');
    });
    define('silent', () => { throw new Error('silent') });
    define('loop', (_, run) => { run.log('info', 'before'); while (true); });
    define('native', (_, run) => { run.log('info', 'before'); [].join.call({ length: 2 ** 53 - 1 }) });
    define('waits', async (_, run) => { run.log('info', 'before'); await run.sleep(60000) });
    define('hungry', (_, run) => { run.log('info', 'before'); const all = []; while (true) all.push(new Array(100000).fill(1)) });";

async fn one_isolate(
    host: &std::sync::Arc<TestHost>,
) -> std::sync::Arc<tidegate_cloud_code::CloudCode> {
    let config = Config {
        isolates: 1,
        ..config()
    };
    load_with(&config, SOURCE, host).await.unwrap()
}

#[tokio::test]
async fn runs_that_share_an_isolate_have_their_own_lines() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let names = ["a", "quiet", "b"];
    let runs = names.map(|name| {
        let code = code.clone();
        tokio::spawn(async move { code.run_logged(function("talk", json!(name))).await })
    });
    host.arrived(3).await; // All have begun, none has gone on.
    host.gate.add_permits(3);
    for (run, name) in runs.into_iter().zip(names) {
        let ran = run.await.unwrap();
        let said = format!("info: {name} begins\nerror: {name} goes on\ndebug: {name} ends");
        let expected = (name != "quiet").then_some(said);
        assert_eq!(ran.logs, expected, "{:?}", ran.outcome);
    }
}

#[tokio::test]
async fn the_last_lines_of_a_flood_are_kept_and_silence_is_none() {
    let code = one_isolate(&TestHost::new()).await;
    let logs = code
        .run_logged(function("flood", Value::Null))
        .await
        .logs
        .unwrap();
    assert!(logs.ends_with("info: line 4998\ninfo: line 4999"), "{logs}");
    assert!(logs.starts_with("info: line ") && logs.len() <= 16 * 1024);
    let silent = code.run_logged(function("silent", Value::Null)).await;
    assert_eq!(silent.logs, None);
}

/// By the interrupt handler, by a kill from outside, by the server's own clock, by the memory limit.
#[tokio::test]
async fn a_run_that_was_ended_keeps_its_lines() {
    let _alone = ALONE.lock().await;
    for name in ["loop", "native", "waits", "hungry"] {
        let code = one_isolate(&TestHost::new()).await;
        let soft = Duration::from_millis(if name == "hungry" { 20_000 } else { 300 });
        let ran = code.run_logged(limited(name, soft)).await;
        assert_eq!(ran.logs.as_deref(), Some("info: before"), "{name}");
        assert!(!matches!(ran.outcome, Outcome::Returned(_)), "{name}");
    }
}
