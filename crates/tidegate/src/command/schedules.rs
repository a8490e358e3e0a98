//! `tidegate schedules`: when jobs run by themselves, and what would become of it.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use tidegate_admin::{
    Admin, Error, SimulateRequest, Target, expression, preview_options, simulate_options,
};

use super::output::Output;
use super::schedule_options::{Policies, ScheduleOptions};
use super::schedule_text::{history, listed, preview, shown, simulation, triggered};
use super::triggers::operator;
use super::{Common, run};

#[derive(Debug, Args)]
pub struct SchedulesArguments {
    #[command(subcommand)]
    command: SchedulesCommand,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum SchedulesCommand {
    /// List schedules, by name
    List {
        /// Only after this name
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// How many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show a schedule
    Show { name: String },
    /// Make a schedule
    Create(CreateArguments),
    /// Change a schedule; what is not given stays
    Edit(EditArguments),
    /// Keep a schedule from firing
    Pause { name: String },
    /// Let a paused schedule fire again; what was due meanwhile is not made up for
    Resume { name: String },
    /// Fire a schedule now, whatever its times
    Trigger { name: String },
    /// Delete a schedule; what it started goes on
    Delete { name: String },
    /// List the next due times in local time and in UTC; days on which clocks change are marked
    Preview(PreviewArguments),
    /// Say what the policies would do over a period in which the scheduler was down
    Simulate(SimulateArguments),
    /// List what became of due times, the latest first
    History {
        name: String,
        /// Only due before then
        #[arg(long, value_name = "TIME")]
        before: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
}

#[derive(Debug, Args)]
struct CreateArguments {
    /// Names it among all schedules
    name: String,
    /// The job that it starts
    #[arg(
        long,
        required_unless_present = "workflow",
        conflicts_with = "workflow"
    )]
    job: Option<String>,
    /// The workflow that it starts
    #[arg(long)]
    workflow: Option<String>,
    #[command(flatten)]
    options: ScheduleOptions,
}

#[derive(Debug, Args)]
struct EditArguments {
    name: String,
    /// The job that it starts
    #[arg(long, conflicts_with = "workflow")]
    job: Option<String>,
    /// The workflow that it starts
    #[arg(long)]
    workflow: Option<String>,
    /// Take an option away, such as params or ends; repeatable
    #[arg(long, value_name = "OPTION")]
    clear: Vec<String>,
    #[command(flatten)]
    options: ScheduleOptions,
}

#[derive(Debug, Args)]
struct PreviewArguments {
    /// A schedule's name, or an expression: "0 9 * * MON-FRI", @daily, "every 10m", "daily 09:00", options as JSON
    #[arg(value_name = "NAME|EXPRESSION")]
    what: String,
    /// Whose wall clock counts for an expression, such as Europe/Berlin; without it UTC
    #[arg(long = "tz", value_name = "ZONE")]
    timezone: Option<String>,
    /// From then on: 2027-03-27, or 2027-03-27T08:00:00Z; without it now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// How many
    #[arg(long, default_value_t = 10)]
    count: u32,
}

#[derive(Debug, Args)]
struct SimulateArguments {
    /// A schedule's name, or an expression as `preview` takes it
    #[arg(value_name = "NAME|EXPRESSION")]
    what: String,
    /// Whose wall clock counts, such as Europe/Berlin
    #[arg(long = "tz", value_name = "ZONE")]
    timezone: Option<String>,
    /// Without it now
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Without it a week later
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The scheduler is down: 2027-03-28T01:00/2027-03-28T04:00; repeatable
    #[arg(long = "outage", value_name = "FROM/TO")]
    outages: Vec<String>,
    /// How long each run takes, such as 10m
    #[arg(long, value_name = "DURATION")]
    takes: Option<String>,
    #[command(flatten)]
    policies: Policies,
}

pub fn main(arguments: SchedulesArguments) -> Result<()> {
    let SchedulesArguments { command, common } = arguments;
    let output = Output { json: common.json };
    // What is asked of an expression needs no database.
    match command {
        SchedulesCommand::Preview(asked) => match expression(&asked.what)? {
            Some(options) => {
                let options = in_zone(options, asked.timezone.as_deref());
                let seen = preview_options(&options, asked.at.as_deref(), asked.count)?;
                output.data(&seen, preview)
            }
            None => run(&common, async |admin, output: Output| {
                preview_named(&admin, output, &asked).await
            }),
        },
        SchedulesCommand::Simulate(asked) => {
            let request = simulate_request(&asked);
            match expression(&asked.what)? {
                Some(options) => output.data(&simulate_options(&options, &request)?, simulation),
                None => run(&common, async |admin, output: Output| {
                    let played = admin.simulate_schedule(&asked.what, &request).await?;
                    output.data(&played, simulation)
                }),
            }
        }
        command => run(&common, async |admin, output: Output| {
            answer(&admin, output, command).await
        }),
    }
}

async fn answer(admin: &Admin, output: Output, command: SchedulesCommand) -> Result<()> {
    let line = match command {
        SchedulesCommand::List { after, limit } => {
            let page = admin.list_schedules(after.as_deref(), limit).await?;
            output.data(&page, |page| listed(&page.schedules))?;
            if let Some(next) = page.next {
                eprintln!("there are more: --after {next:?}");
            }
            return Ok(());
        }
        SchedulesCommand::Trigger { name } => {
            let made = admin.trigger_schedule(&name).await?;
            if !made.is_scheduled {
                eprintln!("no server with the role scheduler runs: it begins when one does");
            }
            return output.data(&made, triggered);
        }
        SchedulesCommand::History {
            name,
            before,
            limit,
        } => {
            let fires = admin.schedule_history(&name, before.as_deref(), limit);
            return output.data(&fires.await?, |fires| history(fires));
        }
        SchedulesCommand::Delete { name } => {
            let line = admin.delete_schedule(&name).await?;
            return output.data(&line, |line| format!("{} is deleted\n", line.name));
        }
        SchedulesCommand::Create(asked) => create(admin, asked).await?,
        SchedulesCommand::Edit(asked) => edit(admin, asked).await?,
        SchedulesCommand::Show { name } => admin.schedule(&name).await?,
        SchedulesCommand::Pause { name } => admin.pause_schedule(&name, &operator()).await?,
        SchedulesCommand::Resume { name } => admin.resume_schedule(&name).await?,
        SchedulesCommand::Preview(_) | SchedulesCommand::Simulate(_) => {
            unreachable!("these are answered before")
        }
    };
    output.data(&line, shown)
}

async fn create(admin: &Admin, asked: CreateArguments) -> Result<tidegate_admin::ScheduleLine> {
    let target = target(asked.job, asked.workflow).expect("the command line requires one");
    let options = asked.options.to_value()?;
    Ok(admin.create_schedule(&asked.name, target, &options).await?)
}

async fn edit(admin: &Admin, asked: EditArguments) -> Result<tidegate_admin::ScheduleLine> {
    let target = target(asked.job, asked.workflow);
    let mut changes = asked.options.to_value()?;
    for name in asked.clear {
        changes[name] = Value::Null;
    }
    Ok(admin.edit_schedule(&asked.name, target, &changes).await?)
}

fn target(job: Option<String>, workflow: Option<String>) -> Option<Target> {
    job.map(Target::Job).or(workflow.map(Target::Workflow))
}

async fn preview_named(admin: &Admin, output: Output, asked: &PreviewArguments) -> Result<()> {
    if asked.timezone.is_some() {
        let problem = format!(
            "--tz: {:?} is no expression, and a schedule has its own zone",
            asked.what
        );
        return Err(Error::Invalid { problem }.into());
    }
    let seen = admin.preview_schedule(&asked.what, asked.at.as_deref(), asked.count);
    output.data(&seen.await?, preview)
}

fn simulate_request(asked: &SimulateArguments) -> SimulateRequest {
    let changes = asked.policies.to_map().into();
    SimulateRequest {
        from: asked.from.clone(),
        to: asked.to.clone(),
        outages: asked.outages.clone(),
        takes: asked.takes.clone(),
        changes: in_zone(changes, asked.timezone.as_deref()),
    }
}

/// With the zone that is given, if one is.
fn in_zone(options: Value, timezone: Option<&str>) -> Value {
    let mut options: Map<String, Value> = match options {
        Value::Object(options) => options,
        _ => Map::new(),
    };
    options.extend(timezone.map(|zone| ("timezone".to_owned(), zone.into())));
    options.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        schedules: SchedulesArguments,
    }

    #[test]
    fn a_schedule_starts_a_job_or_a_workflow() {
        for bad in [
            &["x", "create", "s", "--daily", "09:00"][..],
            &["x", "create", "s", "--job", "a", "--workflow", "b"],
            &["x", "edit", "s", "--job", "a", "--workflow", "b"],
        ] {
            assert!(Line::try_parse_from(bad).is_err(), "{bad:?}");
        }
        let good = ["x", "create", "s", "--workflow", "b", "--daily", "09:00"];
        assert!(Line::try_parse_from(good).is_ok());
    }

    #[test]
    fn what_is_simulated_has_the_policies_that_are_given() {
        let words = "x simulate s --from 2027-03-01 --outage a/b --outage c/d --takes 10m --missed all --tz UTC";
        let line = Line::parse_from(words.split(' '));
        let SchedulesCommand::Simulate(asked) = line.schedules.command else {
            panic!("not simulate")
        };
        let request = simulate_request(&asked);
        assert_eq!(
            request.changes,
            json!({ "missed": "all", "timezone": "UTC" })
        );
        assert_eq!(request.outages, ["a/b", "c/d"]);
        assert_eq!((request.to, request.takes.as_deref()), (None, Some("10m")));
    }
}
