//! Workflows, for people.

use serde_json::Value;
use tidegate_admin::WorkflowView;

use super::job_text::{OPEN, cell};
use super::output::{fields, plain, table};

pub fn workflows(lines: &[WorkflowView]) -> String {
    let row = |line: &WorkflowView| {
        vec![
            line.id.to_string(),
            line.name.clone(),
            line.state.as_str().to_owned(),
            format!("{} of {}", line.succeeded, line.nodes),
            line.failed.to_string(),
            format!("{:.0}", line.created_at),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let headings = [
        "WORKFLOW",
        "NAME",
        "STATE",
        "SUCCEEDED",
        "FAILED",
        "ASKED FOR",
    ];
    table(&headings, &rows, "no workflows")
}

/// One workflow with its nodes.
pub fn workflow(view: &WorkflowView) -> String {
    let mut text = fields(&[
        ("workflow", view.id.to_string()),
        ("name", view.name.clone()),
        ("state", view.state.as_str().to_owned()),
        ("asked for", format!("{:.3}", view.created_at)),
    ]);
    let row = |run: &Value| {
        let text = |name: &str| run[name].as_str().map(plain).unwrap_or_default();
        let node = match run["isCompensation"] == true {
            true => format!("{} (undone)", text("node")),
            false => text("node"),
        };
        let error = run["error"].as_str().map(str::to_owned);
        vec![
            node,
            text("run"),
            text("job"),
            text("state"),
            run["attempts"].to_string(),
            cell(error.as_ref()),
        ]
    };
    let rows: Vec<Vec<String>> = view
        .runs
        .as_array()
        .into_iter()
        .flatten()
        .map(row)
        .collect();
    let headings = ["NODE", "RUN", "JOB", "STATE", "ATTEMPTS", "SAYS"];
    text.push_str(&table(&headings, &rows, "no runs"));
    text
}

/// `fetch R000000001 running`, of each node that has begun.
pub fn node_states(view: &WorkflowView) -> Vec<String> {
    let text = |run: &Value, name: &str| run[name].as_str().map(plain).unwrap_or_default();
    let runs = view.runs.as_array().into_iter().flatten();
    let begun = runs.filter(|run| !OPEN.contains(&text(run, "state").as_str()));
    begun
        .map(|run| {
            format!(
                "{} {} {}",
                text(run, "node"),
                text(run, "run"),
                text(run, "state")
            )
        })
        .collect()
}
