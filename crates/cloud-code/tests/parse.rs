//! The real runtime and bundler: a project's folder in, Parse's behaviour out. The runtime has tests of its own in `js/`;
//! these are about the whole.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_cloud_code::{
    Bundle, Bundler, CloudCode, Config, Error, Handler, Outcome, Run, bundle,
};
use tidegate_event::{Trigger, TriggerKind};

use crate::support::{Project, Shared, TestHost, config, function, message};

pub fn real_config() -> Config {
    Config {
        runtime: None,
        server_url: "http://localhost:1337/parse".into(),
        application_id: "app".into(),
        memory_limit_bytes: 256 << 20,
        ..config()
    }
}

async fn load_project(
    files: &[(&str, &str)],
    host: &Arc<TestHost>,
) -> Result<Arc<CloudCode>, Error> {
    let project = Project::new(files);
    let bundle = bundle(&project.path).await?;
    CloudCode::load(&real_config(), bundle, Arc::new(Shared(host.clone()))).await
}

pub async fn load_main(main: &str, host: &Arc<TestHost>) -> Arc<CloudCode> {
    load_project(&[("cloud/main.js", main)], host)
        .await
        .unwrap()
}

fn params(name: &str, params: Value) -> Run {
    let request = json!({"functionName": name, "params": params, "user": null, "master": false, "headers": {},
        "ip": "127.0.0.1", "context": {}, "requestId": "r"});
    function(name, request)
}

pub fn trigger(kind: TriggerKind, request: Value) -> Run {
    Run {
        handler: Handler::Trigger(Trigger::code(kind, "Order")),
        ..function("", request)
    }
}

#[tokio::test]
async fn a_function_gets_params_and_returns() {
    let main = "Parse.Cloud.define('hello', async (request) => ({ greeting: 'hi ' + request.params.name, at: request.params.at }));
        Parse.Cloud.define('refuse', () => { throw new Parse.Error(999, 'no') });
        Parse.Cloud.job('nightly', () => 'done');";
    let code = load_main(main, &TestHost::new()).await;
    assert_eq!(code.manifest().functions, ["hello", "refuse"]);
    let at = json!({"__type": "Date", "iso": "2026-11-22T09:00:00.000Z"});
    let outcome = code
        .run(params("hello", json!({"name": "Ann", "at": at})))
        .await;
    assert_eq!(
        outcome,
        Outcome::Returned(json!({"greeting": "hi Ann", "at": at}))
    );
    let refused = code.run(params("refuse", json!({}))).await;
    assert!(
        matches!(
            refused,
            Outcome::Threw {
                code: 999,
                is_parse_error: true,
                ..
            }
        ),
        "{refused:?}"
    );
    let job = Run {
        handler: Handler::Job("nightly".into()),
        ..function("", json!({"jobName": "nightly", "params": {}}))
    };
    assert_eq!(code.run(job).await, Outcome::Returned(json!("done")));
}

#[tokio::test]
async fn a_before_save_changes_the_object_and_calls_the_host() {
    let host = TestHost::new();
    let main = "Parse.Cloud.beforeSave('Order', async (request) => {
        request.object.set('total', request.object.get('price') * 2);
        request.log.info('saving', request.object.id);
        await new Parse.Query('Order').get('x', { useMasterKey: true }).catch(() => {});
    });";
    let code = load_main(main, &host).await;
    let request = json!({"triggerName": "beforeSave", "className": "Order", "object": {}, "ops": {"price": 12}, "original": null,
        "user": null, "master": true, "headers": {}, "context": {"a": 1}, "requestId": "r"});
    let Outcome::Returned(answer) = code.run(trigger(TriggerKind::BeforeSave, request)).await
    else {
        panic!("it returns")
    };
    assert_eq!(answer["ops"], json!({"price": 12, "total": 24}));
    assert_eq!(answer["context"], json!({"a": 1}));
    assert!(host.calls.lock().unwrap()[0].1.use_master_key);
}

#[tokio::test]
async fn typescript_stacks_name_the_lines_that_people_wrote() {
    let files = [
        (
            "cloud/main.ts",
            "import { charge } from './lib/charge';\n\nParse.Cloud.define('pay', async (request: any): Promise<number> => {\n  return charge(request.params.amount);\n});\n",
        ),
        (
            "cloud/lib/charge.ts",
            "export type Amount = number;\n\nexport function charge(amount: Amount): number {\n  if (amount < 0) {\n    throw new RangeError('negative');\n  }\n  return amount;\n}\n",
        ),
    ];
    let code = load_project(&files, &TestHost::new()).await.unwrap();
    let Outcome::Threw {
        code: 141,
        message,
        stack: Some(stack),
        ..
    } = code.run(params("pay", json!({"amount": -1}))).await
    else {
        panic!("it throws")
    };
    assert_eq!(message, "negative");
    assert!(
        stack.contains("charge (cloud/lib/charge.ts:5:") && stack.contains("cloud/main.ts:4:"),
        "{stack}"
    );
    assert!(
        !stack.contains("app.js") && !stack.contains("runtime.js"),
        "{stack}"
    );
}

#[tokio::test]
async fn code_that_does_not_build_or_load_says_where() {
    let build = load_project(&[("cloud/main.js", "\nlet x x")], &TestHost::new())
        .await
        .err()
        .unwrap();
    assert_eq!(
        build.to_string(),
        "cloud/main.js:2:7: Expected \";\" but found \"x\"\n    2 | let x x\n      |       ^"
    );
    let missing = load_project(
        &[("cloud/main.js", "require('nothing-of-the-kind')")],
        &TestHost::new(),
    )
    .await
    .err()
    .unwrap();
    assert!(
        missing.to_string().contains("nothing-of-the-kind"),
        "{missing}"
    );
    let load = load_project(&[("cloud/main.js", "\n\n  undefined.x")], &TestHost::new())
        .await
        .err()
        .unwrap();
    let Error::Load {
        message,
        stack: Some(stack),
    } = &load
    else {
        panic!("{load:?}")
    };
    assert!(message.starts_with("TypeError"), "{message}");
    assert!(stack.contains("cloud/main.js:3:"), "{stack}");
}

#[tokio::test]
async fn a_project_without_cloud_code_is_an_empty_release() {
    let project = Project::new(&[("public/index.html", "")]);
    let empty = bundle(&project.path).await.unwrap();
    assert_eq!(empty.code, "");
    let code = CloudCode::load(&real_config(), empty, Arc::new(Shared(TestHost::new())))
        .await
        .unwrap();
    assert_eq!(code.manifest(), &Default::default());
    assert_eq!(
        message(&code.run(params("x", json!({}))).await),
        "Invalid function: \"x\""
    );
}

#[tokio::test]
async fn a_missing_bundler_is_named() {
    let project = Project::new(&[("cloud/main.js", "")]);
    let nowhere = Bundler {
        node: "/nowhere/node".into(),
        ..Bundler::default()
    };
    let error = nowhere.bundle(&project.path).await.err().unwrap();
    assert!(
        matches!(&error, Error::Bundler { message } if message.contains("/nowhere/node")),
        "{error}"
    );
    let broken = Bundler {
        script: "/nowhere/bundle.mjs".into(),
        ..Bundler::default()
    };
    let error = broken.bundle(&project.path).await.err().unwrap();
    assert!(
        matches!(&error, Error::Bundler { message } if message.contains("/nowhere/bundle.mjs")),
        "{error}"
    );
}

#[tokio::test]
async fn top_level_await_and_modules_work() {
    let main = "import { createHash } from 'node:crypto';\nimport Parse from 'parse/node';\nconst ready = await Promise.resolve('ready');
        Parse.Cloud.define('hash', (request) => ready + createHash('sha256').update(request.params.text).digest('hex').slice(0, 8));";
    let code = load_project(&[("cloud/main.mjs", main)], &TestHost::new())
        .await
        .unwrap();
    let outcome = code.run(params("hash", json!({"text": "abc"}))).await;
    assert_eq!(outcome, Outcome::Returned(json!("readyba7816bf")));
}

/// Two handlers that await one shared promise go on under their own names.
#[tokio::test]
async fn calls_are_attributed_to_the_run_that_makes_them() {
    let host = TestHost::new();
    let main = "let shared;
        Parse.Cloud.define('f', async (request) => {
            shared ??= Parse.Cloud.run('gate');
            await shared.catch(() => {});
            await new Parse.Query(request.params.cls).find().catch(() => {});
            return request.params.cls;
        });";
    let project = Project::new(&[("cloud/main.js", main)]);
    let config = Config {
        isolates: 1,
        ..real_config()
    };
    let code = CloudCode::load(
        &config,
        bundle(&project.path).await.unwrap(),
        Arc::new(Shared(host.clone())),
    )
    .await
    .unwrap();
    let run = |name: &str| {
        let cause = Arc::new(tidegate_cloud_code::Cause {
            request_id: name.into(),
            ..Default::default()
        });
        let run = Run {
            cause,
            ..params("f", json!({"cls": name}))
        };
        let code = code.clone();
        tokio::spawn(async move { code.run(run).await })
    };
    let runs = [run("A"), run("B"), run("C")];
    for (run, name) in runs.into_iter().zip(["A", "B", "C"]) {
        assert_eq!(run.await.unwrap(), Outcome::Returned(json!(name)));
    }
    for (cause, call) in host.calls.lock().unwrap().iter() {
        if let Some(class) = call.path.strip_prefix("classes/") {
            assert_eq!(cause.request_id, class);
        }
    }
}

/// An after-trigger is over when nothing of it is left, but for what does not count in Node either.
#[tokio::test]
async fn an_after_save_waits_for_what_it_left_but_not_for_time_limits() {
    let host = TestHost::new();
    let main = "Parse.Cloud.afterSave('Order', () => {
        AbortSignal.timeout(3600_000);
        setTimeout(() => {}, 3600_000).unref();
        setInterval(() => {}, 1000).unref();
        setTimeout(() => { new Parse.Query('Left').find().catch(() => {}) }, 20);
    });";
    let code = load_main(main, &host).await;
    let request = json!({"triggerName": "afterSave", "className": "Order", "object": {"objectId": "x"}, "original": null, "ops": {},
        "user": null, "master": true, "headers": {}, "context": {}, "requestId": "r", "source": "api"});
    let outcome = code.run(trigger(TriggerKind::AfterSave, request)).await;
    assert!(matches!(outcome, Outcome::Returned(_)), "{outcome:?}");
    assert_eq!(host.paths(), ["classes/Left"]);
}

#[tokio::test]
async fn the_environment_is_what_the_configuration_says() {
    let project = Project::new(&[(
        "cloud/main.js",
        "Parse.Cloud.define('env', () => ({ ...process.env }))",
    )]);
    let config = Config {
        env: [("STRIPE_KEY".to_owned(), "sk".to_owned())].into(),
        ..real_config()
    };
    let bundle = bundle(&project.path).await.unwrap();
    let host = Arc::new(Shared(TestHost::new()));
    let code = CloudCode::load(&config, bundle, host).await.unwrap();
    let outcome = code.run(params("env", json!({}))).await;
    assert_eq!(outcome, Outcome::Returned(json!({"STRIPE_KEY": "sk"})));
}

#[test]
fn a_bundle_has_an_id_of_its_code() {
    assert_eq!(Bundle::new("x".into(), None).id.len(), 16);
}
