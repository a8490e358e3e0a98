//! Runs that are begun again because of their neighbours: they do nothing twice, and nobody sees a difference.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tidegate_cloud_code::{CloudCode, Config, Outcome};

use crate::support::{
    ALONE, TestHost, call, config, isolates, limited, load_with, message, signal,
};

const SOURCE: &str = "let attempts = 0, cached;
    const rest = (run, method, path, body) => run.host({ kind: 'rest', method, path, body }).then((answer) => answer.body);
    define('saver', async (n, run) => {
        const read = await rest(run, 'GET', 'read', n);
        run.log('info', 'once');
        const [first, second] = await Promise.all([rest(run, 'POST', 'first', read), rest(run, 'POST', 'second', n + Math.random())]);
        await rest(run, 'POST', 'gate', n);
        await rest(run, 'PUT', 'last', first);
        return [read, first, Math.floor(second)];
    });
    define('cache', async (n, run) => { cached ??= await rest(run, 'GET', 'config', 1); await rest(run, 'POST', 'gate', n); return cached });
    define('astray', async (n, run) => {
        attempts++;
        await rest(run, 'POST', attempts % 2 ? 'one' : 'other', n);
        await rest(run, 'POST', 'gate', n);
        return 'done';
    });
    define('long', async (n, run) => {
        const answer = await rest(run, 'POST', 'big', 'x'.repeat(600000));
        await rest(run, 'POST', 'gate', n);
        return answer.length;
    });
    define('loop', () => { while (true); });
    define('join', () => [].join.call({ length: 2 ** 53 - 1 }));
    define('quick', () => 1);";

async fn one_isolate(host: &Arc<TestHost>) -> Arc<CloudCode> {
    let config = Config {
        isolates: 1,
        ..config()
    };
    load_with(&config, SOURCE, host).await.unwrap()
}

fn spawn(code: &Arc<CloudCode>, name: &'static str, n: i32) -> tokio::task::JoinHandle<Outcome> {
    let code = code.clone();
    tokio::spawn(async move { call(&code, name, json!(n)).await })
}

/// Waits until the gate has been reached `count` times in all.
async fn at_the_gate(host: &TestHost, count: usize) {
    while host.paths().iter().filter(|path| *path == "gate").count() < count {
        host.arrived(1).await;
    }
}

fn count(host: &TestHost, path: &str) -> usize {
    host.paths().iter().filter(|other| *other == path).count()
}

#[tokio::test]
async fn runs_beside_an_endless_one_all_finish_and_write_once() {
    let _alone = ALONE.lock().await;
    for hostile in ["loop", "join"] {
        let host = TestHost::new();
        let code = one_isolate(&host).await;
        let savers: Vec<_> = (0..20).map(|n| spawn(&code, "saver", n)).collect();
        at_the_gate(&host, 20).await;
        // All of them wait in the isolate in which this never ends; their deadline is the same.
        let soft = Duration::from_secs(2);
        let endless = tokio::spawn({
            let code = code.clone();
            async move { code.run(limited(hostile, soft)).await }
        });
        // Their answers come while it burns.
        tokio::time::sleep(Duration::from_millis(100)).await;
        host.gate.add_permits(20);
        for (n, run) in savers.into_iter().enumerate() {
            assert_eq!(
                run.await.unwrap(),
                Outcome::Returned(json!([n, n, n])),
                "{hostile}"
            );
        }
        assert!(!endless.is_finished(), "they did not wait for its end");
        assert_eq!(endless.await.unwrap(), Outcome::TimedOut { after: soft });
        for path in ["read", "first", "second", "gate", "last"] {
            assert_eq!(count(&host, path), 20, "{path} beside {hostile}");
        }
    }
}

#[tokio::test]
async fn runs_of_an_isolate_that_dies_again_and_again_write_once() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let savers: Vec<_> = (0..5).map(|n| spawn(&code, "saver", n)).collect();
    at_the_gate(&host, 5).await;
    for _ in 0..3 {
        signal(isolates(&code).await[0], Signal::SIGKILL);
        call(&code, "quick", Value::Null).await; // There is another one.
    }
    host.gate.add_permits(5);
    for (n, run) in savers.into_iter().enumerate() {
        assert_eq!(run.await.unwrap(), Outcome::Returned(json!([n, n, n])));
    }
    for path in ["read", "first", "second", "gate", "last"] {
        assert_eq!(count(&host, path), 5, "{path}");
    }
}

/// What a run reads from its module may differ in another isolate: a read more or less is no reason to fail.
#[tokio::test]
async fn a_repetition_may_read_what_it_has_not_read_before() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let first = spawn(&code, "cache", 1);
    at_the_gate(&host, 1).await;
    let second = spawn(&code, "cache", 2); // It finds the cache filled, and reads nothing.
    at_the_gate(&host, 2).await;
    signal(isolates(&code).await[0], Signal::SIGKILL);
    call(&code, "quick", Value::Null).await;
    host.gate.add_permits(2);
    for run in [first, second] {
        assert_eq!(run.await.unwrap(), Outcome::Returned(json!(1)));
    }
    assert_eq!(count(&host, "gate"), 2);
}

#[tokio::test]
async fn a_repetition_that_writes_something_else_is_given_up() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let run = spawn(&code, "astray", 1);
    at_the_gate(&host, 1).await;
    // The next isolate has seen one run already, so that the repetition writes to the other place.
    let [pid] = isolates(&code).await[..] else {
        panic!("one isolate")
    };
    signal(pid, Signal::SIGSTOP);
    let other = spawn(&code, "astray", 2); // It is moved to a fresh isolate, as its first run.
    at_the_gate(&host, 2).await;
    signal(pid, Signal::SIGKILL);
    let outcome = run.await.unwrap();
    assert!(
        message(&outcome).contains("wrote something else"),
        "{outcome:?}"
    );
    host.gate.add_permits(2);
    assert_eq!(other.await.unwrap(), Outcome::Returned(json!("done")));
    assert_eq!((count(&host, "one"), count(&host, "other")), (2, 0));
}

/// Recording has a limit; beyond it a run shares the fate of its isolate, and says so.
#[tokio::test]
async fn a_run_too_long_to_be_recorded_fails_with_its_isolate() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let run = {
        let code = code.clone();
        tokio::spawn(async move { call(&code, "long", json!(1)).await })
    };
    let small = spawn(&code, "saver", 1);
    at_the_gate(&host, 2).await;
    // 600 kB of answer are kept; a second run's would be too much.
    signal(isolates(&code).await[0], Signal::SIGKILL);
    host.gate.add_permits(2);
    assert_eq!(small.await.unwrap(), Outcome::Returned(json!([1, 1, 1])));
    assert_eq!(run.await.unwrap(), Outcome::Returned(json!(600000)));

    let source = "define('huge', async (n, run) => {
            for (let i = 0; i < 3; i++) await run.host({ kind: 'rest', method: 'POST', path: 'big', body: 'x'.repeat(600000) });
            await run.host({ kind: 'rest', method: 'POST', path: 'gate' });
        })";
    let host = TestHost::new();
    let config = Config {
        isolates: 1,
        ..config()
    };
    let code = load_with(&config, source, &host).await.unwrap();
    let run = spawn(&code, "huge", 1);
    at_the_gate(&host, 1).await;
    signal(isolates(&code).await[0], Signal::SIGKILL);
    let Outcome::Crashed { reason } = run.await.unwrap() else {
        panic!("it cannot be repeated")
    };
    assert!(
        reason.contains("SIGKILL") && reason.contains("4 calls"),
        "{reason}"
    );
    assert_eq!(count(&host, "big"), 3);
}
