//! Hostile code: each script gets one clear outcome in bounded time, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_cloud_code::{CloudCode, Config, Outcome};

use crate::support::{
    ALONE, TestHost, call, config, exists, function, is_computing, isolates, limited, load,
    load_with, message, until,
};

const SOFT: Duration = Duration::from_millis(200);

/// Beside the script under test: neighbours that must go on working.
const NEIGHBOURS: &str = "define('quick', (n) => n);
    define('patient', async (n, run) => { for (let i = 0; i < 5; i++) await run.sleep(20); return n });";

/// Handlers that run for ever, by how they can be stopped.
const ENDLESS: &[&str] = &[
    // The interrupt handler sees these.
    "() => { while (true); }",
    "() => { while (true) try { while (true); } finally { continue } }",
    "() => { for (;;) try { throw 1 } catch {} }",
    "async () => { await null; while (true); }",
    "async (_, run) => { await run.sleep(1); while (true); }",
    "() => /(a+)+$/.test('a'.repeat(40) + 'b')",
    "() => { const f = () => Promise.resolve().then(f); return f() }",
    "async () => { while (true) await null }",
    "() => { const f = () => { Promise.resolve().then(f); Promise.resolve().then(f) }; f(); return new Promise(() => {}) }",
    "() => JSON.parse('[1]', function f() { while (true); })",
    "() => new Proxy({}, { get() { while (true); } }).x",
    "() => ({ toJSON() { while (true); } })",
    "() => { throw { get message() { while (true); } } }",
    "() => { throw { toString() { while (true); } } }",
    "() => { const f = function* () { while (true) yield }; for (const x of f()); }",
    // It does not see these: the process is killed.
    "() => [].join.call({ length: 2 ** 53 - 1 })",
    "() => Array.prototype.splice.call({ length: 2 ** 53 - 1 }, 0, 1)",
    "() => Array.prototype.reverse.call({ length: 2 ** 53 - 1 })",
    "() => Array.prototype.copyWithin.call({ length: 2 ** 53 - 1 }, 0, 1)",
    "() => { const a = []; a[2 ** 32 - 2] = 1; a.sort() }",
    "() => String.raw({ raw: { length: 2 ** 53 - 1 } })",
    "() => Array.prototype.unshift.call({ length: 2 ** 53 - 2 }, 1)",
    "() => Array.prototype.flat.call({ length: 2 ** 53 - 1 })",
    "() => /(?=(a+))\\1b/.test('a'.repeat(1e6))",
];

async fn with_neighbours(script: &str) -> std::sync::Arc<CloudCode> {
    load(&source_of(script)).await
}

fn source_of(script: &str) -> String {
    format!("define('hostile', {script});\n{NEIGHBOURS}")
}

/// Runs the script amid its neighbours; returns its outcome.
async fn run_hostile(code: &std::sync::Arc<CloudCode>, soft: Duration) -> Outcome {
    let patient: Vec<_> = (0..10)
        .map(|n| {
            let code = code.clone();
            tokio::spawn(async move { call(&code, "patient", json!(n)).await })
        })
        .collect();
    let hostile = tokio::spawn({
        let code = code.clone();
        async move { code.run(limited("hostile", soft)).await }
    });
    for n in 0..20 {
        assert_eq!(
            call(code, "quick", json!(n)).await,
            Outcome::Returned(json!(n))
        );
    }
    for (n, run) in patient.into_iter().enumerate() {
        assert_eq!(run.await.unwrap(), Outcome::Returned(json!(n)));
    }
    hostile.await.unwrap()
}

#[tokio::test]
async fn code_that_does_not_stop_times_out_alone() {
    let _alone = ALONE.lock().await;
    // Some of these gather promises until they are stopped: on a fast machine memory would stop them before time does.
    let config = Config {
        memory_limit_bytes: 512 * 1024 * 1024,
        ..config()
    };
    for script in ENDLESS {
        let code = load_with(&config, &source_of(script), &TestHost::new())
            .await
            .unwrap();
        let before = isolates(&code).await.len();
        let outcome = run_hostile(&code, SOFT).await;
        assert_eq!(outcome, Outcome::TimedOut { after: SOFT }, "{script}");
        // The isolate it ran in is gone, whichever that was, and there are as many as before.
        loop {
            let now = isolates(&code).await;
            if now.len() == before && !now.iter().any(is_computing) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        code.close().await;
    }
}

#[tokio::test]
async fn a_promise_that_never_settles_times_out_and_its_neighbours_finish() {
    let _alone = ALONE.lock().await;
    let code = with_neighbours("() => new Promise(() => {})").await;
    assert_eq!(
        run_hostile(&code, SOFT).await,
        Outcome::TimedOut { after: SOFT }
    );
    assert_eq!(
        call(&code, "quick", json!(1)).await,
        Outcome::Returned(json!(1))
    );
}

#[tokio::test]
async fn a_timer_or_a_chain_of_host_calls_that_goes_on_for_ever_is_cut_off() {
    let _alone = ALONE.lock().await;
    let host = TestHost::new();
    let source = format!(
        "define('hostile', async (_, run) => {{ while (true) await run.host({{ kind: 'rest', path: 'echo' }}) }});
         define('returns', (_, run) => {{ const f = () => run.host({{ kind: 'rest', path: 'late' }}).then(f); f(); return 1 }});
         {NEIGHBOURS}"
    );
    let code = load_with(&config(), &source, &host).await.unwrap();
    assert_eq!(
        run_hostile(&code, SOFT).await,
        Outcome::TimedOut { after: SOFT }
    );
    // It returned, so its caller has its answer; what goes on is stopped at the deadline.
    assert_eq!(
        code.run(limited("returns", SOFT)).await,
        Outcome::Returned(json!(1))
    );
    code.close().await;
    let calls = host.paths().len();
    tokio::task::yield_now().await;
    assert_eq!(
        host.paths().len(),
        calls,
        "no call is made once the release is closed"
    );
}

#[tokio::test]
async fn memory_bombs_fail_their_run_and_the_isolate_is_replaced() {
    let _alone = ALONE.lock().await;
    let scripts = [
        "() => { const a = []; while (true) a.push(new Array(1000).fill(1.5)) }",
        "() => { const a = []; while (true) a.push(new ArrayBuffer(1e6)) }",
        "() => { let s = 'x'; while (true) s += s }",
        "() => 10n ** (10n ** 8n)",
        "() => 'x'.repeat(2 ** 29)",
        "() => new Uint8Array(1e9)",
        "() => Array(2 ** 28).fill(0)",
        "async () => { const a = []; while (true) { a.push('x'.repeat(1e5)); await null } }",
        "() => { const a = []; while (true) try { while (true) a.push(new ArrayBuffer(1e6)) } catch (e) { throw e } }",
        "(_, run) => { while (true) run.log('info', 'x'.repeat(1e6)) }",
        "(_, run) => { while (true) run.host({ kind: 'rest', path: 'echo', body: 'x'.repeat(1e6) }) }",
        "(_, run) => { while (true) run.sleep(1e6) }",
    ];
    for script in scripts {
        let code = with_neighbours(script).await;
        let outcome = run_hostile(&code, Duration::from_secs(2)).await;
        match &outcome {
            Outcome::Threw {
                code: 141, message, ..
            } => {
                let expected = ["out of memory", "too l", "nvalid"];
                assert!(
                    expected.iter().any(|expected| message.contains(expected)),
                    "{script}: {message}"
                );
            }
            Outcome::TimedOut { .. } => assert!(
                script.contains("while") || script.contains("**"),
                "{script}"
            ),
            other => panic!("{script}: {other:?}"),
        }
        assert_eq!(
            call(&code, "quick", json!(1)).await,
            Outcome::Returned(json!(1)),
            "{script}"
        );
        code.close().await;
    }
}

#[tokio::test]
async fn an_isolate_whose_code_caught_an_out_of_memory_error_is_replaced_all_the_same() {
    let _alone = ALONE.lock().await;
    let script = "() => { try { const a = []; while (true) a.push(new ArrayBuffer(1e6)) } catch { return 'caught' } }";
    let code = load_with(
        &Config {
            isolates: 1,
            ..config()
        },
        &format!("define('hostile', {script})"),
        &TestHost::new(),
    )
    .await
    .unwrap();
    let before = isolates(&code).await;
    assert_eq!(
        call(&code, "hostile", Value::Null).await,
        Outcome::Returned(json!("caught"))
    );
    until("the isolate is gone", || {
        before.iter().all(|&pid| !exists(pid))
    })
    .await;
    assert_eq!(
        call(&code, "hostile", Value::Null).await,
        Outcome::Returned(json!("caught"))
    );
}

#[tokio::test]
async fn memory_that_is_only_garbage_is_no_reason_to_fail() {
    let _alone = ALONE.lock().await;
    let source = "define('garbage', () => { for (let i = 0; i < 300; i++) { const a = new Array(1e4).fill(i); a.self = a } })";
    let code = load_with(
        &Config {
            isolates: 1,
            ..config()
        },
        source,
        &TestHost::new(),
    )
    .await
    .unwrap();
    let before = isolates(&code).await;
    for _ in 0..50 {
        assert_eq!(
            call(&code, "garbage", Value::Null).await,
            Outcome::Returned(Value::Null)
        );
    }
    assert_eq!(isolates(&code).await, before, "it was never replaced");
}

#[tokio::test]
async fn deep_recursion_is_an_ordinary_error() {
    let _alone = ALONE.lock().await;
    let scripts = [
        "() => { const f = () => f() + 1; return f() }",
        "() => JSON.parse('['.repeat(5e6))",
        "() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a }",
        "() => eval('('.repeat(1e6))",
        "() => new RegExp('('.repeat(1e5))",
        "() => { const f = () => { try { return f() } catch { return f() } }; let n = 0; const g = () => { n++; g() }; g() }",
        "() => { class A { get x() { return this.x } } return new A().x }",
        "() => { let f = () => 1; for (let i = 0; i < 1e5; i++) f = f.bind(null); return f() }",
        "() => { const p = new Proxy({}, {}); Object.setPrototypeOf(p, p); return p.x }",
        "() => [1].flat.call(((a) => { a.push(a); return a })([]), Infinity)",
    ];
    let source: String = scripts
        .iter()
        .enumerate()
        .map(|(n, script)| format!("define('s{n}', {script});\n"))
        .collect();
    let code = load_with(
        &Config {
            isolates: 1,
            ..config()
        },
        &source,
        &TestHost::new(),
    )
    .await
    .unwrap();
    for (n, script) in scripts.iter().enumerate() {
        let outcome = code
            .run(limited(&format!("s{n}"), Duration::from_secs(5)))
            .await;
        assert!(
            matches!(outcome, Outcome::Threw { .. } | Outcome::Returned(_)),
            "{script}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_loop_in_every_isolate_does_not_stop_the_service() {
    let _alone = ALONE.lock().await;
    let code = with_neighbours("() => { while (true); }").await;
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let code = code.clone();
            tokio::spawn(async move { call(&code, "hostile", Value::Null).await })
        })
        .collect();
    // Two isolates are wanted and four loops run: these calls are answered while all of them still do.
    for n in 0..20 {
        assert_eq!(
            call(&code, "quick", json!(n)).await,
            Outcome::Returned(json!(n))
        );
    }
    assert!(loops.iter().all(|run| !run.is_finished()));
    loops.iter().for_each(|run| run.abort());
}

/// An outcome does not wait for the end of whatever its isolate does next.
#[tokio::test]
async fn an_outcome_is_not_held_up_by_the_next_run() {
    let _alone = ALONE.lock().await;
    let source = format!("define('hostile', (n) => {{ if (n) while (true); }}); {NEIGHBOURS}");
    let code = load_with(
        &Config {
            isolates: 1,
            ..config()
        },
        &source,
        &TestHost::new(),
    )
    .await
    .unwrap();
    for _ in 0..5 {
        call(&code, "hostile", json!(0)).await; // It has been quick so far.
    }
    let quick = call(&code, "quick", json!(1));
    let endless = call(&code, "hostile", json!(1));
    tokio::select! {
        biased;
        outcome = quick => assert_eq!(outcome, Outcome::Returned(json!(1))),
        _ = endless => panic!("it never ends"),
    }
}

/// Requests that were sent to an isolate which then got stuck are run by another, once.
#[tokio::test]
async fn runs_behind_a_loop_are_moved_and_run_once() {
    let _alone = ALONE.lock().await;
    let host = TestHost::new();
    let source = "define('hostile', () => { while (true); });
        define('once', (n, run) => run.host({ kind: 'rest', path: 'echo', body: n }).then((answer) => answer.body))";
    let code = load_with(
        &Config {
            isolates: 1,
            ..config()
        },
        source,
        &host,
    )
    .await
    .unwrap();
    let hostile = tokio::spawn({
        let code = code.clone();
        async move { code.run(limited("hostile", Duration::from_secs(1))).await }
    });
    tokio::task::yield_now().await;
    let runs = (0..30).map(|n| code.run(function("once", json!(n))));
    for (n, outcome) in futures_util::future::join_all(runs)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(outcome, Outcome::Returned(json!(n)));
    }
    assert!(!hostile.is_finished());
    assert!(matches!(hostile.await.unwrap(), Outcome::TimedOut { .. }));
    assert_eq!(host.paths().len(), 30, "each ran once");
}

/// Long work within its deadline is no crime, whoever waits beside it.
#[tokio::test]
async fn a_long_computation_within_its_deadline_finishes() {
    let _alone = ALONE.lock().await;
    let source = format!(
        "define('long', (ms) => {{ const end = __native.now() + ms; let n = 0; while (__native.now() < end) n++; return 'done' }}); {NEIGHBOURS}"
    );
    let code = load(&source).await;
    let long = (0..4).map(|_| call(&code, "long", json!(400)));
    let quick = (0..20).map(|_| call(&code, "quick", Value::Null));
    let (long, quick) = tokio::join!(
        futures_util::future::join_all(long),
        futures_util::future::join_all(quick)
    );
    assert!(
        long.iter()
            .all(|outcome| *outcome == Outcome::Returned(json!("done"))),
        "{long:?}"
    );
    assert!(
        quick
            .iter()
            .all(|outcome| *outcome == Outcome::Returned(Value::Null)),
        "{quick:?}"
    );
}

#[tokio::test]
async fn output_is_limited_and_cannot_forge_log_lines() {
    let _alone = ALONE.lock().await;
    let source = "define('flood', (_, run) => { for (let i = 0; i < 3000; i++) run.log('info', 'x'.repeat(1000)); return 'ok' });
        define('nasty', (_, run) => { run.log('error', '\\n{\"level\":\"error\"}\\u0000\\ud800'); run.log({}, {}); return 'ok' });";
    let code = load(source).await;
    assert_eq!(
        call(&code, "flood", Value::Null).await,
        Outcome::Returned(json!("ok"))
    );
    let outcome = call(&code, "nasty", Value::Null).await;
    assert!(message(&outcome).contains("string"), "{outcome:?}");
}

#[tokio::test]
async fn poisoned_builtins_harm_only_their_own_isolate() {
    let _alone = ALONE.lock().await;
    let source = "define('poison', () => {
            Array.prototype.push = null; JSON.stringify = null; JSON.parse = null; Promise.prototype.then = null;
            Object.prototype.toJSON = () => { while (true); };
            Object.defineProperty(Object.prototype, 'current', { set() { while (true); } });
            delete globalThis.__native; delete globalThis.__runtime;
            return 1;
        });
        define('quick', (n) => n);";
    let config = Config {
        isolation: tidegate_cloud_code::Isolation::PerRun,
        ..config()
    };
    let code = load_with(&config, source, &TestHost::new()).await.unwrap();
    for n in 0..5 {
        code.run(limited("poison", SOFT)).await;
        assert_eq!(
            call(&code, "quick", json!(n)).await,
            Outcome::Returned(json!(n)),
            "a fresh fork is pristine"
        );
    }
}

/// More endless runs than there may be processes: the longest is given up for those who wait.
#[tokio::test]
async fn more_loops_than_processes_do_not_stop_the_service() {
    let _alone = ALONE.lock().await;
    let source = format!("define('hostile', () => {{ while (true); }}); {NEIGHBOURS}");
    let config = Config {
        isolates: 1,
        ..config()
    };
    let code = load_with(&config, &source, &TestHost::new()).await.unwrap();
    let loops: Vec<_> = (0..5)
        .map(|_| {
            let code = code.clone();
            tokio::spawn(async move { call(&code, "hostile", Value::Null).await })
        })
        .collect();
    for n in 0..20 {
        let outcome = call(&code, "quick", json!(n)).await;
        assert_eq!(outcome, Outcome::Returned(json!(n)));
    }
    let ended = loops.iter().filter(|run| run.is_finished()).count();
    assert!(ended < 5, "only as many as needed are given up");
    for run in loops.into_iter().filter(|run| run.is_finished()) {
        let outcome = run.await.unwrap();
        assert!(
            matches!(&outcome, Outcome::Crashed { reason } if reason.contains("computed for long")),
            "{outcome:?}"
        );
    }
}
