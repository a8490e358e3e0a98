//! `tidegate triggers`: after-triggers, pausing them, running them over existing rows.

use anyhow::Result;
use clap::{Args, Subcommand};
use tidegate_admin::{BackfillPlan, BackfillRequest, TriggerLine};

use super::follow::follow;
use super::output::{Output, fields, table};
use super::{Common, run};

#[derive(Debug, Args)]
pub struct TriggersArguments {
    #[command(subcommand)]
    command: TriggersCommand,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum TriggersCommand {
    /// List after-triggers, and what stands in their way
    List,
    /// Let the deliveries of a trigger wait in the log
    Pause {
        /// Such as afterSave:Order
        trigger: String,
    },
    /// Let a paused trigger go on, first with what waits
    Resume {
        /// Such as afterSave:Order
        trigger: String,
    },
    /// Run after-save triggers over the existing rows of a class, merged with the changes that go on
    Backfill(BackfillArguments),
}

#[derive(Debug, Args)]
struct BackfillArguments {
    /// A class such as Order, or a table such as billing.invoices
    class: String,
    /// Only for this trigger, such as afterSave:Order; repeatable. Without it, for all of the class
    #[arg(long = "trigger")]
    triggers: Vec<String>,
    /// Rows that are read at once
    #[arg(long = "chunk", value_name = "ROWS")]
    chunk_rows: Option<u32>,
    /// Most events a second
    #[arg(long)]
    rate: Option<u32>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
}

pub fn main(arguments: TriggersArguments) -> Result<()> {
    run(
        &arguments.common,
        async |admin, output: Output| match arguments.command {
            TriggersCommand::List => {
                let lines = admin.list_triggers().await?;
                output.data(&lines, |lines| listed(lines))
            }
            TriggersCommand::Pause { trigger } => {
                let line = admin.pause_trigger(&trigger, &operator()).await?;
                output.data(&line, |line| listed(std::slice::from_ref(line)))
            }
            TriggersCommand::Resume { trigger } => {
                let line = admin.resume_trigger(&trigger).await?;
                output.data(&line, |line| listed(std::slice::from_ref(line)))
            }
            TriggersCommand::Backfill(arguments) => {
                let request = BackfillRequest {
                    class: arguments.class,
                    triggers: arguments.triggers,
                    chunk_rows: arguments.chunk_rows,
                    rate: arguments.rate,
                };
                if arguments.dry_run {
                    return output.data(&admin.plan_backfill(&request).await?, planned);
                }
                let started = admin.backfill(&request).await?;
                follow(&admin, started, arguments.detach, output).await
            }
        },
    )
}

/// Who asks, as the shell knows them.
pub(super) fn operator() -> String {
    std::env::var("USER").unwrap_or_else(|_| "command line".to_owned())
}

fn listed(lines: &[TriggerLine]) -> String {
    let row = |line: &TriggerLine| {
        let state = match (&line.paused_by, line.is_paused, line.is_registered) {
            (Some(by), true, _) => format!("paused by {by}"),
            (None, true, _) => "paused".to_owned(),
            (_, false, true) => "runs".to_owned(),
            (_, false, false) => "not registered".to_owned(),
        };
        vec![
            line.trigger.clone(),
            state,
            line.held.to_string(),
            line.retrying.to_string(),
            line.dead.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let headings = ["TRIGGER", "STATE", "HELD", "RETRYING", "DEAD"];
    table(&headings, &rows, "no after-triggers")
}

fn planned(plan: &BackfillPlan) -> String {
    fields(&[
        ("class", plan.class.clone()),
        ("triggers", plan.triggers.join(", ")),
        ("rows", plan.rows.to_string()),
        ("chunk", plan.chunk_rows.to_string()),
    ])
}
