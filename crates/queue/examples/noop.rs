//! How many runs that do nothing go through the streams of runs in a second: `noop <redis url> [runs]`.
//!
//! Pushing is not in the time; reading, claiming (granted at once), running and acknowledging are. Prints one line of
//! JSON. Leaves three empty streams under the namespace `noop`.
#![allow(clippy::print_stdout)] // its output is its purpose

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_queue::runs::{Band, BoxError, Claims, RunConsumerConfig, RunQueue, consume_runs};
use tidegate_queue::{Config, Queue};
use tokio::sync::Notify;

const RUNS: u64 = 100_000;

/// How often to look whether everything is acknowledged, once everything has run.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Grants everything.
struct Granted;

impl Claims for Granted {
    type Claimed = u64;

    fn claim<'a>(&'a self, ids: &'a [u64]) -> BoxFuture<'a, Result<Vec<u64>, BoxError>> {
        std::future::ready(Ok(ids.to_vec())).boxed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let redis_url = arguments.next().ok_or("usage: noop <redis url> [runs]")?;
    let count: u64 = arguments.next().map_or(Ok(RUNS), |count| count.parse())?;
    let config = Config {
        redis_url,
        namespace: "noop".into(),
        lanes: 1,
        max_queued: 1,
    };
    let queue = RunQueue::new(&Queue::connect(config).await?);
    queue.incarnation().await?;
    let runs: Vec<(u64, Band)> = (0..count).map(|run| (run, Band::Normal)).collect();
    queue.push(&runs).await?;

    let seconds = drain(&queue, count).await?;
    let per_second = count as f64 / seconds;
    println!(r#"{{"tasks": {count}, "seconds": {seconds:.3}, "perSecond": {per_second:.0}}}"#);
    Ok(())
}

/// Consumes until nothing is left, and answers how many seconds that took.
async fn drain(queue: &RunQueue, count: u64) -> Result<f64, Box<dyn Error>> {
    let (done, all_done) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let handler = {
        let all_done = all_done.clone();
        move |_run| {
            if done.fetch_add(1, Ordering::Relaxed) + 1 == count {
                all_done.notify_one();
            }
            std::future::ready(())
        }
    };
    let config = RunConsumerConfig {
        worker_name: "noop".into(),
        concurrency: 16,
        prefetch: 64,
        drain_timeout: Duration::from_secs(10),
    };
    let begun = Instant::now();
    let mut took = Duration::ZERO;
    let shutdown = async {
        all_done.notified().await;
        while queue.queued().await.is_ok_and(|left| left.total() > 0) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        took = begun.elapsed();
    };
    consume_runs(queue.clone(), config, Arc::new(Granted), handler, shutdown).await?;
    Ok(took.as_secs_f64())
}
