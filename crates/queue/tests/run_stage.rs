//! What the tests of runs play on: streams on a Redis of their own, consumers, and a ledger of runs in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tidegate_queue::runs::{Band, BoxError, Claims, RunConsumerConfig, RunQueue, consume_runs};
use tidegate_queue::{Error, Queue};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use crate::stage;

/// As a scheduler opens it.
pub async fn open(redis_url: &str) -> RunQueue {
    let queue = connect(redis_url).await;
    queue.incarnation().await.unwrap();
    queue
}

/// In a Redis that may never have heard of runs.
pub async fn connect(redis_url: &str) -> RunQueue {
    RunQueue::new(&Queue::connect(stage::config(redis_url)).await.unwrap())
}

pub fn config(concurrency: usize, prefetch: usize) -> RunConsumerConfig {
    RunConsumerConfig {
        worker_name: "test".into(),
        concurrency,
        prefetch,
        drain_timeout: Duration::from_secs(30),
    }
}

/// Runs of the normal band.
pub fn normal(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, Band)> {
    ids.into_iter().map(|id| (id, Band::Normal)).collect()
}

/// Asks Redis something on a connection of its own.
pub async fn ask<T: redis::FromRedisValue>(redis_url: &str, command: &[&str]) -> T {
    let client = redis::Client::open(redis_url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd(command[0])
        .arg(&command[1..])
        .query_async(&mut connection)
        .await
        .unwrap()
}

/// How many entries are read and not decided.
pub async fn pending(redis_url: &str) -> usize {
    let mut total = 0;
    for band in ["high", "normal", "low"] {
        let command = ["XPENDING", &format!("test:runs:{band}"), "workers"];
        let (count, _, _, _): (usize, redis::Value, redis::Value, redis::Value) =
            ask(redis_url, &command).await;
        total += count;
    }
    total
}

/// Plays the part of Postgres: a run is claimed once.
pub struct Ledger {
    state: Mutex<State>,
    done: watch::Sender<usize>,
    is_away: AtomicBool,
    refuses: fn(u64) -> bool,
    /// Claims wait while this is so.
    is_slow: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    offers: BTreeMap<u64, usize>,
    claimed: BTreeSet<u64>,
    /// In the order of ending.
    done: Vec<u64>,
    largest_claim: usize,
}

impl Ledger {
    pub fn new() -> Arc<Ledger> {
        Ledger::refusing(|_| false)
    }

    /// Does not grant some runs: cancelled ones.
    pub fn refusing(refuses: fn(u64) -> bool) -> Arc<Ledger> {
        Arc::new(Ledger {
            state: Mutex::default(),
            done: watch::Sender::new(0),
            is_away: AtomicBool::new(false),
            refuses,
            is_slow: watch::Sender::new(false),
        })
    }

    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    pub fn set_slow(&self, is_slow: bool) {
        self.is_slow.send_replace(is_slow);
    }

    pub fn finish(&self, run: u64) {
        let mut state = self.state.lock().unwrap();
        state.done.push(run);
        self.done.send_replace(state.done.len());
    }

    pub async fn wait_for(&self, count: usize) {
        let mut done = self.done.subscribe();
        stage::must(done.wait_for(|done| *done >= count))
            .await
            .unwrap();
    }

    pub fn count(&self) -> usize {
        *self.done.borrow()
    }

    pub fn done(&self) -> Vec<u64> {
        self.state.lock().unwrap().done.clone()
    }

    pub fn is_claimed(&self, run: u64) -> bool {
        self.state.lock().unwrap().claimed.contains(&run)
    }

    /// How often runs were offered, over all claims.
    pub fn offers(&self) -> usize {
        self.state.lock().unwrap().offers.values().sum()
    }

    pub fn offers_of(&self, run: u64) -> usize {
        let state = self.state.lock().unwrap();
        state.offers.get(&run).copied().unwrap_or_default()
    }

    pub fn largest_claim(&self) -> usize {
        self.state.lock().unwrap().largest_claim
    }

    fn decide(&self, ids: &[u64]) -> Result<Vec<u64>, BoxError> {
        let mut state = self.state.lock().unwrap();
        for id in ids {
            *state.offers.entry(*id).or_default() += 1;
        }
        state.largest_claim = state.largest_claim.max(ids.len());
        if self.is_away.load(Ordering::SeqCst) {
            return Err("postgres is away".into());
        }
        let granted = ids.iter().filter(|id| !(self.refuses)(**id)).copied();
        Ok(granted.filter(|id| state.claimed.insert(*id)).collect())
    }
}

impl Claims for Ledger {
    type Claimed = u64;

    fn claim<'a>(&'a self, ids: &'a [u64]) -> BoxFuture<'a, Result<Vec<u64>, BoxError>> {
        async {
            let mut is_slow = self.is_slow.subscribe();
            is_slow.wait_for(|is_slow| !is_slow).await.unwrap();
            self.decide(ids)
        }
        .boxed()
    }
}

/// A handler that does nothing else.
pub fn finishing(
    ledger: &Arc<Ledger>,
) -> impl Fn(u64) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static {
    let ledger = ledger.clone();
    move |run| {
        ledger.finish(run);
        async {}.boxed()
    }
}

/// A handler whose runs begin, and end when they are let.
pub struct Gate {
    pub begun: Arc<Semaphore>,
    pub ends: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Gate {
        Gate {
            begun: Arc::new(Semaphore::new(0)),
            ends: Arc::new(Semaphore::new(0)),
        }
    }

    pub fn handler(
        &self,
        ledger: &Arc<Ledger>,
    ) -> impl Fn(u64) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static {
        let (ledger, begun, ends) = (ledger.clone(), self.begun.clone(), self.ends.clone());
        move |run| {
            let (ledger, begun, ends) = (ledger.clone(), begun.clone(), ends.clone());
            async move {
                begun.add_permits(1);
                ends.acquire().await.unwrap().forget();
                ledger.finish(run);
            }
            .boxed()
        }
    }

    pub async fn wait_for_begun(&self, count: u32) {
        let begun = stage::must(self.begun.acquire_many(count)).await;
        begun.unwrap().forget();
    }
}

/// A consumer under way.
pub struct RunConsumer {
    stop: Option<oneshot::Sender<()>>,
    consuming: JoinHandle<Result<(), Error>>,
}

impl RunConsumer {
    pub fn start<H>(
        queue: &RunQueue,
        config: RunConsumerConfig,
        ledger: &Arc<Ledger>,
        handler: H,
    ) -> RunConsumer
    where
        H: Fn(u64) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            // Dropping the sender is no order to stop: `kill` must not drain.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let consuming = consume_runs(queue.clone(), config, ledger.clone(), handler, shutdown);
        RunConsumer {
            stop: Some(stop),
            consuming: tokio::spawn(consuming),
        }
    }

    /// Tells it to shut down.
    pub fn shut_down(&mut self) {
        self.stop.take().expect("it is told once").send(()).unwrap();
    }

    /// Waits until it has drained.
    pub async fn drained(self) {
        stage::must(self.consuming).await.unwrap().unwrap();
    }

    pub async fn stop(mut self) {
        self.shut_down();
        self.drained().await;
    }

    /// Ends it at once, as far as a task can be killed.
    pub async fn kill(self) {
        self.consuming.abort();
        assert!(self.consuming.await.unwrap_err().is_cancelled());
    }
}

/// Waits until every band is empty and nothing is pending.
pub async fn empty(queue: &RunQueue) {
    stage::eventually(|| async { (queue.queued().await.ok()?.total() == 0).then_some(()) }).await;
}
