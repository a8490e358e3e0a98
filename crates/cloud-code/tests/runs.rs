//! Ordinary runs: values in and out, host calls, timers, logs, what outlives a handler's return.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_cloud_code::{Cause, Handler, Isolation, Outcome, Run};
use tidegate_event::{Trigger, TriggerKind};

use crate::support::{TestHost, call, config, function, limited, load, load_with, message};

#[tokio::test]
async fn a_function_gets_its_request_and_returns_a_value() {
    let code = load("define('echo', async (request) => ({ got: request, text: 'äöü €😀' }))").await;
    assert_eq!(code.manifest().functions, ["echo"]);
    let request = json!({"n": 1.5, "deep": [[{"a": null}]], "text": "\u{0}\"😀"});
    let outcome = call(&code, "echo", request.clone()).await;
    assert_eq!(
        outcome,
        Outcome::Returned(json!({"got": request, "text": "äöü €😀"}))
    );
    code.close().await;
}

#[tokio::test]
async fn what_is_not_registered_is_refused_in_parses_words() {
    let code = load("").await;
    assert_eq!(
        message(&call(&code, "x", Value::Null).await),
        "Invalid function: \"x\""
    );
    let job = Run {
        handler: Handler::Job("x".into()),
        ..function("", Value::Null)
    };
    assert_eq!(message(&code.run(job).await), "Invalid job.");
}

#[tokio::test]
async fn what_a_handler_throws_is_an_outcome() {
    let code = load(
        "define('error', () => { throw new Error('no') });
         define('parse', () => { throw Object.assign(new Error('bad'), { code: 999 }) });
         define('late', async (_, run) => { await run.sleep(1); throw 'text' });
         define('huge', () => 'x'.repeat(1e6));",
    )
    .await;
    let Outcome::Threw {
        code: 141,
        message,
        stack: Some(stack),
        is_parse_error: false,
        retry_after_ms: None,
        no_retry: false,
    } = call(&code, "error", Value::Null).await
    else {
        panic!("not as expected")
    };
    assert_eq!(message, "no");
    assert!(
        stack.contains("app.js:1:") && !stack.contains("runtime.js"),
        "{stack}"
    );
    let parse = call(&code, "parse", Value::Null).await;
    assert!(
        matches!(
            parse,
            Outcome::Threw {
                code: 999,
                is_parse_error: true,
                ..
            }
        ),
        "{parse:?}"
    );
    assert_eq!(
        crate::support::message(&call(&code, "late", Value::Null).await),
        "text"
    );
}

#[tokio::test]
async fn a_result_over_the_limit_is_refused() {
    let config = tidegate_cloud_code::Config {
        max_output_bytes: 1000,
        ..config()
    };
    let code = load_with(
        &config,
        "define('huge', () => 'x'.repeat(1e6));
         define('call', async (_, run) => { await run.host({ kind: 'rest', path: 'echo', body: 'x'.repeat(1e6) }) })",
        &TestHost::new(),
    )
    .await
    .unwrap();
    let outcome = call(&code, "huge", Value::Null).await;
    assert_eq!(
        message(&outcome),
        "The result is too large: 1000015 bytes of at most 1000."
    );
    let outcome = call(&code, "call", Value::Null).await;
    assert!(
        message(&outcome).contains("the call is too large"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn host_calls_carry_what_the_code_sent_and_the_runs_cause() {
    let host = TestHost::new();
    let source = "define('calls', async (_, run) => {
        const rest = (path, more) => run.host({ kind: 'rest', method: 'POST', path, ...more });
        const first = rest('echo', { body: { a: 1 }, useMasterKey: true, sessionToken: 'r:1', context: { c: 1 } });
        const second = rest('echo', { body: [2] });
        const answers = [await first, await second];
        const failed = await rest('fail').catch((error) => [error.code, error.message]);
        return [...answers, failed];
    })";
    let code = load_with(&config(), source, &host).await.unwrap();
    let cause = Arc::new(Cause {
        request_id: "r1".into(),
        depth: 3,
        ..Cause::default()
    });
    let run = Run {
        cause: cause.clone(),
        ..function("calls", Value::Null)
    };
    let headers = json!([["x-a", "b"]]);
    let expected = json!([
        {"status": 200, "body": {"a": 1}, "headers": headers},
        {"status": 200, "body": [2], "headers": headers},
        [101, "Object not found."],
    ]);
    assert_eq!(code.run(run).await, Outcome::Returned(expected));
    let mut calls = host.calls.lock().unwrap().clone();
    calls.sort_by_key(|(_, call)| call.position);
    assert_eq!(
        calls
            .iter()
            .map(|(_, call)| call.position)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let (first_cause, first) = &calls[0];
    assert!(Arc::ptr_eq(first_cause, &cause));
    assert!(
        first.use_master_key && first.method == "POST" && first.context == Some(json!({"c": 1}))
    );
    assert_eq!(first.session_token.as_deref(), Some("r:1"));
    assert!(!calls[1].1.use_master_key && calls[1].1.session_token.is_none());
}

#[tokio::test]
async fn many_runs_share_an_isolate_while_they_wait() {
    let host = TestHost::new();
    let source = "let open = 0, most = 0;
        define('wait', async (n, run) => {
            most = Math.max(most, ++open);
            await run.host({ kind: 'rest', path: 'gate' });
            open--;
            return n;
        });
        define('most', () => most);";
    let config = tidegate_cloud_code::Config {
        isolates: 1,
        ..config()
    };
    let code = load_with(&config, source, &host).await.unwrap();
    let runs: Vec<_> = (0..40)
        .map(|n| {
            let code = code.clone();
            tokio::spawn(async move { call(&code, "wait", json!(n)).await })
        })
        .collect();
    host.arrived(40).await;
    host.gate.add_permits(40);
    for (n, run) in runs.into_iter().enumerate() {
        assert_eq!(run.await.unwrap(), Outcome::Returned(json!(n)));
    }
    assert_eq!(
        call(&code, "most", Value::Null).await,
        Outcome::Returned(json!(40))
    );
}

#[tokio::test]
async fn a_run_inside_a_host_call_never_waits_for_those_that_wait_for_it() {
    let host = TestHost::new();
    let source = "define('outer', async (_, run) => (await run.host({ kind: 'rest', path: 'run', body: { function: 'inner' } })).body);
        define('inner', () => 'in');";
    for isolation in [Isolation::Shared, Isolation::PerRun] {
        // Every place is taken by an outer run.
        let config = tidegate_cloud_code::Config {
            isolates: 1,
            max_in_flight: 4,
            isolation,
            ..config()
        };
        let code = load_with(&config, source, &host).await.unwrap();
        *host.code.lock().unwrap() = Some(code.clone());
        let runs = (0..4).map(|_| call(&code, "outer", Value::Null));
        for outcome in futures_util::future::join_all(runs).await {
            assert_eq!(
                outcome,
                Outcome::Returned(json!("Returned(String(\"in\"))")),
                "{isolation:?}"
            );
        }
        *host.code.lock().unwrap() = None;
        code.close().await;
    }
}

#[tokio::test]
async fn timers_fire_in_order_and_a_cleared_one_does_not() {
    let source = "define('timers', async (_, run) => {
        const seen = [];
        const all = [30, 10, 20].map((ms) => run.sleep(ms).then(() => seen.push(ms)));
        __native.setTimer(999999, 1, run.id);
        __native.clearTimer(999999);
        await Promise.all(all);
        return seen;
    })";
    let code = load(source).await;
    assert_eq!(
        call(&code, "timers", Value::Null).await,
        Outcome::Returned(json!([10, 20, 30]))
    );
}

#[tokio::test]
async fn a_modules_own_timer_goes_on_in_every_fork() {
    let source = "let ticks = 0;
        const tick = () => { ticks++; module.sleep(1).then(tick) };
        tick();
        define('ticks', async (_, run) => { const before = ticks; await run.sleep(20); return ticks > before; })";
    let code = load(source).await;
    assert_eq!(
        call(&code, "ticks", Value::Null).await,
        Outcome::Returned(json!(true))
    );
}

/// A function is answered when its promise settles; an after-trigger and a job when nothing of theirs is left.
#[tokio::test]
async fn what_a_handler_did_not_await_is_still_done() {
    let host = TestHost::new();
    let source = "const handler = (_, run) => { run.sleep(1).then(() => run.host({ kind: 'rest', path: 'gate' })); return 'done' };
        define('f', handler); trigger('afterSave', 'Order', handler); job('j', handler);";
    let code = load_with(&config(), source, &host).await.unwrap();
    let expected = Outcome::Returned(json!("done"));
    assert_eq!(call(&code, "f", Value::Null).await, expected);
    host.arrived(1).await;
    let trigger = Trigger::code(TriggerKind::AfterSave, "Order");
    for handler in [Handler::Trigger(trigger), Handler::Job("j".into())] {
        let run = tokio::spawn({
            let code = code.clone();
            async move {
                code.run(Run {
                    handler,
                    ..function("", Value::Null)
                })
                .await
            }
        });
        host.arrived(1).await;
        assert!(!run.is_finished(), "its host call is still open");
        host.gate.add_permits(2);
        assert_eq!(run.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_call_of_an_ended_run_is_refused() {
    let host = TestHost::new();
    let source = "let kept;
        define('keep', (_, run) => { kept = run });
        define('use', async () => kept.host({ kind: 'rest', path: 'echo' }).catch((error) => error.message));";
    let config = tidegate_cloud_code::Config {
        isolates: 1,
        ..config()
    };
    let code = load_with(&config, source, &host).await.unwrap();
    call(&code, "keep", Value::Null).await;
    let Outcome::Returned(text) = call(&code, "use", Value::Null).await else {
        panic!("it must return")
    };
    assert!(
        text.as_str()
            .unwrap()
            .contains("belongs to no open request"),
        "{text}"
    );
    assert!(host.paths().is_empty());
}

#[tokio::test]
async fn forks_draw_different_random_numbers() {
    let source = "define('draw', async (_, run) => {
        await run.host({ kind: 'rest', path: 'gate' });
        return [Math.random(), [...new Uint8Array(__native.random(16))].join()];
    })";
    let host = TestHost::new();
    let config = tidegate_cloud_code::Config {
        isolation: Isolation::PerRun,
        ..config()
    };
    let code = load_with(&config, source, &host).await.unwrap();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let code = code.clone();
            tokio::spawn(async move { call(&code, "draw", Value::Null).await })
        })
        .collect();
    host.arrived(4).await;
    host.gate.add_permits(4);
    let mut drawn = Vec::new();
    for run in runs {
        let Outcome::Returned(value) = run.await.unwrap() else {
            panic!("it must return")
        };
        drawn.push(value.to_string());
    }
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 4);
}

#[tokio::test]
async fn natives_refuse_nonsense_and_do_not_crash() {
    let source = r#"define('probe', () => {
        const n = __native, text = (f) => { try { return f() } catch (error) { return error.name } };
        const shrunk = new ArrayBuffer(8, { maxByteLength: 16 });
        const view = new Uint8Array(shrunk, 4);
        shrunk.resize(2);
        const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
        return [
            hex(n.digest('sha256', n.utf8Encode('abc'))).slice(0, 8),
            hex(n.hmac('md5', n.utf8Encode(''), new DataView(n.utf8Encode('xabc'), 1))).length,
            text(() => n.digest('sha3', new Uint8Array())), text(() => n.digest('md5', {})), text(() => n.digest('md5')),
            text(() => hex(n.digest('md5', view))),
            text(() => n.digest('md5', { buffer: new ArrayBuffer(4), byteOffset: 2 ** 53, byteLength: 2 ** 53 })),
            text(() => n.random(-1)), text(() => n.random(1e9)), n.random(3).byteLength,
            n.utf8Decode(new Uint8Array([0x61, 0xff]), false), text(() => n.utf8Decode(new Uint8Array([0xff]), true)),
            hex(n.utf8Encode('\ud800')), n.utf8Decode(n.base64Decode('w6Q'), true), n.base64Encode(n.utf8Encode('ä')),
            text(() => n.base64Decode('*')), n.timingSafeEqual(n.utf8Encode('a'), n.utf8Encode('b')),
            text(() => n.call({}, {}, 1)), text(() => n.call()), text(() => n.done(Symbol(), '')), text(() => n.setTimer(NaN, 'x', -1)) ?? null,
        ];
    })"#;
    let code = load(source).await;
    let outcome = call(&code, "probe", Value::Null).await;
    let empty_md5 = "d41d8cd98f00b204e9800998ecf8427e";
    let Outcome::Returned(Value::Array(values)) = outcome else {
        panic!("{outcome:?}")
    };
    let expected = json!([
        "ba7816bf",
        32,
        "TypeError",
        "TypeError",
        "TypeError",
        empty_md5,
        "TypeError",
        "RangeError",
        "RangeError",
        3,
        "a\u{fffd}",
        "TypeError",
        "efbfbd",
        "ä",
        "w6Q=",
        "TypeError",
        false
    ]);
    assert_eq!(Value::Array(values[..17].to_vec()), expected);
}

#[tokio::test]
async fn a_result_that_is_no_json_fails_its_run_only() {
    let code = load(
        r#"define('surrogate', () => '\ud800');
           define('twice', (_, run) => { __native.done(run.id, '{"returned":1}'); __native.done(run.id, '{"returned":2}'); return 3 });
           define('garbage', (_, run) => { __native.done(run.id, 'garbage') })"#,
    )
    .await;
    assert_eq!(
        call(&code, "twice", Value::Null).await,
        Outcome::Returned(json!(1))
    );
    for name in ["surrogate", "garbage"] {
        let outcome = call(&code, name, Value::Null).await;
        assert!(
            message(&outcome).contains("cannot be sent as JSON"),
            "{outcome:?}"
        );
    }
    assert_eq!(
        call(&code, "twice", Value::Null).await,
        Outcome::Returned(json!(1))
    );
}

#[tokio::test]
async fn a_run_that_finds_no_place_times_out() {
    let host = TestHost::new();
    let config = tidegate_cloud_code::Config {
        isolates: 1,
        max_in_flight: 1,
        ..config()
    };
    let code = load_with(
        &config,
        "define('w', (_, run) => run.host({ kind: 'rest', path: 'gate' }))",
        &host,
    )
    .await
    .unwrap();
    let first = tokio::spawn({
        let code = code.clone();
        async move { call(&code, "w", Value::Null).await }
    });
    host.arrived(1).await;
    let limit = Duration::from_millis(100);
    assert_eq!(
        code.run(limited("w", limit)).await,
        Outcome::TimedOut { after: limit }
    );
    host.gate.add_permits(1);
    assert!(matches!(first.await.unwrap(), Outcome::Returned(_)));
    assert_eq!(host.paths().len(), 1, "the second never ran");
}
