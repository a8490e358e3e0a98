//! Chains: what follows what, with which inputs, and what becomes of them when one fails.

use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::code::listener::Listener;

const FLOWS: &str = r#"
const note = (request, text) =>
  new Parse.Object("Note").save({ text, workflow: request.workflow.id }, { useMasterKey: true });
Parse.Cloud.job("give", async (request) => { await note(request, request.workflow.node); return request.params.value; });
Parse.Cloud.job("sum", async (request) => {
  await note(request, request.workflow.node);
  return Object.entries(request.inputs).sort().map(([name, value]) => `${name}=${value}`).join(" ");
});
Parse.Cloud.job("fail", { retries: 0 }, () => { throw new Error("broken"); });
Parse.Cloud.job("undo", (request) => note(request, `undo ${request.workflow.node} ${Object.values(request.inputs)[0]}`));

const first = (value, more) => ({ job: "give", params: { value }, ...more });
const three = (policy, more) => ({ onFailure: policy, nodes: {
  a: first(1, { compensate: "undo" }), b: first(2, { after: ["a"], compensate: "undo" }),
  bad: { job: "fail", after: ["b"], ...more }, last: { job: "sum", after: ["a", "bad"] } } });
Parse.Cloud.workflow("fan", { nodes: {
  a: first(1), b: first(2), c: first("three", { after: ["a"] }), end: { job: "sum", after: ["a", "b", "c"] } } });
Parse.Cloud.workflow("stop", three("stop"));
Parse.Cloud.workflow("continue", three("stop", { onFailure: "continue" }));
Parse.Cloud.workflow("compensate", three("compensate"));
"#;

async fn begin(system: &System, name: &str) -> String {
    let body = json!({"params": {"by": "test"}});
    let (status, started) = admin(system, Method::POST, &format!("workflows/{name}"), body).await;
    assert_eq!(status, 201, "{started}");
    started["id"].as_str().unwrap().to_owned()
}

/// Waits for its end; returns the state of each node, and what its jobs noted in order.
async fn ends(system: &System, id: &str, state: &str) -> (HashMap<String, Value>, Vec<String>) {
    let begun = Instant::now();
    let found = loop {
        let found = steer(system, Method::GET, &format!("workflows/{id}")).await;
        if !found["finishedAt"].is_null() {
            break found;
        }
        assert!(begun.elapsed() < PATIENCE, "{found:#}");
        breathe().await;
    };
    assert_eq!(found["state"], state, "{found:#}");
    let runs = found["runs"].as_array().unwrap().iter();
    let nodes = runs
        .filter(|run| run["isCompensation"] == false)
        .map(|run| {
            (
                run["node"].as_str().unwrap().to_owned(),
                run["state"].clone(),
            )
        });
    let notes = system.find("Note", json!({"workflow": id})).await;
    let text = |note: &Value| note["text"].as_str().unwrap().to_owned();
    (nodes.collect(), notes.iter().map(text).collect())
}

async fn run_of_node(system: &System, id: &str, node: &str) -> String {
    let found = steer(system, Method::GET, &format!("workflows/{id}")).await;
    let runs = found["runs"].as_array().unwrap();
    let run = runs.iter().find(|run| run["node"] == node).unwrap();
    run["run"].as_str().unwrap().to_owned()
}

async fn result(system: &System, id: &str, node: &str) -> Value {
    let run = run_of_node(system, id, node).await;
    shown(system, &run).await["result"].clone()
}

#[tokio::test]
async fn a_chain_goes_on_stops_or_is_undone() {
    let system = system(FLOWS).await;
    let mut flows = Vec::new();
    for name in ["fan", "stop", "continue", "compensate"] {
        flows.push(begin(&system, name).await);
    }
    let (nodes, notes) = ends(&system, &flows[0], "succeeded").await;
    assert!(
        nodes.values().all(|state| state == "succeeded"),
        "{nodes:?}"
    );
    assert_eq!(notes.last().unwrap(), "end");
    assert_eq!(result(&system, &flows[0], "end").await, "a=1 b=2 c=three");

    let (nodes, notes) = ends(&system, &flows[1], "failed").await;
    assert_eq!(
        (&nodes["bad"], &nodes["last"]),
        (&json!("failed"), &json!("skipped"))
    );
    assert_eq!(notes, ["a", "b"]);

    let (nodes, notes) = ends(&system, &flows[2], "succeeded").await;
    assert_eq!(
        (&nodes["bad"], &nodes["last"]),
        (&json!("failed"), &json!("succeeded"))
    );
    assert_eq!(notes, ["a", "b", "last"]);
    assert_eq!(result(&system, &flows[2], "last").await, "a=1 bad=null");

    let (nodes, notes) = ends(&system, &flows[3], "failed").await;
    assert_eq!(nodes["last"], "skipped");
    assert_eq!(notes, ["a", "b", "undo b 2", "undo a 1"]);
}

#[tokio::test]
async fn a_workflow_is_cancelled_as_a_whole_and_goes_on_where_it_failed() {
    let system = system(
        r#"
        const master = { useMasterKey: true };
        Parse.Cloud.job("give", () => 1);
        Parse.Cloud.job("forever", async () => { await new Parse.Object("Begun").save(null, master); await new Promise(() => {}); });
        Parse.Cloud.job("fragile", { retries: 0 }, async () => {
          if (!(await new Parse.Query("Switch").first(master))) throw new Error("not yet");
          return 2;
        });
        Parse.Cloud.job("sum", ({ inputs }) => inputs.a + inputs.b);
        Parse.Cloud.workflow("endless", { nodes: { a: "give", b: { job: "forever", after: ["a"] }, c: { job: "give", after: ["b"] } } });
        Parse.Cloud.workflow("fragile", { nodes: { a: "give", b: { job: "fragile", after: ["a"] }, c: { job: "sum", after: ["a", "b"] } } });
        "#,
    )
    .await;
    let endless = begin(&system, "endless").await;
    system.wait_for_objects("Begun", json!({}), 1).await;
    steer(
        &system,
        Method::POST,
        &format!("workflows/{endless}/cancel"),
    )
    .await;
    let (nodes, _) = ends(&system, &endless, "cancelled").await;
    let states = ["a", "b", "c"].map(|node| nodes[node].as_str().unwrap());
    assert_eq!(states, ["succeeded", "cancelled", "cancelled"]);

    let fragile = begin(&system, "fragile").await;
    ends(&system, &fragile, "failed").await;
    let reply = system
        .master(Method::POST, "classes/Switch", json!({}))
        .await;
    assert_eq!(reply.status, 201);
    let failed = run_of_node(&system, &fragile, "b").await;
    steer(&system, Method::POST, &format!("runs/{failed}/retry")).await;
    let (nodes, _) = ends(&system, &fragile, "succeeded").await;
    assert!(
        nodes.values().all(|state| state == "succeeded"),
        "{nodes:?}"
    );
    assert_eq!(result(&system, &fragile, "c").await, 3);
}

#[tokio::test]
async fn a_run_begins_after_those_that_it_names() {
    let system = system(
        r#"
        Parse.Cloud.job("call", async ({ params }) => (await fetch(params.url)).text());
        Parse.Cloud.job("fail", { retries: 0 }, () => { throw new Error("broken"); });
        Parse.Cloud.job("chain", async ({ params }) => {
          const one = await Parse.Cloud.startJob("call", { url: params.url });
          const bad = await Parse.Cloud.startJob("fail");
          const both = await Parse.Cloud.startJob("call", { url: params.url }, { after: [one] });
          const never = await Parse.Cloud.startJob("call", { url: params.url }, { after: [one, bad] });
          const anyway = await Parse.Cloud.startJob("call", { url: params.url }, { after: [both, bad], onFailure: "continue" });
          return { one, both, never, anyway };
        });
        "#,
    )
    .await;
    let listener = Listener::start().await;
    let chain = start(&system, "chain", json!({"url": listener.url("/")})).await;
    let made = succeeds(&system, &chain).await["result"].clone();
    let id = |name: &str| made[name].as_str().unwrap().to_owned();
    for name in ["one", "both", "anyway"] {
        let held = listener.next().await;
        reaches(&system, &id(name), "running").await;
        if name != "anyway" {
            reaches(&system, &id("anyway"), "waiting").await;
        }
        held.answer(200, name).await;
        assert_eq!(succeeds(&system, &id(name)).await["result"], name);
    }
    let never = reaches(&system, &id("never"), "skipped").await;
    assert_eq!(never["attempts"], 0);
    assert_eq!(status(&system, &id("never")).await["status"], "failed");
}

#[tokio::test]
async fn a_graph_that_cannot_be_is_refused_when_it_is_loaded() {
    for (graph, expected) in [
        (
            "{ nodes: { a: { job: 'x', after: ['b'] }, b: { job: 'x', after: ['a'] } } }",
            "a → b → a",
        ),
        ("{ nodes: { a: { job: 'x', after: ['z'] } } }", "\"z\""),
        ("{ nodes: { a: { job: 'y' } } }", "\"y\""),
        ("[]", "workflow \"w\""),
    ] {
        let main = format!("Parse.Cloud.job('x', () => {{}}); Parse.Cloud.workflow('w', {graph});");
        let system = System::prepare(&main).await;
        let mut server = system.spawn(ALL);
        assert_eq!(server.wait(), Some(1), "{graph}");
        let said = server.log();
        assert!(
            said.contains(&expected.replace('"', "\\\"")),
            "{expected}: {said}"
        );
    }
}
