//! Jobs: what is registered, what stands in their way, and holding them up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tidegate_job::{JobOptions, RunState};
use tidegate_job_log::list::Summary;

use crate::{Admin, Error};

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLine {
    pub job: String,
    /// As its author wrote them.
    pub options: JobOptions,
    /// False: the current release does not have it.
    pub is_registered: bool,
    pub release: String,
    pub registered_at: Timestamp,
    pub paused_at: Option<Timestamp>,
    pub paused_by: Option<String>,
    /// How many of its runs are in each state; states without runs are left out.
    pub runs: BTreeMap<&'static str, u64>,
    /// The one asked for last.
    pub last_run: Option<Summary>,
}

/// Where all jobs together stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueLine {
    /// Since when all jobs are paused; null: they are not.
    pub paused_at: Option<Timestamp>,
    pub paused_by: Option<String>,
    /// False: no process schedules at the moment, and nothing begins.
    pub is_scheduled: bool,
    /// Processes that run jobs.
    pub workers: u64,
    /// For other runs.
    pub waiting: u64,
    /// Pending or sleeping, due or not.
    pub pending: u64,
    /// Pending, and their job is paused.
    pub parked: u64,
    pub blocked: u64,
    pub queued: u64,
    pub running: u64,
    /// Failed for good, and not run again or deleted.
    pub dead: u64,
    /// How long the oldest due run has been due.
    pub oldest_due_ms: u64,
    /// How long the oldest due schedule has been due.
    pub schedule_lateness_ms: u64,
}

impl Admin {
    /// Every job that was ever registered, by name.
    pub async fn list_jobs(&self) -> Result<Vec<JobLine>, Error> {
        let mut counts: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
        for count in self.jobs.counts().await? {
            let of_job = counts.entry(count.job).or_default();
            of_job.insert(count.state.as_str(), count.runs);
        }
        let last = self.jobs.last_runs().await?;
        let mut last: BTreeMap<String, Summary> =
            last.into_iter().map(|run| (run.job.clone(), run)).collect();
        let jobs = self.jobs.jobs().await?;
        Ok(jobs
            .into_iter()
            .map(|job| JobLine {
                runs: counts.remove(&job.name).unwrap_or_default(),
                last_run: last.remove(&job.name),
                job: job.name,
                options: job.options,
                is_registered: job.is_registered,
                release: job.release,
                registered_at: job.registered_at,
                paused_at: job.paused_at,
                paused_by: job.paused_by,
            })
            .collect())
    }

    pub async fn job(&self, name: &str) -> Result<JobLine, Error> {
        let mut jobs = self.list_jobs().await?;
        match jobs.iter().position(|job| job.job == name) {
            Some(place) => Ok(jobs.swap_remove(place)),
            None => Err(Error::not_found(
                "job",
                name,
                jobs.into_iter().map(|job| job.job),
            )),
        }
    }

    /// Keeps runs of a job from beginning; those that run go on. `by`: who asks, as others are shown it.
    pub async fn pause_job(&self, name: &str, by: &str) -> Result<JobLine, Error> {
        self.known_job(name).await?;
        self.jobs.pause_job(name, by).await?;
        self.job(name).await
    }

    pub async fn resume_job(&self, name: &str) -> Result<JobLine, Error> {
        self.known_job(name).await?;
        self.jobs.resume_job(name).await?;
        self.job(name).await
    }

    /// Keeps runs of all jobs from beginning; those that run go on.
    pub async fn pause_queue(&self, by: &str) -> Result<QueueLine, Error> {
        self.jobs.pause_all(by).await?;
        self.queue().await
    }

    pub async fn resume_queue(&self) -> Result<QueueLine, Error> {
        self.jobs.resume_all().await?;
        self.queue().await
    }

    pub async fn queue(&self) -> Result<QueueLine, Error> {
        let snapshot = self.jobs.snapshot().await?;
        let (paused_at, paused_by) = match self.jobs.paused_all().await? {
            Some((at, by)) => (Some(at), by),
            None => (None, None),
        };
        Ok(QueueLine {
            paused_at,
            paused_by,
            is_scheduled: self.jobs.is_led().await?,
            workers: snapshot.workers,
            waiting: snapshot.waiting,
            pending: snapshot.pending,
            parked: snapshot.parked,
            blocked: snapshot.blocked,
            queued: snapshot.queued,
            running: snapshot.running,
            dead: self.jobs.dead_runs().await?,
            oldest_due_ms: snapshot.oldest_due.as_millis() as u64,
            schedule_lateness_ms: snapshot.schedule_lateness.as_millis() as u64,
        })
    }

    /// Refuses a name that no release ever registered.
    pub(crate) async fn known_job(&self, name: &str) -> Result<(), Error> {
        let jobs = self.jobs.jobs().await?;
        match jobs.iter().any(|job| job.name == name) {
            true => Ok(()),
            false => Err(Error::not_found(
                "job",
                name,
                jobs.into_iter().map(|job| job.name),
            )),
        }
    }
}

/// States by their names; `argument` names what is wrong.
pub(crate) fn states(argument: &str, names: &[String]) -> Result<Vec<RunState>, Error> {
    let read = |name: &String| {
        let state = name.parse::<RunState>();
        state.map_err(|error| Error::invalid(argument, error))
    };
    names.iter().map(read).collect()
}
