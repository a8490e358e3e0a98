//! Measurements, made by hand: `cargo test -p tidegate-cloud-code --test main -- --ignored --nocapture measure`.
//!
//! Nothing is asserted about time. CPU time is this process's and its isolates' together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_cloud_code::{CloudCode, Config, Handler, Run};
use tidegate_event::{Trigger, TriggerKind};

use crate::support::{TestHost, config, function, isolates, load_with};

const SOURCE: &str = "define('hello', () => 'hi'); job('idle', () => {}); trigger('afterSave', 'Order', () => {});
    define('call', (_, run) => run.host({ kind: 'rest', path: 'echo', body: { a: 1 } }).then((answer) => answer.status));";

/// CPU time of this process and of `pids`, by the kernel's fine clocks.
fn cpu(pids: &[i32]) -> Duration {
    let of = |clock| {
        let time = nix::time::clock_gettime(clock).unwrap();
        Duration::new(time.tv_sec() as u64, time.tv_nsec() as u32)
    };
    let own = of(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let clocks = pids
        .iter()
        .filter_map(|&pid| nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).ok());
    clocks.map(of).sum::<Duration>() + own
}

async fn measure(what: &str, code: &Arc<CloudCode>, run: Run, count: usize, concurrency: usize) {
    let pids = isolates(code).await;
    let (cpu_before, own_before, began) = (cpu(&pids), cpu(&[]), Instant::now());
    let lanes: Vec<_> = (0..concurrency)
        .map(|_| {
            let (code, run) = (code.clone(), run.clone());
            tokio::spawn(async move {
                for _ in 0..count / concurrency {
                    code.run(run.clone()).await;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let (wall, used) = (began.elapsed(), cpu(&pids).saturating_sub(cpu_before));
    let in_isolates = used.saturating_sub(cpu(&[]).saturating_sub(own_before));
    let per_run = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{what:<40} concurrency {concurrency:>3}: {:>6.1} us CPU ({:.1} in isolates), {:>6.1} us wall, {count} runs in {wall:.2?}",
        per_run(used),
        per_run(in_isolates),
        per_run(wall)
    );
}

fn after_save() -> Run {
    let object = json!({"objectId": "abcdefghij", "createdAt": "2026-11-22T09:00:00.000Z", "updatedAt": "2026-11-22T09:00:00.000Z",
        "name": "a name of ordinary length", "price": 12.5, "tags": ["a", "b"], "owner": {"__type": "Pointer", "className": "_User", "objectId": "klmnopqrst"}});
    let request = json!({"triggerName": "afterSave", "className": "Order", "object": object, "original": null, "ops": {"price": 12.5},
        "user": null, "master": false, "headers": {}, "ip": "127.0.0.1", "context": {}, "requestId": "r", "source": "api", "eventId": "1-0.0-0", "attempt": 1});
    let trigger = Trigger::code(TriggerKind::AfterSave, "Order");
    Run {
        handler: Handler::Trigger(trigger),
        ..function("", request)
    }
}

async fn measure_all(what: &str, code: &Arc<CloudCode>) {
    let hello = function(
        "hello",
        json!({"params": {"a": 1}, "user": null, "master": false, "headers": {}, "ip": "127.0.0.1"}),
    );
    measure("warm-up", code, hello.clone(), 5_000, 16).await;
    for concurrency in [1, 4, 16, 64] {
        measure(
            &format!("{what} function"),
            code,
            hello.clone(),
            40_000,
            concurrency,
        )
        .await;
    }
    measure(
        &format!("{what} after-trigger"),
        code,
        after_save(),
        100_000,
        64,
    )
    .await;
    measure(
        &format!("{what} after-trigger"),
        code,
        after_save(),
        100_000,
        256,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_the_machine() {
    let began = Instant::now();
    let code = load_with(&config(), SOURCE, &TestHost::new())
        .await
        .unwrap();
    println!("load: {:.2?}", began.elapsed());
    measure_all("stand-in", &code).await;
    measure(
        "stand-in function with a host call",
        &code,
        function("call", Value::Null),
        20_000,
        16,
    )
    .await;
    let config = Config {
        isolation: tidegate_cloud_code::Isolation::PerRun,
        ..config()
    };
    let code = load_with(&config, SOURCE, &TestHost::new()).await.unwrap();
    measure(
        "stand-in function, a fork for each run",
        &code,
        function("hello", Value::Null),
        1_000,
        1,
    )
    .await;
}

/// The cheapest after-trigger, many times, for a profiler to look at. `BENCH_RUNTIME` names another build of the runtime
/// to compare with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_after_save() {
    let main = "Parse.Cloud.afterSave('Order', () => {});
        Parse.Cloud.afterSave('Item', async ({ object }) => { await object.get('price') });";
    let project = crate::support::Project::new(&[("cloud/main.js", main)]);
    let bundle = tidegate_cloud_code::bundle(&project.path).await.unwrap();
    let other = std::env::var("BENCH_RUNTIME").ok();
    let config = Config {
        isolates: 1,
        runtime: other.map(|path| std::fs::read_to_string(path).unwrap().into()),
        ..crate::parse::real_config()
    };
    let host = Arc::new(crate::support::Shared(TestHost::new()));
    let code = CloudCode::load(&config, bundle, host).await.unwrap();
    println!("isolate {:?}", isolates(&code).await);
    measure("warm-up", &code, after_save(), 5_000, 64).await;
    for _ in 0..5 {
        measure("after-trigger", &code, after_save(), 40_000, 64).await;
    }
    let mut reads = after_save();
    reads.handler = Handler::Trigger(Trigger::code(TriggerKind::AfterSave, "Item"));
    measure(
        "after-trigger that reads and awaits",
        &code,
        reads,
        40_000,
        64,
    )
    .await;
}

/// The cheapest job, one run a time and many at once: what a process of its own costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_jobs() {
    let main = "Parse.Cloud.job('idle', () => {});";
    let project = crate::support::Project::new(&[("cloud/main.js", main)]);
    let bundle = tidegate_cloud_code::bundle(&project.path).await.unwrap();
    let host = Arc::new(crate::support::Shared(TestHost::new()));
    let code = CloudCode::load(&crate::parse::real_config(), bundle, host)
        .await
        .unwrap();
    let request = json!({"jobName": "idle", "jobId": "R000000001", "params": {}, "attempt": 1, "maxAttempts": 4});
    let run = Run {
        handler: Handler::Job("idle".into()),
        ..function("", request)
    };
    measure("warm-up", &code, run.clone(), 200, 4).await;
    for concurrency in [1, 4, 16] {
        let began = cpu_of_children();
        measure("job", &code, run.clone(), 2_000, concurrency).await;
        let children = cpu_of_children().saturating_sub(began);
        println!(
            "  ended processes: {:.1} us CPU a run",
            children.as_secs_f64() * 1e6 / 2_000.0
        );
    }
}

/// CPU time of processes that have ended and been waited for.
fn cpu_of_children() -> Duration {
    let usage =
        nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    let of = |time: nix::sys::time::TimeVal| {
        Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)
    };
    of(usage.user_time()) + of(usage.system_time())
}

fn pss_kib(pids: &[i32]) -> u64 {
    let of = |pid: &i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_parse() {
    let main = "Parse.Cloud.define('hello', () => 'hi'); Parse.Cloud.afterSave('Order', () => {});
        Parse.Cloud.beforeSave('Order', (request) => { request.object.set('total', request.object.get('price') * 2) });
        Parse.Cloud.define('query', () => new Parse.Query('Order').find({ useMasterKey: true }).then((list) => list.length));";
    let project = crate::support::Project::new(&[("cloud/main.js", main)]);
    let bundle = tidegate_cloud_code::bundle(&project.path).await.unwrap();
    let config = crate::parse::real_config();
    for what in ["cold", "from bytecode"] {
        let began = Instant::now();
        let host = Arc::new(crate::support::Shared(TestHost::new()));
        let code = CloudCode::load(&config, bundle.clone(), host)
            .await
            .unwrap();
        println!(
            "load {what}: {:.2?}, PSS {} KiB of {} processes",
            began.elapsed(),
            pss_kib(&code.pids().await),
            code.pids().await.len()
        );
    }
    let code = CloudCode::load(
        &config,
        bundle,
        Arc::new(crate::support::Shared(TestHost::new())),
    )
    .await
    .unwrap();
    measure_all("Parse", &code).await;
    let mut before = after_save();
    before.request["triggerName"] = json!("beforeSave");
    before.handler = Handler::Trigger(Trigger::code(TriggerKind::BeforeSave, "Order"));
    measure(
        "Parse before-trigger with get and set",
        &code,
        before,
        20_000,
        16,
    )
    .await;
    measure(
        "Parse function with a query",
        &code,
        function("query", json!({"params": {}})),
        10_000,
        16,
    )
    .await;
    println!("PSS after all that: {} KiB", pss_kib(&code.pids().await));
}
