//! Deliveries for triggers, and runs of jobs, that this worker does not have.
//!
//! While releases change, workers differ in what they have: such a delivery waits, uncounted, until this worker has the
//! new code or another one takes the lane. One that nobody has for long is a dead letter. So it is with runs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a release may take to reach every worker.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Between two looks at one delivery.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);

const SAY_INTERVAL: Duration = Duration::from_secs(60);

/// Log offset and trigger, or run and job.
type Id = (u64, String);

#[derive(Default)]
pub(crate) struct Missing(Mutex<State>);

#[derive(Default)]
struct State {
    /// When each was first seen here.
    since: HashMap<Id, Instant>,
    said_at: Option<Instant>,
}

/// What to do with one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// `say`: it is time to log it again.
    Wait {
        say: bool,
    },
    GiveUp,
}

impl Missing {
    pub fn advise(&self, id: Id, now: Instant) -> Advice {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first_seen = *state.since.entry(id.clone()).or_insert(now);
        if now.duration_since(first_seen) >= PATIENCE {
            state.since.remove(&id);
            return Advice::GiveUp;
        }
        let said_at = state.said_at;
        let say = said_at.is_none_or(|said_at| now.duration_since(said_at) >= SAY_INTERVAL);
        if say {
            state.said_at = Some(now);
            // Those that another worker took over are never seen here again.
            let is_recent = |seen: &mut Instant| now.duration_since(*seen) < 2 * PATIENCE;
            state.since.retain(|_, seen| is_recent(seen));
        }
        Advice::Wait { say }
    }
}

/// What a dead letter of this kind says.
pub(crate) fn error(trigger: &str) -> String {
    let minutes = PATIENCE.as_secs() / 60;
    format!(
        "this worker had no {trigger} for {minutes} minutes: deploy the code or the webhook that registers it, then \
         replay the dead letter"
    )
}

/// What a run says whose job nobody has.
pub(crate) fn error_of_job(job: &str) -> String {
    let minutes = PATIENCE.as_secs() / 60;
    format!(
        "this worker had no job {job} for {minutes} minutes: deploy the code that registers it, then retry the run"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_from_when_it_was_first_seen_and_it_is_said_once_a_minute() {
        let missing = Missing::default();
        let begun = Instant::now();
        let at = |offset: u64, seconds| {
            let now = begun + Duration::from_secs(seconds);
            missing.advise((offset, "afterSave:Order".into()), now)
        };
        assert_eq!(at(1, 0), Advice::Wait { say: true });
        assert_eq!(at(2, 30), Advice::Wait { say: false });
        assert_eq!(at(1, 60), Advice::Wait { say: true });
        assert_eq!(at(1, 600), Advice::GiveUp);
        assert_eq!(at(2, 600), Advice::Wait { say: true });
        assert_eq!(at(2, 630), Advice::GiveUp);
    }
}
