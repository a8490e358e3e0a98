//! Jobs as those who run them see them: what the host is told and told again, what ends a run, whose process it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tidegate_cloud_code::{CloudCode, Config, Control, JobCall, LogLine, Outcome, Run, RunScope};
use tidegate_event::EffectScope;
use tokio::sync::mpsc;

use crate::parse::{load_main, real_config};
use crate::support::{
    ALONE, LONG, TestHost, call, config, exists, isolates, job, limited, load_with, until,
};

const SOURCE: &str = "let touched = 0;
    const rest = (run, path) => run.host({ kind: 'rest', method: 'POST', path });
    job('gate', async (_, run) => { touched++; await rest(run, 'gate'); return touched });
    job('quick', () => ++touched);
    job('throws', () => { touched++; throw new Error('no') });
    job('hungry', () => { globalThis.kept = new Uint8Array(20e6); return ++touched });
    job('loop', async (_, run) => { await run.host({ kind: 'job', op: 'message', text: 'begun' }); while (true); });
    job('native', async (_, run) => { await run.host({ kind: 'job', op: 'message', text: 'begun' }); [].join.call({ length: 2 ** 53 - 1 }) });
    job('talks', async (n, run) => {
        for (let i = 0; i < n; i++) run.log(i % 2 ? 'error' : 'info', 'line ' + i);
        await rest(run, 'gate');
        run.log('debug', 'last');
    });
    job('sleeper', async (_, run) => {
        run.host({ kind: 'job', op: 'sleep', name: 'sleep 1', untilMs: 4102444800000 }).then(() => rest(run, 'late'));
        await run.sleep(60000);
        await rest(run, 'late');
    });
    job('forgets', (_, run) => { run.host({ kind: 'job', op: 'sleep', name: 'sleep 1', untilMs: 4102444800000 }); return 'done' });
    job('warned', (_, run) => { rest(run, 'echo'); return new Promise((resolve) => run.onAbort(() => resolve('I see'))) });
    define('touched', () => touched);
    define('gate', (_, run) => rest(run, 'gate'));
    define('says', (_, run) => run.host({ kind: 'job', op: 'message', text: 'hi' }).catch((error) => error.message));";

async fn one_isolate(host: &Arc<TestHost>) -> Arc<CloudCode> {
    let config = Config {
        isolates: 1,
        ..config()
    };
    load_with(&config, SOURCE, host).await.unwrap()
}

fn spawn(code: &Arc<CloudCode>, run: Run) -> tokio::task::JoinHandle<Outcome> {
    let code = code.clone();
    tokio::spawn(async move { code.run(run).await })
}

fn controlled(run: Run) -> (Run, Control) {
    let control = Control::default();
    let run = Run {
        control: Some(control.clone()),
        ..run
    };
    (run, control)
}

/// A request as a worker makes it, with what earlier attempts have done.
fn attempt(steps: Value, sleeps: Value) -> Value {
    json!({"jobName": "j", "jobId": "R000000007", "params": {"n": 1}, "master": true, "attempt": 2, "maxAttempts": 4,
        "steps": steps, "sleeps": sleeps, "inputs": {"fetch": {"__type": "Date", "iso": "2026-01-01T00:00:00.000Z"}},
        "workflow": {"id": "W000000001", "name": "w", "node": "load"},
        "schedule": {"name": "s", "dueAt": "2026-01-01T00:00:00.000Z"}})
}

fn with_effects(request: Value) -> Run {
    let scope = EffectScope {
        cause: "run:7".into(),
        log_offset: None,
        path: String::new(),
        is_recorded: true,
        earlier: Arc::default(),
    };
    let cause = tidegate_cloud_code::Cause {
        effects: Some(scope),
        run: Some(RunScope {
            id: 7,
            fence: 3,
            worker: "w1".into(),
        }),
        ..Default::default()
    };
    Run {
        cause: Arc::new(cause),
        ..job("j", request)
    }
}

/// Each write as `path: step#position`.
fn writes(host: &TestHost) -> Vec<String> {
    let calls = host.calls.lock().unwrap();
    let of = |(_, call): &(_, tidegate_cloud_code::RestCall)| {
        let step = call.step.as_deref().unwrap_or_default();
        format!("{}: {step}#{}", call.path, call.write_position.unwrap())
    };
    calls.iter().map(of).collect()
}

#[tokio::test]
async fn a_job_sees_its_attempt_and_where_it_comes_from() {
    let main = "Parse.Cloud.job('j', async (request) => {
        const { jobName, jobId, params, attempt, maxAttempts, inputs, workflow, schedule, signal, master } = request;
        return { jobName, jobId, params, attempt, maxAttempts, workflow, master, aborted: signal.aborted,
            dates: [inputs.fetch instanceof Date, schedule.dueAt instanceof Date, schedule.name] };
    });";
    let code = load_main(main, &TestHost::new()).await;
    let outcome = code.run(job("j", attempt(json!({}), json!({})))).await;
    let expected = json!({"jobName": "j", "jobId": "R000000007", "params": {"n": 1}, "attempt": 2, "maxAttempts": 4, "master": true,
        "workflow": {"id": "W000000001", "name": "w", "node": "load"}, "aborted": false, "dates": [true, true, "s"]});
    assert_eq!(outcome, Outcome::Returned(expected));
}

/// The next attempt skips what is remembered, and its other writes are at their old places.
#[tokio::test]
async fn steps_are_remembered_and_their_writes_are_numbered_by_themselves() {
    let main = "Parse.Cloud.job('j', async ({ step, message }) => {
        const save = (name) => new Parse.Object(name).save(null, { useMasterKey: true });
        await save('Before');
        const [pay, mail] = await Promise.all([
            step('pay', async () => { await save('A'); await save('B'); return { at: new Date(0), n: [1] } }),
            step('mail', async () => { await save('C') }),
        ]);
        await save('After');
        await message('near the end');
        return [pay.at instanceof Date, pay.n, mail];
    });";
    let host = TestHost::new();
    let code = load_main(main, &host).await;
    let expected = Outcome::Returned(json!([true, [1], null]));
    let first = code.run(with_effects(attempt(json!({}), json!({})))).await;
    assert_eq!(first, expected);
    let value = json!({"at": {"__type": "Date", "iso": "1970-01-01T00:00:00.000Z"}, "n": [1]});
    let said = host.said.lock().unwrap().split_off(0);
    let pay = JobCall::Step {
        name: "pay".into(),
        value: value.clone(),
    };
    assert!(said.iter().any(|(_, call)| *call == pay), "{said:?}");
    assert!(
        said.iter()
            .all(|(cause, _)| cause.run.as_ref().is_some_and(|run| run.fence == 3))
    );
    assert_eq!(
        said.last().unwrap().1,
        JobCall::Message("near the end".into())
    );
    let mut all = writes(&host);
    all.sort();
    let of_steps = ["classes/A: pay#1", "classes/B: pay#2", "classes/C: mail#1"];
    let outside = ["classes/After: #2", "classes/Before: #1"];
    assert_eq!(
        all,
        [
            of_steps[0],
            outside[0],
            of_steps[1],
            outside[1],
            of_steps[2]
        ]
    );

    host.calls.lock().unwrap().clear();
    let steps = json!({"pay": value, "mail": null});
    let second = code.run(with_effects(attempt(steps, json!({})))).await;
    assert_eq!(second, expected);
    assert_eq!(writes(&host), ["classes/Before: #1", "classes/After: #2"]);
    assert_eq!(
        host.said(),
        ["Message(\"near the end\")"],
        "no step is told again"
    );
}

#[tokio::test]
async fn sleep_ends_the_run_until_its_time_has_come() {
    let main = "Parse.Cloud.job('j', async (request) => {
        request.progress(1, 3);
        request.progress(2, 3);
        await request.sleep(0);
        await request.sleep('2100-01-01T00:00:00Z');
        console.log('awake');
        return 'done';
    });";
    let host = TestHost::new();
    let code = load_main(main, &host).await;
    let until_ms = 4_102_444_800_000;
    let outcome = code.run(job("j", attempt(json!({}), json!({})))).await;
    assert_eq!(outcome, Outcome::Suspended { until_ms });
    let sleep = format!("Sleep {{ name: \"sleep 2\", until_ms: {until_ms} }}");
    let progress = |n: u32| format!("Progress {{ done: {n}.0, total: Some(3.0), message: None }}");
    assert_eq!(
        host.said(),
        [progress(1), progress(2), sleep],
        "nothing is held back"
    );
    // The alarm has gone off, says the worker.
    let sleeps = json!({"sleep 2": 1000});
    let outcome = code.run(job("j", attempt(json!({}), sleeps))).await;
    assert_eq!(outcome, Outcome::Returned(json!("done")));
}

#[tokio::test]
async fn nothing_of_a_run_goes_on_while_it_sleeps() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let own = isolates(&code).await[0];
    let outcome = code.run(job("sleeper", Value::Null)).await;
    assert_eq!(
        outcome,
        Outcome::Suspended {
            until_ms: 4_102_444_800_000
        }
    );
    until("its process has ended", || !exists(own)).await;
    assert!(host.paths().is_empty());
    // A sleep that nobody waits for is none.
    let outcome = code.run(job("forgets", Value::Null)).await;
    assert_eq!(outcome, Outcome::Returned(json!("done")));
}

#[tokio::test]
async fn what_a_job_must_not_do_is_said_plainly() {
    let main = "Parse.Cloud.job('j', async ({ step, sleep, message, progress }) => {
        const refusal = async (body) => { try { await body(); return 'done' } catch (error) { return error.message } };
        return [
            await refusal(() => step('a', () => sleep(1000))),
            await refusal(() => step('a', () => 1)),
            await refusal(() => step('b', () => step('c', () => 1))),
            await refusal(() => step('d', () => 'x'.repeat(300000))),
            await refusal(() => message('fail')),
            await refusal(() => progress('half')),
            await refusal(() => sleep('soon')),
        ];
    });";
    let host = TestHost::new();
    let code = load_main(main, &host).await;
    let outcome = code.run(job("j", attempt(json!({}), json!({})))).await;
    let Outcome::Returned(Value::Array(refusals)) = outcome else {
        panic!("{outcome:?}")
    };
    let expected = [
        "request.sleep was called within the step 'a'",
        "The step 'a' was made twice in this attempt",
        "request.step('c') was called within the step 'b'",
        "The result of the step 'd' is too large: 300002 bytes of at most 262144.",
        "the run is no longer yours",
        "done must be a number",
        "request.sleep takes milliseconds",
    ];
    for (refusal, expected) in refusals.iter().zip(expected) {
        assert!(refusal.as_str().unwrap().contains(expected), "{refusal}");
    }
    assert_eq!(
        host.said(),
        ["Message(\"fail\")"],
        "no step that threw is remembered"
    );
    let code = one_isolate(&TestHost::new()).await;
    let outcome = call(&code, "says", Value::Null).await;
    assert_eq!(
        outcome,
        Outcome::Returned(json!("only jobs have steps, sleep, progress and messages"))
    );
}

#[tokio::test]
async fn progress_is_told_a_few_times_a_second_and_at_last() {
    let main = "Parse.Cloud.job('j', async ({ progress }) => {
        const end = Date.now() + 600;
        let n = 0;
        while (Date.now() < end) { progress(++n, 1e9, n === 1 ? 'begun' : undefined); await null }
        progress(7, 7, 'all');
        throw new Error('at the end');
    });";
    let host = TestHost::new();
    let code = load_main(main, &host).await;
    let outcome = code.run(job("j", attempt(json!({}), json!({})))).await;
    assert!(matches!(outcome, Outcome::Threw { .. }));
    let said = host.said();
    assert!((2..=5).contains(&said.len()), "{said:?}");
    assert_eq!(
        said[0],
        "Progress { done: 1.0, total: Some(1000000000.0), message: Some(\"begun\") }"
    );
    assert_eq!(
        said.last().unwrap(),
        "Progress { done: 7.0, total: Some(7.0), message: Some(\"all\") }"
    );
}

#[tokio::test]
async fn messages_are_told_a_few_times_a_second_and_at_last() {
    let main = "Parse.Cloud.job('j', async ({ message, sleep }) => {
        await message('begun');
        const end = Date.now() + 600;
        let n = 0;
        while (Date.now() < end) await message('turn ' + ++n);
        message('superseded');
        message('last');
        await sleep('2100-01-01T00:00:00Z');
    });";
    let host = TestHost::new();
    let code = load_main(main, &host).await;
    let outcome = code.run(job("j", attempt(json!({}), json!({})))).await;
    let until_ms = 4_102_444_800_000;
    assert_eq!(outcome, Outcome::Suspended { until_ms });
    let said = host.said();
    assert!((4..=8).contains(&said.len()), "{said:?}");
    assert_eq!(said[0], "Message(\"begun\")");
    let [last, sleep] = &said[said.len() - 2..] else {
        panic!("{said:?}")
    };
    assert_eq!(last, "Message(\"last\")");
    assert!(sleep.starts_with("Sleep"), "{said:?}");
}

#[tokio::test]
async fn the_signal_fires_while_the_job_waits() {
    let main = "Parse.Cloud.job('j', async ({ signal, message }) => {
        await message('begun');
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        await message('tidied up');
        throw signal.reason;
    });";
    let host = TestHost::new();
    let code = load_main(main, &host).await;
    let (run, control) = controlled(job("j", attempt(json!({}), json!({}))));
    let run = spawn(&code, run);
    host.arrived(1).await;
    control.abort.cancel();
    let outcome = run.await.unwrap();
    let is_told =
        matches!(&outcome, Outcome::Threw { message, .. } if message.contains("is to end"));
    assert!(is_told, "{outcome:?}");
    assert_eq!(host.said().len(), 2);
    // Nor is it too late before the job has begun.
    let code = one_isolate(&host).await;
    let (run, control) = controlled(job("warned", Value::Null));
    control.abort.cancel();
    assert_eq!(code.run(run).await, Outcome::Returned(json!("I see")));
}

#[tokio::test]
async fn a_killed_job_ends_at_once_whatever_it_does() {
    let _alone = ALONE.lock().await;
    for name in ["loop", "native", "gate"] {
        let host = TestHost::new();
        let code = one_isolate(&host).await;
        let own = isolates(&code).await[0];
        let (run, control) = controlled(job(name, Value::Null));
        let run = spawn(&code, run);
        host.arrived(1).await;
        let began = Instant::now();
        control.kill.cancel();
        assert_eq!(run.await.unwrap(), Outcome::Killed, "{name}");
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        until("its process has ended", || !exists(own)).await;
        let outcome = call(&code, "touched", Value::Null).await;
        assert_eq!(outcome, Outcome::Returned(json!(0)), "others go on");
    }
}

#[tokio::test]
async fn what_is_killed_before_it_begins_never_does() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let (run, control) = controlled(job("quick", Value::Null));
    control.kill.cancel();
    assert!(matches!(
        code.run(run).await,
        Outcome::Killed | Outcome::Returned(_)
    ));
    // A function is taken out of its process, and its neighbours are not harmed.
    let neighbour = spawn(&code, crate::support::function("gate", Value::Null));
    host.arrived(1).await;
    let (run, control) = controlled(crate::support::function("gate", Value::Null));
    let run = spawn(&code, run);
    host.arrived(1).await;
    control.kill.cancel();
    assert_eq!(run.await.unwrap(), Outcome::Killed);
    host.gate.add_permits(2);
    assert!(matches!(neighbour.await.unwrap(), Outcome::Returned(_)));
}

/// Whether it is tried again is its worker's to decide: the attempt must count.
#[tokio::test]
async fn a_job_whose_process_dies_is_not_begun_again() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let own = isolates(&code).await[0];
    let run = spawn(&code, job("gate", Value::Null));
    host.arrived(1).await;
    crate::support::signal(own, Signal::SIGKILL);
    let reason = "the process that ran it was ended by signal SIGKILL";
    assert_eq!(
        run.await.unwrap(),
        Outcome::Crashed {
            reason: reason.into()
        }
    );
    assert_eq!(host.paths(), ["gate"]);
}

#[tokio::test]
async fn lines_are_heard_while_the_job_runs() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let (sender, mut lines) = mpsc::channel(100);
    let run = |n: u32, logs| Run {
        control: Some(Control {
            logs: Some(logs),
            ..Control::default()
        }),
        ..job("talks", json!(n))
    };
    let running = spawn(&code, run(2, sender));
    let heard: [LogLine; 2] = [lines.recv().await.unwrap(), lines.recv().await.unwrap()];
    assert_eq!(
        heard.each_ref().map(|line| (line.level, &*line.text)),
        [("info", "line 0"), ("error", "line 1")]
    );
    assert!(heard[1].at_ms >= heard[0].at_ms && heard[0].at_ms > 1_700_000_000_000);
    assert!(!running.is_finished());
    host.gate.add_permits(1);
    running.await.unwrap();
    assert_eq!(lines.recv().await.unwrap().text, "last");
    assert!(
        lines.recv().await.is_none(),
        "the channel ends with the run"
    );
    // Who reads too slowly is told how much is missing.
    let (sender, mut lines) = mpsc::channel(10);
    host.gate.add_permits(1);
    code.run(run(50, sender)).await;
    let heard: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
    assert_eq!(heard.len(), 10);
    assert!(
        heard[9].text.starts_with("42 lines were dropped"),
        "{:?}",
        heard[9]
    );
}

#[tokio::test]
async fn the_next_job_gets_the_process_of_one_that_ended_cleanly() {
    let _alone = ALONE.lock().await;
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let returned = |n: u32| Outcome::Returned(json!(n));
    assert_eq!(code.run(job("quick", Value::Null)).await, returned(1));
    assert!(matches!(
        code.run(job("throws", Value::Null)).await,
        Outcome::Threw { .. }
    ));
    assert_eq!(
        code.run(job("quick", Value::Null)).await,
        returned(3),
        "as functions share their module"
    );
    assert_eq!(
        call(&code, "touched", Value::Null).await,
        returned(0),
        "and never with functions"
    );
    // While one runs nobody else is in its process.
    let first = spawn(&code, job("gate", Value::Null));
    host.arrived(1).await;
    assert_eq!(code.run(job("quick", Value::Null)).await, returned(1));
    host.gate.add_permits(1);
    assert_eq!(first.await.unwrap(), returned(4));
    // Not of one that had to be ended.
    let over = limited("gate", Duration::from_millis(100));
    let over = Run {
        handler: job("gate", Value::Null).handler,
        ..over
    };
    assert!(matches!(code.run(over).await, Outcome::TimedOut { .. }));
    // Nobody asks for a while: one isolate is enough.
    while isolates(&code).await.len() != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A process that a job left full of data is not given to the next.
#[tokio::test]
async fn a_process_that_holds_much_is_not_used_again() {
    let host = TestHost::new();
    let code = one_isolate(&host).await;
    let own = isolates(&code).await[0];
    assert_eq!(
        code.run(job("hungry", Value::Null)).await,
        Outcome::Returned(json!(1))
    );
    until("its process has ended", || !exists(own)).await;
    assert_eq!(
        code.run(job("quick", Value::Null)).await,
        Outcome::Returned(json!(1))
    );
}

#[tokio::test]
async fn jobs_schedules_and_workflows_are_registered() {
    let main = "Parse.Cloud.job('plain', () => {});
        Parse.Cloud.job('report', { retries: 5, backoff: { initial: 10 }, timeout: 60000, concurrency: 2, keyConcurrency: 1, description: 'd' }, () => 1);
        Parse.Cloud.job('after', () => 1, { retries: 0 });
        Parse.Cloud.schedule('nightly', { daily: '02:00', timezone: 'Europe/Berlin', params: { deep: true }, ends: new Date(0) }, 'report');
        Parse.Cloud.schedule('tick', { every: '10m' }, (request) => request.schedule.name);
        Parse.Cloud.workflow('chain', ['plain', 'report']);
        Parse.Cloud.workflow('graph', { nodes: { a: { job: 'plain' }, b: { job: 'report', after: ['a'] } }, onFailure: 'stop' });";
    let code = load_main(main, &TestHost::new()).await;
    let manifest = code.manifest();
    let jobs: Vec<_> = manifest.jobs.iter().map(|job| &*job.name).collect();
    assert_eq!(jobs, ["plain", "report", "after", "schedule:tick"]);
    assert_eq!(manifest.jobs[0].options, json!({}));
    let options = json!({"retries": 5, "backoff": {"initial": 10}, "timeout": 60000, "concurrency": 2, "keyConcurrency": 1, "description": "d"});
    assert_eq!(manifest.jobs[1].options, options);
    assert_eq!(manifest.jobs[2].options, json!({"retries": 0}));
    let [nightly, tick] = &manifest.schedules[..] else {
        panic!("{:?}", manifest.schedules)
    };
    let options = json!({"daily": "02:00", "timezone": "Europe/Berlin", "params": {"deep": true}, "ends": "1970-01-01T00:00:00.000Z"});
    assert_eq!(
        (&*nightly.name, &*nightly.job, &nightly.options),
        ("nightly", "report", &options)
    );
    assert_eq!(
        (&nightly.params, &tick.params),
        (&json!({"deep": true}), &json!({}))
    );
    assert_eq!(&*tick.job, "schedule:tick");
    assert_eq!(manifest.workflows[0].graph, json!(["plain", "report"]));
    assert_eq!(
        manifest.workflows[1].graph["nodes"]["b"]["after"],
        json!(["a"])
    );
    let outcome = code
        .run(job("schedule:tick", attempt(json!({}), json!({}))))
        .await;
    assert_eq!(outcome, Outcome::Returned(json!("s")));
    let wrong = "Parse.Cloud.schedule('nightly', { daily: '02:00' }, 'nowhere')";
    let project = crate::support::Project::new(&[("cloud/main.js", wrong)]);
    let bundle = tidegate_cloud_code::bundle(&project.path).await.unwrap();
    let host = Arc::new(crate::support::Shared(TestHost::new()));
    let error = CloudCode::load(&real_config(), bundle, host)
        .await
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("schedule nightly: there is no job nowhere."),
        "{error}"
    );
}

#[tokio::test]
async fn code_starts_jobs_and_workflows_with_options() {
    let main = "Parse.Cloud.job('j', async () => {
        await Parse.Cloud.startJob('report', { n: 1 });
        await Parse.Cloud.startJob('report', { n: 1 }, { runAt: new Date(0), after: ['R000000001'] });
        await Parse.Cloud.startWorkflow('chain', undefined, { priority: 5 });
        await Parse.Cloud.cancelJob('R000000001');
    });";
    let host = TestHost::new();
    let code = load_main(main, &host).await;
    let run = Run {
        soft_deadline: LONG,
        ..job("j", attempt(json!({}), json!({})))
    };
    assert!(matches!(code.run(run).await, Outcome::Returned(_)));
    let calls = host.calls.lock().unwrap();
    let calls: Vec<_> = calls
        .iter()
        .map(|(_, call)| (&*call.path, call.body.clone(), call.use_master_key))
        .collect();
    let options = json!({"runAt": "1970-01-01T00:00:00.000Z", "after": ["R000000001"]});
    let expected = [
        ("jobs/report", json!({"n": 1}), true),
        ("jobs/report", json!({"n": 1, "_jobOptions": options}), true),
        (
            "workflows/chain",
            json!({"_jobOptions": {"priority": 5}}),
            true,
        ),
        ("cloud_code/runs/R000000001/cancel", json!({}), true),
    ];
    assert_eq!(calls, expected);
}
