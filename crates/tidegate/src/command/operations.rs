//! `tidegate operations`: replays and backfills under way.

use anyhow::Result;
use clap::{Args, Subcommand};
use tidegate_admin::{Command, Operation, Specification};

use super::output::{Output, fields, table};
use super::{Common, run};

#[derive(Debug, Args)]
pub struct OperationsArguments {
    #[command(subcommand)]
    command: OperationsCommand,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum OperationsCommand {
    /// List replays and backfills, the newest first
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one, and how far it is
    Show { id: u64 },
    /// Stop one until it is resumed
    Pause { id: u64 },
    /// Let a paused one go on, or a failed one try again
    Resume { id: u64 },
    /// End one; what it has put into the log is delivered
    Cancel { id: u64 },
    /// Set how many events a second it may put into the log
    Rate {
        id: u64,
        /// Events a second, or `none`
        #[arg(value_parser = rate)]
        rate: Rate,
    },
}

/// Events a second; None: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate(Option<u32>);

fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "none" => Ok(Rate(None)),
        text => text
            .parse()
            .map(|rate| Rate(Some(rate)))
            .map_err(|_| "give a number of events a second, or none".to_owned()),
    }
}

pub fn main(arguments: OperationsArguments) -> Result<()> {
    run(&arguments.common, async |admin, output: Output| {
        let operation = match arguments.command {
            OperationsCommand::List { limit } => {
                let operations = admin.operations(limit).await?;
                return output.data(&operations, |operations| listed(operations));
            }
            OperationsCommand::Show { id } => admin.operation(id).await?,
            OperationsCommand::Pause { id } => admin.command_operation(id, Command::Pause).await?,
            OperationsCommand::Resume { id } => {
                admin.command_operation(id, Command::Resume).await?
            }
            OperationsCommand::Cancel { id } => {
                admin.command_operation(id, Command::Cancel).await?
            }
            OperationsCommand::Rate { id, rate } => admin.set_operation_rate(id, rate.0).await?,
        };
        output.data(&operation, shown)
    })
}

fn listed(operations: &[Operation]) -> String {
    let row = |operation: &Operation| {
        vec![
            operation.id.to_string(),
            operation.kind.to_owned(),
            operation.state.as_str().to_owned(),
            count(operation),
            rate_text(operation),
            operation.created_at.clone(),
            what(operation),
        ]
    };
    let rows: Vec<Vec<String>> = operations.iter().map(row).collect();
    let headings = ["ID", "KIND", "STATE", "DONE", "RATE", "CREATED", "WHAT"];
    table(&headings, &rows, "no operations")
}

/// One operation, for people.
pub fn shown(operation: &Operation) -> String {
    let mut lines = vec![
        ("operation", operation.id.to_string()),
        ("kind", operation.kind.to_owned()),
        ("what", what(operation)),
        ("state", operation.state.as_str().to_owned()),
        ("done", count(operation)),
        ("appended", operation.appended.to_string()),
        ("rate", rate_text(operation)),
        ("created", operation.created_at.clone()),
        ("updated", operation.updated_at.clone()),
    ];
    if let Some(error) = &operation.error {
        lines.push(("error", error.clone()));
    }
    fields(&lines)
}

fn count(operation: &Operation) -> String {
    let total = operation
        .total
        .map_or_else(String::new, |total| format!(" of {total}"));
    format!("{}{total}", operation.done)
}

fn rate_text(operation: &Operation) -> String {
    operation
        .rate
        .map_or_else(|| "none".to_owned(), |rate| format!("{rate}/s"))
}

fn what(operation: &Operation) -> String {
    match &operation.specification {
        Specification::Backfill(backfill) => format!(
            "{}.{} for {}",
            backfill.schema,
            backfill.table,
            backfill.triggers.join(", ")
        ),
        Specification::Replay(replay) => {
            let mut parts = Vec::new();
            parts.extend(replay.dead.then(|| "dead letters".to_owned()));
            parts.extend(match replay.ids.as_slice() {
                [] => None,
                [id] => Some(id.to_string()),
                ids => Some(format!("{} events", ids.len())),
            });
            parts.extend(replay.class.as_ref().map(|class| format!("of {class}")));
            parts.extend(replay.since.as_ref().map(|time| format!("since {time}")));
            parts.extend(replay.until.as_ref().map(|time| format!("until {time}")));
            parts.extend(replay.from_lsn.map(|lsn| format!("from {lsn}")));
            parts.extend(replay.to_lsn.map(|lsn| format!("to {lsn}")));
            if !replay.triggers.is_empty() {
                parts.push(format!("for {}", replay.triggers.join(", ")));
            }
            if parts.is_empty() {
                parts.push("the whole log".to_owned());
            }
            parts.join(" ")
        }
    }
}
