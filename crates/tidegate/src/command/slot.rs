//! `tidegate slot`: the replication slot, and finding what it missed.

use anyhow::Result;
use clap::{Args, Subcommand};
use tidegate_admin::{GapLine, Resynced, SlotLine, TableLine};

use super::output::{Output, Progress, fields, table};
use super::{Common, run};

#[derive(Debug, Args)]
pub struct SlotArguments {
    #[command(subcommand)]
    command: SlotCommand,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum SlotCommand {
    /// Say how slot and log stand, and what was missed
    Status,
    /// Make a new slot after the old one was lost, and find the changes that were missed by comparing tables with the log
    Resync,
}

pub fn main(arguments: SlotArguments) -> Result<()> {
    run(
        &arguments.common,
        async |admin, output: Output| match arguments.command {
            SlotCommand::Status => output.data(&admin.slot_status().await?, status),
            SlotCommand::Resync => {
                let mut bar = Progress::start();
                let resynced = admin
                    .resync_slot(|progress| {
                        let rest = format!(
                            "{} of {} tables, {} events, at {}",
                            progress.tables_done, progress.tables, progress.events, progress.table
                        );
                        bar.show(
                            progress.tables_done as u64,
                            Some(progress.tables as u64),
                            &rest,
                        );
                    })
                    .await;
                bar.end();
                output.data(&resynced?, resync_shown)
            }
        },
    )
}

fn status(line: &SlotLine) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let mut text = fields(&[
        ("slot", line.slot.clone()),
        (
            "state",
            line.problem.clone().unwrap_or_else(|| "well".to_owned()),
        ),
        ("wal status", or_none(line.wal_status.clone())),
        (
            "followed by",
            or_none(line.active_pid.map(|pid| format!("backend {pid}"))),
        ),
        (
            "confirmed",
            or_none(line.confirmed.map(|lsn| lsn.to_string())),
        ),
        ("log has", or_none(line.log_end.map(|lsn| lsn.to_string()))),
        ("server is at", line.server_end.to_string()),
        ("lag", or_none(line.lag_bytes.map(bytes))),
        ("retained", or_none(line.retained_bytes.map(bytes))),
        ("epoch", or_none(line.epoch.map(|epoch| epoch.to_string()))),
    ]);
    if !line.gaps.is_empty() {
        text.push('\n');
        text.push_str(&gaps(&line.gaps));
    }
    text
}

fn gaps(gaps: &[GapLine]) -> String {
    let row = |gap: &GapLine| {
        vec![
            gap.id.to_string(),
            gap.from.to_string(),
            gap.to
                .map_or_else(|| "open".to_owned(), |lsn| lsn.to_string()),
            gap.recovered
                .map_or_else(String::new, |count| count.to_string()),
            gap.found_at.clone(),
            gap.reason.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = gaps.iter().map(row).collect();
    let headings = ["GAP", "FROM", "TO", "RECOVERED", "FOUND", "REASON"];
    table(&headings, &rows, "no gaps")
}

fn resync_shown(resynced: &Resynced) -> String {
    let row = |line: &TableLine| {
        let note = if line.is_skipped {
            "not compared: no primary key"
        } else {
            ""
        };
        vec![
            line.table.clone(),
            line.inserted.to_string(),
            line.updated.to_string(),
            line.deleted.to_string(),
            note.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = resynced.tables.iter().map(row).collect();
    let headings = ["TABLE", "INSERTED", "UPDATED", "DELETED", ""];
    let tables = table(&headings, &rows, "no tables to compare");
    format!("{tables}\n{}", gaps(std::slice::from_ref(&resynced.gap)))
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} kB", bytes / 1_024),
        _ => format!("{} MB", bytes / 1_048_576),
    }
}
