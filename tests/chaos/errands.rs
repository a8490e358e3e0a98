//! The jobs of the storm: errands that a program asks for, each under a key of its own, and a tick of each second.
//!
//! An errand writes a row in each of two steps and counts once more after them; a tick writes a row and counts. Whatever
//! is killed meanwhile, each has its rows and its count once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::fleet::Api;
use super::writers::Ledger;
use crate::system::{PATIENCE, breathe};

/// The schedule of each second.
pub const TICKS: &str = "ticks";

/// Between two starts: what two cores in a debug build keep up with beside the writes and the faults.
const PAUSE: Duration = Duration::from_millis(200);

/// What is counted in: several, so that not each waits for the one before.
pub const COUNTERS: usize = 8;

pub const CODE: &str = r#"
const master = { useMasterKey: true };
const count = async (counter) => {
  const tally = Parse.Object.fromJSON({ className: "JobTally", objectId: counter });
  tally.increment("n");
  await tally.save(null, master);
};
Parse.Cloud.job("errand", { retries: 1000, backoff: { initial: 20, max: 200 } }, async (request) => {
  const { key, number, counter } = request.params;
  const note = (step) => new Parse.Object("Errand").save({ key, step, run: request.jobId }, master);
  const first = await request.step("first", async () => (await note("first")).id);
  if (request.attempt === 1 && number % 17 === 0) throw new Error("not this time");
  await request.step("second", () => note("second"));
  await count(counter);
  return first;
});
Parse.Cloud.job("tick", { retries: 1000, backoff: { initial: 20, max: 200 } }, async ({ schedule, jobId }) => {
  const tick = new Parse.Object("Tick");
  await tick.save({ dueAt: schedule.dueAt.toISOString(), run: jobId }, master);
  await count("ticks");
});
Parse.Cloud.schedule("ticks", { every: "1s", missed: { all: 1000 }, overlap: "allow" }, "tick");
"#;

/// What the jobs write.
pub const TABLES: &str = r#"
create table "Errand" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                       _rperm text[], _wperm text[], key text, step text, run text);
create table "Tick" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                     _rperm text[], _wperm text[], "dueAt" text, run text);
create table "JobTally" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                         _rperm text[], _wperm text[], n float8);
insert into "_SCHEMA" values
  ('Errand', '{"className": "Errand", "fields": {"objectId": {"type": "String"}, "createdAt": {"type": "Date"},
    "updatedAt": {"type": "Date"}, "key": {"type": "String"}, "step": {"type": "String"}, "run": {"type": "String"}}}', true),
  ('Tick', '{"className": "Tick", "fields": {"objectId": {"type": "String"}, "createdAt": {"type": "Date"},
    "updatedAt": {"type": "Date"}, "dueAt": {"type": "String"}, "run": {"type": "String"}}}', true),
  ('JobTally', '{"className": "JobTally", "fields": {"objectId": {"type": "String"}, "createdAt": {"type": "Date"},
    "updatedAt": {"type": "Date"}, "n": {"type": "Number"}}}', true);
insert into "JobTally" select name, now(), now(), null, null, 0
  from (select 'ticks' as name union all select 'counter' || n from generate_series(0, 7) as n) as names;
"#;

/// Starts errands, one after the other; each is asked for until the server has said which run it is.
pub async fn start_errands(api: Api, stop: &AtomicBool, ledger: &Mutex<Ledger>) {
    for number in 0usize.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("errand{number:06}");
        let begun = Instant::now();
        let run = loop {
            match start(&api, &key, number).await {
                Some(run) => break run,
                None => breathe().await,
            }
            assert!(begun.elapsed() < PATIENCE * 2, "{key} cannot be started");
        };
        ledger.lock().unwrap().write_start(&key, &run);
        tokio::time::sleep(PAUSE).await;
    }
}

/// The run's id, when the server has acknowledged it.
async fn start(api: &Api, key: &str, number: usize) -> Option<String> {
    let counter = format!("counter{}", number % COUNTERS);
    let body = json!({
        "key": key, "number": number, "counter": counter, "_jobOptions": {"idempotencyKey": key},
    });
    let request = api.request(Method::POST, "/parse/jobs/errand").json(&body);
    let response = request.send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let run = response.headers().get("x-parse-job-status-id")?;
    Some(run.to_str().ok()?.to_owned())
}

/// Pauses the ticks, once all that were due before the calm have fired.
pub async fn pause_ticks(api: &Api) -> bool {
    let path = format!("/tidegate/v1/schedules/{TICKS}/pause");
    let paused = api.request(Method::POST, &path).send().await;
    paused.is_ok_and(|response| response.status().is_success())
}

/// Runs again what was quarantined, as an operator would: the storm killed its workers three times in a row.
pub async fn retry(api: &Api, run: &str) -> bool {
    let path = format!("/tidegate/v1/runs/{run}/retry");
    let retried = api
        .request(Method::POST, &path)
        .json(&json!({}))
        .send()
        .await;
    retried.is_ok_and(|response| response.status().is_success())
}
