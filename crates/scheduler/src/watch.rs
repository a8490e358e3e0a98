//! Notices workers that are gone, and gives what they ran to others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use metrics::counter;
use tidegate_job_log::JobLog;
use tidegate_job_log::worker::WorkerBeat;

use crate::{Config, Error, metric_names};

/// How often the beats are looked at; workers beat twice a second.
const INTERVAL: Duration = Duration::from_millis(250);

/// Watches until an error.
pub(crate) async fn watch(config: &Config, log: &JobLog) -> Result<(), Error> {
    let mut sightings = Sightings::default();
    loop {
        let asked = Instant::now();
        let beats = log.workers().await?;
        for WorkerBeat { name, beat } in
            sightings.lost(beats, asked, Instant::now(), config.worker_lease)
        {
            // It may have beaten after this looked: then it is not lost.
            let Some(runs) = log.reap(&name, beat).await? else {
                continue;
            };
            counter!(metric_names::WORKERS_LOST).increment(1);
            tracing::warn!(
                worker = name,
                runs = runs.len(),
                "a worker was lost; what it ran goes to others"
            );
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// When each worker's beat was first seen to be what it is.
#[derive(Default)]
struct Sightings(HashMap<String, (u64, Instant)>);

impl Sightings {
    /// Those whose beat had been the same for `lease` when the question was asked. After a pause of this process itself
    /// nobody is lost at once: a beat is old only by what was seen of it. Nor is anybody when Postgres took long to
    /// answer: then it was as slow to take a beat.
    fn lost(
        &mut self,
        beats: Vec<WorkerBeat>,
        asked: Instant,
        answered: Instant,
        lease: Duration,
    ) -> Vec<WorkerBeat> {
        let took = answered.duration_since(asked);
        let mut seen = HashMap::with_capacity(beats.len());
        let mut lost = Vec::new();
        for WorkerBeat { name, beat } in beats {
            let since = match self.0.get(&name) {
                Some((before, since)) if *before == beat => *since + took,
                _ => answered,
            };
            if answered.duration_since(since) >= lease {
                lost.push(WorkerBeat {
                    name: name.clone(),
                    beat,
                });
            }
            seen.insert(name, (beat, since));
        }
        self.0 = seen;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_beats_is_not_lost_and_who_does_not_is_after_its_lease() {
        let begun = Instant::now();
        let lease = Duration::from_secs(2);
        let at = |ms| begun + Duration::from_millis(ms);
        let beat = |name: &str, beat| WorkerBeat {
            name: name.into(),
            beat,
        };
        let mut sightings = Sightings::default();
        let mut lost = |ms, beats| sightings.lost(beats, at(ms), at(ms), lease);
        assert!(lost(0, vec![beat("a", 7), beat("b", 1)]).is_empty());
        assert!(lost(1_900, vec![beat("a", 7), beat("b", 4)]).is_empty());
        let found = lost(2_000, vec![beat("a", 7), beat("b", 4)]);
        assert_eq!(found, [beat("a", 7)]);
        // One that was taken off the list and comes back under its name begins anew.
        assert!(lost(2_100, vec![beat("b", 4)]).is_empty());
        assert!(lost(4_000, vec![beat("a", 7), beat("b", 5)]).is_empty());
        let found = lost(6_000, vec![beat("a", 7), beat("b", 6)]);
        assert_eq!(found, [beat("a", 7)]);
    }

    #[test]
    fn the_time_that_postgres_took_to_answer_is_nobodys_silence() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let beats = || {
            vec![WorkerBeat {
                name: "a".into(),
                beat: 7,
            }]
        };
        let mut sightings = Sightings::default();
        let mut lost = |asked, answered| {
            sightings.lost(beats(), at(asked), at(answered), Duration::from_secs(2))
        };
        assert!(lost(0, 0).is_empty());
        assert!(lost(250, 9_250).is_empty());
        assert!(lost(9_500, 9_500).is_empty());
        assert!(lost(10_999, 10_999).is_empty());
        assert_eq!(lost(11_000, 11_000), beats());
    }
}
