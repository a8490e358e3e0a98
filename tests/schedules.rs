//! Schedules as users make them, on a server that runs: each just runs, changes take effect at once, policies do what they
//! say, and whatever happens to schedulers, each due time fires once.
//!
//! Nothing here asserts how long something took. A schedule of each second is the beat that the order of events is
//! compared with; hours that nobody was there for are made by putting the row of a schedule back.

mod changes;
mod clocks;
mod kill_loop;
mod overlaps;
mod parse_rows;
mod sources;
mod steering;

use reqwest::Method;
use serde_json::{Value, json};

use crate::code::listener::{Held, Listener};
use crate::system::{APP_ID, MASTER_KEY, PATIENCE, System, breathe};

const ROLES: &str = "proxy,capture,scheduler,worker";

/// A job that writes down for which due time it ran, and one that the test holds: it ends when its request is answered.
const JOBS: &str = r#"
const note = async ({ schedule, params, jobId }) => {
  const ran = new Parse.Object("Ran");
  await ran.save({ schedule: schedule.name, dueAt: schedule.dueAt.toISOString(), params, run: jobId }, { useMasterKey: true });
};
Parse.Cloud.job("note", note);
Parse.Cloud.job("held", async ({ params, jobId, schedule }) => {
  await fetch(params.url, { method: "POST", body: `${jobId} ${schedule.dueAt.toISOString()}` });
});
"#;

async fn serving(main_js: &str) -> System {
    let mut system = System::prepare(&format!("{JOBS}{main_js}")).await;
    system.serve(ROLES);
    system
}

/// A request to `/tidegate/v1`.
async fn operate(system: &System, method: Method, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/tidegate/v1{path}", system.url());
    let mut request = reqwest::Client::new()
        .request(method, url)
        .header("X-Parse-Application-Id", APP_ID)
        .header("X-Parse-Master-Key", MASTER_KEY);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the server answers");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

/// A request to `/tidegate/v1` that must succeed.
#[track_caller]
fn succeeded((status, body): (u16, Value)) -> Value {
    assert!((200..300).contains(&status), "{status}: {body}");
    body
}

/// Makes a schedule over REST.
async fn create(system: &System, name: &str, job: &str, options: Value) -> Value {
    let body = json!({"name": name, "job": job, "options": options});
    succeeded(operate(system, Method::POST, "/schedules", body).await)
}

/// What became of the due times of a schedule, the latest first.
async fn history(system: &System, name: &str) -> Vec<Value> {
    let path = format!("/schedules/{name}/history?limit=1000");
    let body = succeeded(operate(system, Method::GET, &path, Value::Null).await);
    body["fires"].as_array().unwrap().clone()
}

/// Waits until so many due times of a schedule have a result like this; returns its history then, the first first.
async fn wait_for_fires(system: &System, name: &str, result: &str, count: usize) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let mut fires = history(system, name).await;
        fires.reverse();
        let like = fires.iter().filter(|fire| fire["result"] == result).count();
        if like >= count {
            return fires;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{like} of {count} are {result}: {fires:?}"
        );
        breathe().await;
    }
}

/// The results of fires, in their order.
fn results<'a>(fires: &'a [Value]) -> Vec<&'a str> {
    let result = |fire: &'a Value| fire["result"].as_str().expect("a fire has a result");
    fires.iter().map(result).collect()
}

/// Waits until so many runs of a schedule have written down that they ran.
async fn wait_for_runs(system: &System, schedule: &str, count: usize) -> Vec<Value> {
    system
        .wait_for_objects("Ran", json!({"schedule": schedule}), count)
        .await
}

/// Of a request of the job `held`: its run, and the due time that it is for.
fn held_for(held: &Held) -> (String, String) {
    let (run, due) = held.body.split_once(' ').expect("the job sends both");
    (run.to_owned(), due.to_owned())
}

async fn wait_for_state(system: &System, run: &str, state: &str) {
    system
        .wait_for_sql(&format!(
            "select state = '{state}' from tidegate.run where tidegate.run_name(id) = '{run}'"
        ))
        .await;
}

/// Waits for a run of the job `held`, and ends it.
async fn release(listener: &Listener) -> (String, String) {
    let held = listener.next().await;
    let told = held_for(&held);
    held.answer(200, "").await;
    told
}
