//! `tidegate events`: looking at events, following what they led to, delivering them again.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{Args, Subcommand};
use tidegate_admin::{
    DeliveryLine, EventFilter, EventLine, Planned, ReplayPlan, ReplayRequest, ShownEvent,
};

use super::follow::follow;
use super::output::{Output, fields, plain, table};
use super::{Common, run, trace};

#[derive(Debug, Args)]
pub struct EventsArguments {
    #[command(subcommand)]
    command: EventsCommand,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List the latest events, and what became of their deliveries
    List(ListArguments),
    /// Show an event with its row, and each of its deliveries with errors and logs
    Show {
        /// An event id, a log offset, or CLASS/OBJECTID for an object's latest event
        id: String,
    },
    /// Show the whole chain of a row: from the request that began it to the last thing that a handler wrote
    Trace {
        /// An event id, a log offset, or CLASS/OBJECTID for an object's latest event
        id: String,
    },
    /// Deliver events again, to the triggers of the current release
    Replay(ReplayArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Of this class, such as Order, or table, such as billing.invoices
    #[arg(long)]
    class: Option<String>,
    /// With an outcome of this trigger, such as afterSave:Order
    #[arg(long)]
    trigger: Option<String>,
    /// With an outcome that is done, retry, dead, held or moved
    #[arg(long)]
    status: Option<String>,
    /// Committed since: 2026-11-25T10:00:00Z, 2026-11-25, or 15m ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Committed until
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what stands before this offset of the log
    #[arg(long, value_name = "OFFSET")]
    before: Option<u64>,
    /// How many
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

#[derive(Debug, Args)]
struct ReplayArguments {
    /// Event ids, log offsets, or CLASS/OBJECTID for an object's latest event
    #[arg(value_name = "ID")]
    events: Vec<String>,
    /// Of this class, such as Order, or table, such as billing.invoices
    #[arg(long)]
    class: Option<String>,
    /// For this trigger alone, such as afterSave:Order; repeatable
    #[arg(long = "trigger")]
    triggers: Vec<String>,
    /// Committed since: 2026-11-25T10:00:00Z, 2026-11-25, or 15m ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Committed until
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Committed from here on, such as 16/B374D848
    #[arg(long, value_name = "LSN")]
    from_lsn: Option<String>,
    /// Committed up to here
    #[arg(long, value_name = "LSN")]
    to_lsn: Option<String>,
    /// What happened to the row: insert, update or delete; repeatable
    #[arg(long = "change")]
    changes: Vec<String>,
    /// Dead letters alone
    #[arg(long)]
    dead: bool,
    /// The whole log
    #[arg(long)]
    all: bool,
    /// Most events a second
    #[arg(long)]
    rate: Option<u32>,
    /// Say what would be delivered, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
}

pub fn main(arguments: EventsArguments) -> Result<()> {
    run(
        &arguments.common,
        async |admin, output: Output| match arguments.command {
            EventsCommand::List(arguments) => {
                let filter = EventFilter {
                    class: arguments.class,
                    trigger: arguments.trigger,
                    status: arguments.status,
                    since: arguments.since,
                    until: arguments.until,
                    before: arguments.before,
                    limit: arguments.limit,
                };
                let lines = admin.list_events(&filter).await?;
                output.data(&lines, |lines| listed(lines))
            }
            EventsCommand::Show { id } => {
                let shown = admin.show_event(&id).await?;
                output.data(&shown, |shown| {
                    let entries: Vec<String> = shown.iter().map(entry).collect();
                    entries.join("\n")
                })
            }
            EventsCommand::Trace { id } => {
                output.data(&admin.trace_event(&id).await?, trace::shown)
            }
            EventsCommand::Replay(arguments) => {
                let (dry_run, detach) = (arguments.dry_run, arguments.detach);
                let request = request(arguments);
                if dry_run {
                    return output.data(&admin.plan_replay(&request).await?, planned);
                }
                let started = admin.replay(&request).await?;
                follow(&admin, started, detach, output).await
            }
        },
    )
}

fn request(arguments: ReplayArguments) -> ReplayRequest {
    ReplayRequest {
        events: arguments.events,
        class: arguments.class,
        triggers: arguments.triggers,
        since: arguments.since,
        until: arguments.until,
        from_lsn: arguments.from_lsn,
        to_lsn: arguments.to_lsn,
        changes: arguments.changes,
        dead: arguments.dead,
        all: arguments.all,
        rate: arguments.rate,
    }
}

/// `Order/x7Gk2aB1cD`
pub fn object(table: &str, key: &[Option<String>]) -> String {
    let values: Vec<String> = key
        .iter()
        .map(|value| plain(value.as_deref().unwrap_or("null")))
        .collect();
    match values.is_empty() {
        true => table.to_owned(),
        false => format!("{table}/{}", values.join(",")),
    }
}

/// `insert`, as JSON and the log write it.
pub fn word<T: serde::Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    json.trim_matches('"').to_owned()
}

fn listed(lines: &[EventLine]) -> String {
    let row = |line: &EventLine| {
        let source = match &line.redelivery {
            Some(redelivery) => word(&redelivery.kind),
            None => word(&line.source),
        };
        let deliveries: Vec<String> = line
            .deliveries
            .iter()
            .map(|delivery| format!("{} {}", delivery.trigger, delivery.status))
            .collect();
        vec![
            line.log_offset.to_string(),
            line.id.to_string(),
            line.committed_at.clone(),
            word(&line.change),
            object(&line.table, &line.key),
            source,
            deliveries.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let headings = [
        "OFFSET",
        "EVENT",
        "COMMITTED",
        "CHANGE",
        "OBJECT",
        "SOURCE",
        "DELIVERIES",
    ];
    table(&headings, &rows, "no events")
}

fn entry(shown: &ShownEvent) -> String {
    let ShownEvent { line, event } = shown;
    let context = &event.context;
    let mut lines = vec![
        ("offset", line.log_offset.to_string()),
        ("event", line.id.to_string()),
        ("committed", line.committed_at.clone()),
        (
            "change",
            format!("{} {}", word(&line.change), object(&line.table, &line.key)),
        ),
        ("source", word(&line.source)),
    ];
    if let Some(redelivery) = &line.redelivery {
        let of = redelivery
            .of
            .map_or_else(String::new, |of| format!(" of offset {of}"));
        let operation = redelivery
            .operation
            .map_or_else(String::new, |id| format!(", operation {id}"));
        lines.push((
            "stands here for",
            format!("{}{of}{operation}", word(&redelivery.kind)),
        ));
    }
    let optional = [
        ("request", &context.request_id),
        ("user", &context.user),
        ("trace", &context.trace_id),
    ];
    for (name, value) in optional {
        lines.extend(value.as_ref().map(|value| (name, plain(value))));
    }
    lines.extend(
        context
            .parent
            .map(|parent| ("caused by", parent.to_string())),
    );
    let mut text = fields(&lines);
    for (heading, row) in [("before", &event.old), ("after", &event.new)] {
        if let Some(row) = row {
            text.push_str(&format!("{heading}:\n{}", columns(row)));
        }
    }
    text + &deliveries(&line.deliveries)
}

fn columns(row: &BTreeMap<String, Option<String>>) -> String {
    let column = |(name, value): (&String, &Option<String>)| {
        let value = value.as_deref().map_or_else(|| "null".to_owned(), plain);
        format!("  {} = {value}\n", plain(name))
    };
    row.iter().map(column).collect()
}

fn deliveries(lines: &[DeliveryLine]) -> String {
    if lines.is_empty() {
        return "deliveries: none\n".to_owned();
    }
    let mut text = "deliveries:\n".to_owned();
    for line in lines {
        text.push_str(&format!("  {}\n", delivery(line)));
        for part in [&line.error, &line.logs].into_iter().flatten() {
            for said in part.lines() {
                text.push_str(&format!("    {}\n", plain(said)));
            }
        }
    }
    text
}

/// `afterSave:Order done, 1 attempt, 12.3 ms`
pub fn delivery(line: &DeliveryLine) -> String {
    let mut text = format!("{} {}", line.trigger, line.status);
    if line.attempts > 0 {
        let plural = if line.attempts == 1 { "" } else { "s" };
        text.push_str(&format!(", {} attempt{plural}", line.attempts));
    }
    if line.crashes > 0 {
        text.push_str(&format!(", crashed {} times", line.crashes));
    }
    if let Some(ms) = line.duration_ms {
        text.push_str(&format!(", {ms:.1} ms"));
    }
    text
}

fn planned(plan: &ReplayPlan) -> String {
    let row = |planned: &Planned| {
        vec![
            planned.log_offset.to_string(),
            planned.id.to_string(),
            word(&planned.change),
            object(&planned.table, &planned.key),
            planned.triggers.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = plan.first.iter().map(row).collect();
    let headings = ["OFFSET", "EVENT", "CHANGE", "OBJECT", "TRIGGERS"];
    let first = table(&headings, &rows, "nothing would be delivered");
    match plan.deliveries {
        0 => first,
        count => format!("{count} deliveries; the first events:\n{first}"),
    }
}
