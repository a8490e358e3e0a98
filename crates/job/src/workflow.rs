//! Graphs of jobs: what a workflow runs, after what, and what becomes of a failure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fields::{Fields, kind};
use crate::options::{MAX_NAME_CHARS, check_name};
use crate::start::params_text;
use crate::{Invalid, OnFailure, StartOptions, near, order};

/// Nodes of a graph: more is data, and belongs into a job's own loop.
pub const MAX_NODES: usize = 1000;

/// What a workflow does when a node fails for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// What needs it is skipped, and the workflow fails.
    #[default]
    Stop,
    /// What needs it goes on with the result null.
    Continue,
    /// What has not begun is skipped; then the compensations of what had succeeded run, the last one first.
    Compensate,
}

/// One job of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub job: String,
    /// Over the workflow's own params, name by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Names of the nodes that it needs; sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// None: as the workflow says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// The job that undoes this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<String>,
    #[serde(default)]
    pub options: StartOptions,
}

/// A graph that has been checked: no cycle, no unknown node, 1 to [`MAX_NODES`] nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Graph {
    pub nodes: BTreeMap<String, Node>,
    #[serde(default)]
    pub on_failure: Policy,
}

/// A workflow that a release registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowDefinition {
    pub name: String,
    pub graph: Graph,
}

impl Graph {
    /// Reads `{ nodes, onFailure }`, or an array of job names and nodes, which is a chain.
    ///
    /// # Errors
    /// What is wrong, with the node's name; a cycle is printed as `a → b → a`.
    pub fn parse(value: &Value) -> Result<Graph, Invalid> {
        let graph = match value {
            Value::Array(items) => chain(items)?,
            value => object(value)?,
        };
        graph.check()?;
        Ok(graph)
    }

    /// Node names, each after those that it needs.
    pub fn ordered(&self) -> Vec<&str> {
        order::topological(&self.edges()).expect("a graph is checked when it is read")
    }

    /// What becomes of those that need node `name` when it does not succeed.
    pub fn on_failure_of(&self, name: &str) -> OnFailure {
        let own = self.nodes.get(name).and_then(|node| node.on_failure);
        own.unwrap_or(match self.on_failure {
            Policy::Continue => OnFailure::Continue,
            Policy::Stop | Policy::Compensate => OnFailure::Stop,
        })
    }

    /// Every job that it names.
    pub fn jobs(&self) -> BTreeSet<&str> {
        let all = self.nodes.values();
        all.flat_map(|node| [Some(node.job.as_str()), node.compensate.as_deref()])
            .flatten()
            .collect()
    }

    /// Checks that every job it names is in `known`.
    pub fn check_jobs<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> Result<(), Invalid> {
        let known: BTreeSet<&str> = known.into_iter().collect();
        for (name, node) in &self.nodes {
            let jobs = [Some(&node.job), node.compensate.as_ref()];
            let unknown = jobs
                .into_iter()
                .flatten()
                .find(|job| !known.contains(job.as_str()));
            if let Some(job) = unknown {
                let hint = near::hint(job, known.iter().copied());
                return Err(Invalid(format!(
                    "node {name:?} needs job {job:?}, which does not exist{hint}"
                )));
            }
        }
        Ok(())
    }

    fn edges(&self) -> BTreeMap<&str, Vec<&str>> {
        self.nodes
            .iter()
            .map(|(name, node)| {
                (
                    name.as_str(),
                    node.after.iter().map(String::as_str).collect(),
                )
            })
            .collect()
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.nodes.is_empty() {
            return Err(Invalid("a workflow needs at least one node".to_owned()));
        }
        if self.nodes.len() > MAX_NODES {
            return Err(Invalid(format!(
                "a workflow has {MAX_NODES} nodes at most, this one has {}: let one job work through a list",
                self.nodes.len()
            )));
        }
        for (name, node) in &self.nodes {
            let unknown = node
                .after
                .iter()
                .find(|needed| !self.nodes.contains_key(*needed));
            if let Some(needed) = unknown {
                let hint = near::hint(needed, self.nodes.keys().map(String::as_str));
                return Err(Invalid(format!(
                    "node {name:?} is after {needed:?}, which does not exist{hint}"
                )));
            }
        }
        match order::topological(&self.edges()) {
            Ok(_) => Ok(()),
            Err(cycle) => Err(Invalid(format!("the workflow has a cycle: {cycle}"))),
        }
    }
}

fn object(value: &Value) -> Result<Graph, Invalid> {
    let fields = Fields::new("a workflow", value, &["nodes", "onFailure"])?;
    let choices = [
        ("stop", Policy::Stop),
        ("continue", Policy::Continue),
        ("compensate", Policy::Compensate),
    ];
    let on_failure = fields.choice("onFailure", &choices)?.unwrap_or_default();
    let nodes = match fields.get("nodes") {
        Some(Value::Object(nodes)) => nodes,
        _ => return Err(fields.wrong("nodes", "an object of nodes by name")),
    };
    let nodes = nodes.iter().map(|(name, value)| {
        check_name("node", name)?;
        Ok((name.clone(), node(name, value)?))
    });
    Ok(Graph {
        nodes: nodes.collect::<Result<_, Invalid>>()?,
        on_failure,
    })
}

/// Each item after the one before it. A node is named after its job; the second of a job is `job-2`.
fn chain(items: &[Value]) -> Result<Graph, Invalid> {
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    let mut previous: Option<String> = None;
    for (index, item) in items.iter().enumerate() {
        let place = format!("{}", index + 1);
        let mut node = node(&place, item)?;
        if !node.after.is_empty() {
            return Err(Invalid(format!(
                "node {place} of a chain has `after`, but a chain runs in its own order: write nodes by name instead"
            )));
        }
        let mut name = node.job.clone();
        let mut times = 1;
        while nodes.contains_key(&name) {
            times += 1;
            name = format!("{}-{times}", node.job);
        }
        node.after.extend(previous.replace(name.clone()));
        nodes.insert(name, node);
    }
    Ok(Graph {
        nodes,
        on_failure: Policy::Stop,
    })
}

fn node(name: &str, value: &Value) -> Result<Node, Invalid> {
    let what = format!("node {name:?}");
    let by_name = serde_json::json!({ "job": value });
    let value = if value.is_string() { &by_name } else { value };
    let known = [
        "job",
        "params",
        "after",
        "onFailure",
        "compensate",
        "options",
    ];
    let fields = Fields::new(&what, value, &known)?;
    let job = fields.text("job", MAX_NAME_CHARS)?;
    let params = fields
        .get("params")
        .cloned()
        .unwrap_or_else(|| Map::new().into());
    params_text(&params).map_err(|Invalid(text)| Invalid(format!("{what}: {text}")))?;
    let Value::Object(params) = params else {
        return Err(fields.wrong("params", &format!("an object, not {}", kind(&params))));
    };
    Ok(Node {
        job: job.ok_or_else(|| Invalid(format!("{what} needs a job, by its name")))?,
        params,
        after: names(&fields)?,
        on_failure: fields.choice("onFailure", OnFailure::CHOICES)?,
        compensate: fields.text("compensate", MAX_NAME_CHARS)?,
        options: options(&what, &fields)?,
    })
}

fn names(fields: &Fields<'_>) -> Result<Vec<String>, Invalid> {
    let Some(value) = fields.get("after") else {
        return Ok(Vec::new());
    };
    let wrong = || fields.wrong("after", "the name of a node, or an array of them");
    let items = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(items) => items,
        _ => return Err(wrong()),
    };
    let names = items.iter().map(|item| item.as_str().map(str::to_owned));
    let names: BTreeSet<String> = names.collect::<Option<_>>().ok_or_else(wrong)?;
    Ok(names.into_iter().collect())
}

/// A node begins when the graph says so, and once.
fn options(what: &str, fields: &Fields<'_>) -> Result<StartOptions, Invalid> {
    let known = [
        "retries",
        "backoff",
        "timeout",
        "priority",
        "concurrencyKey",
    ];
    match fields.get("options") {
        None => Ok(StartOptions::default()),
        Some(value) => StartOptions::parse_known(&format!("the options of {what}"), value, &known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(value: Value) -> String {
        Graph::parse(&value).unwrap_err().to_string()
    }

    #[test]
    fn an_array_is_a_chain() {
        let graph =
            Graph::parse(&json!(["fetch", { "job": "load", "params": { "n": 1 } }, "fetch"]))
                .unwrap();
        assert_eq!(graph.ordered(), ["fetch", "load", "fetch-2"]);
        assert_eq!(graph.nodes["load"].after, ["fetch"]);
        assert_eq!(graph.nodes["fetch-2"].after, ["load"]);
        assert_eq!(graph.nodes["load"].params["n"], 1);
        assert!(
            error(json!([{ "job": "a", "after": "b" }])).contains("a chain runs in its own order")
        );
    }

    #[test]
    fn an_object_is_read_and_written_back() {
        let value = json!({ "onFailure": "compensate", "nodes": {
            "b": { "job": "two", "after": ["a", "a"], "onFailure": "continue", "options": { "priority": 5 } },
            "a": { "job": "one", "compensate": "undo" },
        } });
        let graph = Graph::parse(&value).unwrap();
        assert_eq!(graph.ordered(), ["a", "b"]);
        assert_eq!(graph.nodes["b"].after, ["a"]);
        assert_eq!(graph.on_failure_of("a"), OnFailure::Stop);
        assert_eq!(graph.on_failure_of("b"), OnFailure::Continue);
        assert_eq!(
            graph.jobs().into_iter().collect::<Vec<_>>(),
            ["one", "two", "undo"]
        );
        let stored = serde_json::to_value(&graph).unwrap();
        assert_eq!(serde_json::from_value::<Graph>(stored).unwrap(), graph);
        graph.check_jobs(["one", "two", "undo"]).unwrap();
        let found = graph
            .check_jobs(["one", "two", "undu"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            found,
            "node \"a\" needs job \"undo\", which does not exist; did you mean \"undu\"?"
        );
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_reason() {
        let node = |after: &[&str]| json!({ "job": "j", "after": after });
        let many: Map<String, Value> = (0..1001).map(|n| (format!("n{n}"), node(&[]))).collect();
        let wrong = [
            (json!([]), "a workflow needs at least one node"),
            (json!({ "nodes": {} }), "a workflow needs at least one node"),
            (
                json!({}),
                "nodes of a workflow must be an object of nodes by name",
            ),
            (json!("x"), "a workflow must be an object, not a string"),
            (
                json!({ "nodes": many }),
                "a workflow has 1000 nodes at most, this one has 1001",
            ),
            (
                json!({ "nodes": { "a": node(&["b"]), "b": node(&["a"]) } }),
                "the workflow has a cycle: a → b → a",
            ),
            (json!({ "nodes": { "a": node(&["a"]) } }), "a → a"),
            (
                json!({ "nodes": { "fetch": node(&[]), "b": node(&["fetsh"]) } }),
                "node \"b\" is after \"fetsh\", which does not exist; did you mean \"fetch\"?",
            ),
            (json!({ "nodes": { "a": {} } }), "node \"a\" needs a job"),
            (
                json!({ "nodes": { "a": { "job": "j", "options": { "runAt": 5 } } } }),
                "unknown field \"runAt\"",
            ),
            (
                json!({ "nodes": { "a": { "job": "j", "params": [] } } }),
                "params must be an object, not an array",
            ),
            (
                json!({ "nodes": { "a": { "job": "j", "onFailure": "compensate" } } }),
                "\"stop\" or \"continue\"",
            ),
            (
                json!({ "nodes": { "a": node(&[]) }, "onfailure": "stop" }),
                "did you mean \"onFailure\"?",
            ),
            (
                json!({ "nodes": { "a\n": node(&[]) } }),
                "the name of a node",
            ),
        ];
        for (value, expected) in wrong {
            let found = error(value);
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }
}
