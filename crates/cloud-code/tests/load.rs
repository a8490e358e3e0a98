//! Loading: what main may do, how it fails, that nothing is left behind.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_cloud_code::{Bundle, CloudCode, Config, Error, Outcome};

use crate::support::{Shared, TestHost, call, config, exists, load, load_with, message};

#[tokio::test]
async fn a_promise_that_main_leaves_is_awaited() {
    let source = "(async () => { await module.sleep(5); define('late', () => 'here') })()";
    let code = load(source).await;
    assert_eq!(
        call(&code, "late", Value::Null).await,
        Outcome::Returned(json!("here"))
    );
}

#[tokio::test]
async fn main_is_a_sloppy_script() {
    let code =
        load("implicit = 010; define('f', function () { return [implicit, this === globalThis] })")
            .await;
    assert_eq!(
        call(&code, "f", Value::Null).await,
        Outcome::Returned(json!([8, true]))
    );
}

#[tokio::test]
async fn a_failed_load_says_why_and_where() {
    let cases = [
        ("define('a', () => 1;", "SyntaxError"),
        (
            "\n  nothing.here()",
            "ReferenceError: nothing is not defined",
        ),
        ("throw 'a text'", "a text"),
        (
            "(async () => { await module.sleep(1); throw new TypeError('later') })()",
            "TypeError: later",
        ),
        ("new Promise(() => {})", "its top-level await never settles"),
        ("while (true);", "it did not finish loading within 300 ms"),
        (
            "(async () => { while (true) await null })()",
            "it did not finish loading within 300 ms",
        ),
        (
            "(async () => { while (true) await module.sleep(1) })()",
            "it did not finish loading within 300 ms",
        ),
        (
            "globalThis.x = []; while (true) x.push(new Uint8Array(1e6))",
            "out of memory",
        ),
        (
            "[].join.call({ length: 2 ** 53 - 1 })",
            "it did not finish within 1.3s",
        ),
    ];
    for (source, expected) in cases {
        let config = Config {
            load_timeout: Duration::from_millis(300),
            ..config()
        };
        let error = load_with(&config, source, &TestHost::new())
            .await
            .err()
            .expect(source);
        let text = format!("{error}");
        assert!(text.contains(expected), "{source}: {text}");
    }
}

#[tokio::test]
async fn code_that_breaks_the_runtime_object_breaks_nothing() {
    let code = load("delete globalThis.__runtime; __native.done = null; globalThis.__native = 1; define('f', () => 1)").await;
    // The stand-in runtime keeps `__native` in a variable, and its `done` is looked up late: so this handler has no answer.
    let outcome = code
        .run(crate::support::limited("f", Duration::from_millis(100)))
        .await;
    assert!(matches!(outcome, Outcome::TimedOut { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_load_error_names_the_source_file() {
    // Line 1 of the bundle is line 3 of cloud/main.ts, column by column.
    let map = r#"{"version":3,"sources":["cloud/main.ts"],"names":[],"mappings":"AAEA,IAAI"}"#;
    let bundle = Bundle::new("    nothing.here()".into(), Some(map.into()));
    let error = CloudCode::load(
        &config(),
        bundle,
        std::sync::Arc::new(Shared(TestHost::new())),
    )
    .await
    .err()
    .unwrap();
    let Error::Load {
        stack: Some(stack), ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert!(stack.contains("cloud/main.ts:3:5"), "{stack}");
}

#[tokio::test]
async fn host_calls_of_main_are_refused_but_do_not_fail_it() {
    let source = "let said; module.host({ kind: 'rest', path: 'echo' }).catch((error) => { said = error.message });
        define('said', () => said)";
    let host = TestHost::new();
    let code = load_with(&config(), source, &host).await.unwrap();
    let Outcome::Returned(said) = call(&code, "said", Value::Null).await else {
        panic!("it must return")
    };
    assert!(
        said.as_str()
            .is_some_and(|said| said.contains("while the code was loading")),
        "{said}"
    );
    assert!(host.paths().is_empty());
}

#[tokio::test]
async fn an_executable_that_is_no_isolate_is_reported() {
    let config = Config {
        executable: "/bin/true".into(),
        ..config()
    };
    let error = load_with(&config, "", &TestHost::new())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("/bin/true"), "{error}");
    let config = Config {
        executable: "/nowhere".into(),
        ..config
    };
    let error = load_with(&config, "", &TestHost::new())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("cannot be started"), "{error}");
}

#[tokio::test]
async fn closing_finishes_what_runs_and_leaves_no_process() {
    let host = TestHost::new();
    let source = "define('w', async (_, run) => { await run.host({ kind: 'rest', path: 'gate' }); return 'finished' });
        define('quick', () => 1)";
    let code = load_with(&config(), source, &host).await.unwrap();
    let pids = code.pids().await;
    assert_eq!(pids.len(), 3, "a zygote and two isolates");
    let running = tokio::spawn({
        let code = code.clone();
        async move { call(&code, "w", Value::Null).await }
    });
    host.arrived(1).await;
    let closing = tokio::spawn({
        let code = code.clone();
        async move { code.close().await }
    });
    while !matches!(
        call(&code, "quick", Value::Null).await,
        Outcome::Crashed { .. }
    ) {} // Until the close has begun.
    assert!(!closing.is_finished());
    host.gate.add_permits(1);
    assert_eq!(running.await.unwrap(), Outcome::Returned(json!("finished")));
    closing.await.unwrap();
    assert!(pids.iter().all(|&pid| !exists(pid)), "all are reaped");
}

#[tokio::test]
async fn dropping_a_release_kills_its_processes_and_answers_its_runs() {
    let host = TestHost::new();
    let code = load_with(
        &config(),
        "define('w', (_, run) => run.host({ kind: 'rest', path: 'gate' }))",
        &host,
    )
    .await
    .unwrap();
    let pids = code.pids().await;
    drop(code);
    crate::support::until("all processes are reaped", || {
        pids.iter().all(|&pid| !exists(pid))
    })
    .await;
}

#[tokio::test]
async fn a_failed_load_leaves_no_process() {
    // Own children only: other tests run beside this one.
    let error = load_with(&config(), "throw 1", &TestHost::new())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::Load { .. }));
    assert_eq!(
        message(&Outcome::Threw {
            code: 1,
            message: "x".into(),
            stack: None,
            is_parse_error: false,
            retry_after_ms: None,
            no_retry: false,
        }),
        "x"
    );
}
