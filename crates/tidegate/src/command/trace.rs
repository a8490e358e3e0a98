//! A chain as a tree, for people.

use tidegate_admin::{Trace, TracedEvent, TracedRun};

use super::events::{delivery, object, word};
use super::output::plain;

/// The request, and under it events, their deliveries, and what those wrote.
pub fn shown(trace: &Trace) -> String {
    let request = &trace.request;
    let mut first = format!("{} request", word(&request.source));
    for (name, value) in [
        ("", &request.request_id),
        ("user ", &request.user),
        ("trace ", &request.trace_id),
        ("release ", &request.release),
    ] {
        if let Some(value) = value {
            first.push_str(&format!(", {name}{}", plain(value)));
        }
    }
    if request.master {
        first.push_str(", master");
    }
    let mut text = format!("{first}\n");
    if let Some(lost) = trace.lost_parent {
        text.push_str(&format!(
            "… caused by event {lost}, which the log does not have any more\n"
        ));
    }
    write(&mut text, "", true, &event(&trace.root, trace));
    if trace.is_cut {
        text.push_str("… and more: the chain is cut here\n");
    }
    text
}

/// A line and what stands under it.
struct Node {
    line: String,
    children: Vec<Node>,
}

fn event(traced: &TracedEvent, trace: &Trace) -> Node {
    let line = &traced.event;
    let asked = if line.id == trace.asked { "  ◀" } else { "" };
    let runs = traced.runs.iter().map(|one| run(one, trace));
    let others = traced.others.iter().map(|other| event(other, trace));
    Node {
        line: format!(
            "{} {}  {}  {}  offset {}{asked}",
            word(&line.change),
            object(&line.table, &line.key),
            line.id,
            line.committed_at,
            line.log_offset
        ),
        children: runs.chain(others).collect(),
    }
}

fn run(traced: &TracedRun, trace: &Trace) -> Node {
    let mut line = delivery(&traced.delivery);
    if let Some(redelivery) = &traced.redelivery {
        line.push_str(&format!(
            ", {} at offset {}",
            word(&redelivery.kind),
            traced.log_offset
        ));
    }
    if let Some(error) = &traced.delivery.error {
        let first = error.lines().next().unwrap_or_default();
        line.push_str(&format!(": {}", plain(first)));
    }
    let effects = traced.effects.iter().map(|effect| Node {
        line: format!(
            "wrote {} {} (not captured)",
            effect.kind,
            object(&effect.class, std::slice::from_ref(&effect.object_id))
        ),
        children: Vec::new(),
    });
    let events = traced.events.iter().map(|caused| event(caused, trace));
    Node {
        line,
        children: effects.chain(events).collect(),
    }
}

fn write(text: &mut String, indent: &str, is_last: bool, node: &Node) {
    let (branch, below) = match is_last {
        true => ("└─ ", "   "),
        false => ("├─ ", "│  "),
    };
    text.push_str(&format!("{indent}{branch}{}\n", node.line));
    let indent = format!("{indent}{below}");
    for (place, child) in node.children.iter().enumerate() {
        write(text, &indent, place + 1 == node.children.len(), child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_drawn_with_its_branches() {
        let leaf = |line: &str| Node {
            line: line.into(),
            children: Vec::new(),
        };
        let tree = Node {
            line: "a".into(),
            children: vec![
                Node {
                    line: "b".into(),
                    children: vec![leaf("c")],
                },
                leaf("d"),
            ],
        };
        let mut text = String::new();
        write(&mut text, "", true, &tree);
        assert_eq!(text, "└─ a\n   ├─ b\n   │  └─ c\n   └─ d\n");
    }
}
