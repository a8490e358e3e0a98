//! What after-triggers say of how they are to be run, in the real runtime.

use serde_json::{Value, json};
use tidegate_cloud_code::{Outcome, Ran};
use tidegate_event::{Backoff, Policy, Rate, Trigger, TriggerKind};

use crate::parse::{load_main, trigger};
use crate::support::TestHost;

fn after_save() -> Value {
    json!({"triggerName": "afterSave", "className": "Order", "object": {"objectId": "x"}, "headers": {}, "context": {},
        "master": true, "attempt": 1, "source": "api", "eventId": "1-0.0-0"})
}

async fn run(main: &str) -> Ran {
    let code = load_main(main, &TestHost::new()).await;
    code.run_logged(trigger(TriggerKind::AfterSave, after_save()))
        .await
}

/// What the outcome says of the next attempt.
async fn retry_of(body: &str) -> (Option<u64>, bool) {
    let main = format!("Parse.Cloud.afterSave('Order', async (request) => {{ {body} }});");
    match run(&main).await.outcome {
        Outcome::Threw {
            retry_after_ms,
            no_retry,
            ..
        } => (retry_after_ms, no_retry),
        other => panic!("it did not throw: {other:?}"),
    }
}

#[tokio::test]
async fn options_reach_the_manifest() {
    let main = "const seen = { original: 1 };
        Parse.Cloud.afterSave('Order', async ({ object }) => { await object.fetch() }, {
            order: 'none', effects: 'off', attempts: 9, backoff: { initial: 5, factor: 3, max: 50 }, timeout: 1234, concurrency: 2, rate: '100/s' });
        Parse.Cloud.afterSave('Item', (request) => { if (request.original) console.log(seen) });
        Parse.Cloud.afterSave('Line', async (request) => { const { object } = request; await object.save() });
        Parse.Cloud.afterSave('public.invoices', (request) => { console.log(request) });
        Parse.Cloud.afterDelete('Order', () => {});";
    let code = load_main(main, &TestHost::new()).await;
    let policy = |kind, class: &str| code.triggers().policy(&Trigger::code(kind, class));
    let expected = Policy {
        attempts: Some(9),
        backoff: Some(Backoff {
            initial_ms: 5,
            factor: 3.0,
            max_ms: 50,
        }),
        timeout_ms: Some(1234),
        concurrency: Some(2),
        rate: Some(Rate {
            count: 100,
            per_ms: 1000,
        }),
        unordered: true,
        unrecorded: true,
        original: false,
    };
    assert_eq!(policy(TriggerKind::AfterSave, "Order"), expected);
    assert_eq!(policy(TriggerKind::AfterDelete, "Order"), Policy::default());
    let needed = code.triggers().captured_classes();
    let needed = ["Item", "Line", "Order", "public.invoices"].map(|class| needed[class]);
    assert_eq!(needed, [true, false, true, true]);
}

#[tokio::test]
async fn a_handler_controls_its_next_attempt() {
    assert_eq!(retry_of("throw new Error('x')").await, (None, false));
    let error = "const error = new Error('x'); error.retryAfter = '2'; throw error";
    assert_eq!(retry_of(error).await, (Some(2000), false));
    let parse = "throw Object.assign(new Parse.Error(101, 'x'), { retry: false })";
    assert_eq!(retry_of(parse).await, (None, true));
    assert_eq!(
        retry_of("request.retryAfter(0.5, 'soon')").await,
        (Some(500), false)
    );
    assert_eq!(retry_of("request.giveUp('no')").await, (None, true));
    let past = "request.retryAfter('Wed, 21 Oct 2015 07:28:00 GMT')";
    assert_eq!(retry_of(past).await, (Some(0), false));
    let far = "request.retryAfter(new Date(8.64e15))";
    assert_eq!(retry_of(far).await, (Some(604_800_000), false));
}

#[tokio::test]
async fn console_and_request_log_come_with_the_failure() {
    let main = "console.log('loading');
        Parse.Cloud.afterSave('Order', async ({ object, log }) => {
            console.log('order', { id: object.id });
            log.warn('careful');
            setTimeout(() => console.error('late'), 1);
            throw new Error('no');
        });";
    let ran = run(main).await;
    assert_eq!(
        ran.logs.as_deref(),
        Some("info: order { id: 'x' }\nwarn: careful\nerror: late")
    );
}
