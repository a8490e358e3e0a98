//! `tidegate jobs`: running jobs and workflows, looking at runs, steering them.

use anyhow::Result;
use clap::{Args, Subcommand};
use tidegate_admin::{Admin, RunFilter, Source, WorkflowFilter};

use super::follow_run::{follow_logs, follow_run, follow_workflow};
use super::job_text::{jobs, lines, queue, retried, run, runs, shown, started};
use super::output::Output;
use super::run_arguments::RunArguments;
use super::triggers::operator;
use super::workflow_text::{workflow, workflows};
use super::{Common, run as connected};

#[derive(Debug, Args)]
pub struct JobsArguments {
    #[command(subcommand)]
    command: JobsCommand,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// List jobs, with what stands in their way
    List,
    /// Ask for a run of a job, or of a workflow
    Run(RunArguments),
    /// List runs, the newest first
    Runs(RunsArguments),
    /// Show a run with its attempts, steps and history, or a workflow with its nodes
    Show {
        /// Such as R000012345, or W000000012 of a workflow
        id: String,
    },
    /// Print what a run logged
    Logs {
        /// Such as R000012345
        run: String,
        /// Go on until the run has ended
        #[arg(short, long)]
        follow: bool,
        /// Only of this attempt
        #[arg(long)]
        attempt: Option<u32>,
    },
    /// Cancel a run, or all of a workflow; what runs is ended within a second
    Cancel {
        /// Such as R000012345, or W000000012 of a workflow
        id: String,
    },
    /// Run again what has failed, was cancelled or skipped
    Retry {
        /// Such as R000012345
        run: String,
        /// Without what its steps and writes left
        #[arg(long)]
        afresh: bool,
    },
    /// List runs that failed for good, or run all of a job again
    Dead(DeadArguments),
    /// Keep runs of a job from beginning; those that run go on
    Pause(Which),
    /// Let a paused job go on
    Resume(Which),
    /// Delete a run with all that is known of it
    Delete {
        /// Such as R000012345
        run: String,
        /// Also while it runs
        #[arg(long)]
        force: bool,
    },
    /// Say how all jobs together stand
    Queue,
    /// List workflows that were started, the newest first
    Workflows {
        /// Only of this name
        #[arg(long)]
        name: Option<String>,
        /// Only older than this one, such as W000000012
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

#[derive(Debug, Args)]
struct RunsArguments {
    /// Only of this job
    #[arg(long)]
    job: Option<String>,
    /// Only in this state, such as failed; repeatable
    #[arg(long = "state", value_delimiter = ',')]
    states: Vec<String>,
    /// Asked for since: 2026-11-25T10:00:00Z, 2026-11-25, or 15m ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only older than this run
    #[arg(long, value_name = "RUN")]
    before: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

#[derive(Debug, Args)]
struct DeadArguments {
    /// Only of this job
    #[arg(long)]
    job: Option<String>,
    /// Run all of the job again
    #[arg(long, requires = "job")]
    retry: bool,
    /// Without what their steps and writes left
    #[arg(long, requires = "retry")]
    afresh: bool,
    /// Only older than this run
    #[arg(long, value_name = "RUN")]
    before: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

#[derive(Debug, Args)]
struct Which {
    /// The job
    #[arg(required_unless_present = "all")]
    job: Option<String>,
    /// All jobs
    #[arg(long, conflicts_with = "job")]
    all: bool,
}

pub fn main(arguments: JobsArguments) -> Result<()> {
    connected(&arguments.common, async |admin, output: Output| {
        answer(&admin, output, arguments.command).await
    })
}

async fn answer(admin: &Admin, output: Output, command: JobsCommand) -> Result<()> {
    match command {
        JobsCommand::List => output.data(&admin.list_jobs().await?, |lines| jobs(lines)),
        JobsCommand::Run(arguments) => start(admin, output, arguments).await,
        JobsCommand::Runs(arguments) => list(admin, output, filter(arguments)).await,
        JobsCommand::Show { id } if is_workflow(&id) => {
            output.data(&admin.workflow(&id).await?, workflow)
        }
        JobsCommand::Show { id } => output.data(&admin.show_run(&id).await?, shown),
        JobsCommand::Logs {
            run,
            follow: true,
            attempt,
        } => follow_logs(admin, &run, attempt, output).await,
        JobsCommand::Logs { run, attempt, .. } => {
            let logged = all_logs(admin, &run, attempt).await?;
            output.data(&logged, |logged| lines(logged))
        }
        JobsCommand::Cancel { id } if is_workflow(&id) => {
            output.data(&admin.cancel_workflow(&id).await?, workflow)
        }
        JobsCommand::Cancel { id } => output.data(&admin.cancel_run(&id).await?, run),
        JobsCommand::Retry { run: id, afresh } => {
            output.data(&admin.retry_run(&id, afresh).await?, run)
        }
        JobsCommand::Dead(arguments) => dead(admin, output, arguments).await,
        JobsCommand::Pause(which) => pause(admin, output, which).await,
        JobsCommand::Resume(which) => resume(admin, output, which).await,
        JobsCommand::Delete { run: id, force } => {
            let deleted = admin.delete_run(&id, force).await?;
            output.data(&deleted, |deleted| format!("{} is deleted\n", deleted.id))
        }
        JobsCommand::Queue => output.data(&admin.queue().await?, queue),
        JobsCommand::Workflows {
            name,
            before,
            limit,
        } => {
            let filter = WorkflowFilter {
                name,
                before,
                limit,
            };
            let page = admin.list_workflows(&filter).await?;
            output.data(&page, |page| workflows(&page.workflows))
        }
    }
}

async fn pause(admin: &Admin, output: Output, which: Which) -> Result<()> {
    let Some(job) = which.job else {
        return output.data(&admin.pause_queue(&operator()).await?, queue);
    };
    let line = admin.pause_job(&job, &operator()).await?;
    output.data(&line, |line| jobs(std::slice::from_ref(line)))
}

async fn resume(admin: &Admin, output: Output, which: Which) -> Result<()> {
    let Some(job) = which.job else {
        return output.data(&admin.resume_queue().await?, queue);
    };
    let line = admin.resume_job(&job).await?;
    output.data(&line, |line| jobs(std::slice::from_ref(line)))
}

async fn start(admin: &Admin, output: Output, arguments: RunArguments) -> Result<()> {
    let (params, options) = (arguments.params()?, arguments.options()?);
    let name = &arguments.name;
    if arguments.workflow {
        let begun = admin.start_workflow(name, &params, &options, Source::Cli);
        let begun = begun.await?;
        warn_unscheduled(begun.is_scheduled, &begun.workflow.id.to_string());
        return match arguments.follow {
            true => follow_workflow(admin, &begun.workflow.id.to_string(), output).await,
            false => output.data(&begun, |begun| workflow(&begun.workflow)),
        };
    }
    let begun = admin
        .start_job(name, &params, &options, Source::Cli)
        .await?;
    warn_unscheduled(begun.is_scheduled, &begun.run.id.to_string());
    match arguments.follow {
        true => follow_run(admin, &begun.run.id.to_string(), output).await,
        false => output.data(&begun, started),
    }
}

fn warn_unscheduled(is_scheduled: bool, id: &str) {
    if !is_scheduled {
        eprintln!("no server with the role scheduler runs: {id} begins when one does");
    }
}

async fn list(admin: &Admin, output: Output, filter: RunFilter) -> Result<()> {
    let page = admin.list_runs(&filter).await?;
    output.data(&page, |page| runs(&page.runs))?;
    if let Some(next) = page.next {
        eprintln!("there may be more: --before {next}");
    }
    Ok(())
}

fn filter(arguments: RunsArguments) -> RunFilter {
    RunFilter {
        job: arguments.job,
        states: arguments.states,
        since: arguments.since,
        before: arguments.before,
        limit: arguments.limit,
    }
}

async fn dead(admin: &Admin, output: Output, arguments: DeadArguments) -> Result<()> {
    if let (true, Some(job)) = (arguments.retry, &arguments.job) {
        return output.data(&admin.retry_dead(job, arguments.afresh).await?, retried);
    }
    let filter = RunFilter {
        job: arguments.job,
        states: vec!["failed".to_owned()],
        since: None,
        before: arguments.before,
        limit: arguments.limit,
    };
    list(admin, output, filter).await
}

async fn all_logs(
    admin: &Admin,
    run: &str,
    attempt: Option<u32>,
) -> Result<Vec<tidegate_admin::LoggedLine>> {
    const PAGE_EVENTS: u32 = 1_000;
    let mut all: Vec<tidegate_admin::LoggedLine> = Vec::new();
    loop {
        let after = all.last().map_or(0, |line| line.event);
        let lines = admin.run_logs(run, attempt, after, PAGE_EVENTS).await?;
        if lines.is_empty() {
            return Ok(all);
        }
        all.extend(lines);
    }
}

fn is_workflow(id: &str) -> bool {
    id.starts_with('W')
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        jobs: JobsArguments,
    }

    #[test]
    fn a_job_or_all_of_them_is_paused_and_nothing_else() {
        for bad in [
            &["x", "pause"][..],
            &["x", "pause", "a", "--all"],
            &["x", "dead", "--retry"],
        ] {
            assert!(Line::try_parse_from(bad).is_err(), "{bad:?}");
        }
        assert!(Line::try_parse_from(["x", "pause", "--all"]).is_ok());
    }
}
