//! Runs: asking for them, looking at them, ending them, running them again.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_job::start::params_text;
use tidegate_job::{NewRun, RunId, RunState, Source, StartOptions};
use tidegate_job_log::history::LoggedLine;
use tidegate_job_log::list::{Filter, Summary};

use crate::jobs::states;
use crate::{Admin, Error, parse};

/// Most runs of one page.
pub const MAX_RUNS: u32 = 1_000;

/// Dead runs that are looked at together when all of a job run again.
const RETRY_PAGE_RUNS: u32 = 500;

/// Refusals that are told one by one.
const MAX_REFUSALS: usize = 20;

/// Which runs are listed; each part as a person wrote it.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub job: Option<String>,
    /// Empty: in any state.
    pub states: Vec<String>,
    /// Asked for since then.
    pub since: Option<String>,
    /// Only runs older than this one: `next` of the page before.
    pub before: Option<String>,
    /// 1 to [`MAX_RUNS`].
    pub limit: u32,
}

/// Some runs, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunPage {
    pub runs: Vec<Summary>,
    /// Where the next page begins; null: there is none.
    pub next: Option<RunId>,
}

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedRun {
    #[serde(flatten)]
    pub run: Summary,
    /// False: its idempotency key has been used, and this is the run that it made.
    pub is_new: bool,
    /// False: no process schedules at the moment; it begins when one does.
    pub is_scheduled: bool,
}

/// What running all dead runs of a job again came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetriedRuns {
    pub retried: u64,
    pub refused: u64,
    /// Of the first that were refused: why.
    pub reasons: Vec<String>,
}

impl Admin {
    /// Runs, the newest first.
    pub async fn list_runs(&self, filter: &RunFilter) -> Result<RunPage, Error> {
        if !(1..=MAX_RUNS).contains(&filter.limit) {
            return Err(Error::invalid("limit", format!("must be 1 to {MAX_RUNS}")));
        }
        if let Some(job) = &filter.job {
            self.known_job(job).await?;
        }
        let since = filter.since.as_deref();
        let since = since
            .map(|text| parse::past("since", text, Timestamp::now()))
            .transpose()?;
        let before = filter.before.as_deref();
        let wanted = Filter {
            job: filter.job.clone(),
            states: states("state", &filter.states)?,
            workflow: None,
            before: before.map(|text| run_id("before", text)).transpose()?,
        };
        let mut runs = self.jobs.runs(&wanted, filter.limit).await?;
        let is_full = runs.len() == filter.limit as usize;
        let is_wanted = |run: &Summary| since.is_none_or(|since| run.created_at >= since);
        // Ids ascend with time: what follows an older one is older too.
        let goes_on = is_full && runs.last().is_some_and(is_wanted);
        let next = runs.last().map(|run| run.id).filter(|_| goes_on);
        runs.retain(is_wanted);
        Ok(RunPage { runs, next })
    }

    /// A run as lists show it.
    pub async fn run(&self, run: &str) -> Result<Summary, Error> {
        Ok(self.jobs.run(run_id("run", run)?).await?.summary)
    }

    /// Asks for a run. `params`: an object or null. `options`: as `Parse.Cloud.startJob` takes them, or null.
    pub async fn start_job(
        &self,
        job: &str,
        params: &Value,
        options: &Value,
        source: Source,
    ) -> Result<StartedRun, Error> {
        let new = NewRun {
            job: job.to_owned(),
            params: params_text(params)?,
            options: StartOptions::parse(options)?,
            source,
        };
        let started = self.jobs.start(std::slice::from_ref(&new)).await?;
        let started = started
            .first()
            .expect("one id for each run that is asked for");
        Ok(StartedRun {
            run: self.jobs.run(started.id).await?.summary,
            is_new: started.is_new,
            is_scheduled: self.jobs.is_led().await?,
        })
    }

    /// Lines of a run's log after event `after` (0: from the beginning), of at most `limit` events.
    pub async fn run_logs(
        &self,
        run: &str,
        attempt: Option<u32>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<LoggedLine>, Error> {
        let run = run_id("run", run)?;
        let lines = self.jobs.log_lines(run, attempt, after, limit).await?;
        if lines.is_empty() {
            // Nothing said, or nothing there?
            self.jobs.run(run).await?;
        }
        Ok(lines)
    }

    /// Cancels a run that has not ended, and returns it as it is then: still running, while its worker ends it.
    pub async fn cancel_run(&self, run: &str) -> Result<Summary, Error> {
        let run = run_id("run", run)?;
        let state = self.jobs.cancel(run).await?;
        // Asked twice is done once.
        if state.is_final() && state != RunState::Cancelled {
            let problem = format!("{run} has {state}: there is nothing to cancel");
            let problem = problem.replace("has skipped", "was skipped");
            return Err(Error::Conflict { problem });
        }
        Ok(self.jobs.run(run).await?.summary)
    }

    /// Runs again what has failed, was cancelled or skipped. `afresh`: without what its steps and writes left.
    pub async fn retry_run(&self, run: &str, afresh: bool) -> Result<Summary, Error> {
        let run = run_id("run", run)?;
        let retried = self.jobs.retry(run, afresh).await;
        retried.map_err(Error::by_state)?;
        Ok(self.jobs.run(run).await?.summary)
    }

    /// Runs all dead runs of a job again.
    pub async fn retry_dead(&self, job: &str, afresh: bool) -> Result<RetriedRuns, Error> {
        self.known_job(job).await?;
        let mut done = RetriedRuns::default();
        let mut dead = Filter {
            job: Some(job.to_owned()),
            states: vec![RunState::Failed],
            ..Filter::default()
        };
        loop {
            let page = self.jobs.runs(&dead, RETRY_PAGE_RUNS).await?;
            let Some(last) = page.last() else {
                return Ok(done);
            };
            // One that fails again meanwhile is not met again.
            dead.before = Some(last.id);
            for run in &page {
                match self.jobs.retry(run.id, afresh).await {
                    Ok(()) => done.retried += 1,
                    Err(tidegate_job_log::Error::Invalid { reason }) => {
                        done.refused += 1;
                        if done.reasons.len() < MAX_REFUSALS {
                            done.reasons.push(reason);
                        }
                    }
                    // Deleted since.
                    Err(tidegate_job_log::Error::Unknown { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Deletes a run with all that is known of it, and returns it as it was. `force`: also while it runs.
    pub async fn delete_run(&self, run: &str, force: bool) -> Result<Summary, Error> {
        let run = run_id("run", run)?;
        let found = self.jobs.run(run).await?.summary;
        let deleted = self.jobs.delete(run, force).await;
        deleted.map_err(Error::by_state)?;
        Ok(found)
    }
}

pub(crate) fn run_id(argument: &str, text: &str) -> Result<RunId, Error> {
    text.parse()
        .map_err(|error| Error::invalid(argument, error))
}
