//! What the tests play on: a queue on a Redis of its own, consumers, lanes granted in memory, and a
//! record of outcomes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use tidegate_queue::{
    BoxError, Config, ConsumerConfig, Delivery, Error, Lane, LaneLeases, Queue, Received, Verdict,
    consume,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub const LANES: u16 = 8;

/// After this long without an end, a test hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn config(redis_url: &str) -> Config {
    Config {
        redis_url: redis_url.into(),
        namespace: "test".into(),
        lanes: LANES,
        max_queued: 100_000,
    }
}

/// A queue with generation 1.
pub async fn open(redis_url: &str) -> Queue {
    let queue = Queue::connect(config(redis_url)).await.unwrap();
    queue.open_generation(1, 0).await.unwrap();
    queue
}

pub fn delivery(log_offset: u64, order_key: &str) -> Delivery {
    Delivery {
        log_offset,
        position: 0,
        order_key: order_key.into(),
        unordered: false,
        limit: None,
        payload: Bytes::from(format!("payload {log_offset}")),
    }
}

/// Deliveries from 1, over keys in turn.
pub fn deliveries(count: u64, keys: u64) -> Vec<Delivery> {
    (1..=count)
        .map(|log_offset| delivery(log_offset, &format!("key {}", log_offset % keys)))
        .collect()
}

/// Waits for what must come.
pub async fn must<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it takes far too long")
}

/// Asks until the answer is there.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let mut asking = tokio::time::interval(Duration::from_millis(5));
    must(async {
        loop {
            asking.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    })
    .await
}

/// Plays the part of Postgres: what has been done, in which order, and that no key runs twice at
/// once.
#[derive(Clone)]
pub struct Record {
    state: Arc<Mutex<Outcomes>>,
    done: watch::Sender<usize>,
}

#[derive(Default)]
struct Outcomes {
    done: BTreeSet<u64>,
    order: HashMap<String, Vec<u64>>,
    running: BTreeMap<String, u64>,
}

/// A handler under way. Dropped, it has ended, with an outcome or without.
pub struct Begun {
    record: Record,
    delivery: Delivery,
}

impl Record {
    pub fn new() -> Record {
        Record {
            state: Arc::default(),
            done: watch::Sender::new(0),
        }
    }

    /// A handler's beginning. None: it has been done before, which is fine only if the queue
    /// warned.
    pub fn begin(&self, received: &Received) -> Option<Begun> {
        let delivery = &received.delivery;
        let mut state = self.state.lock().unwrap();
        if state.done.contains(&delivery.log_offset) {
            assert!(
                received.maybe_repeated,
                "repeated without warning: {delivery:?}"
            );
            return None;
        }
        let other = state
            .running
            .insert(delivery.order_key.clone(), delivery.log_offset);
        assert_eq!(other, None, "runs beside {delivery:?}");
        Some(Begun {
            record: self.clone(),
            delivery: delivery.clone(),
        })
    }

    /// Waits until no handler is under way.
    pub async fn at_rest(&self) {
        eventually(|| async { self.state.lock().unwrap().running.is_empty().then_some(()) }).await;
    }

    pub async fn wait_for(&self, count: usize) {
        let mut done = self.done.subscribe();
        must(done.wait_for(|done| *done >= count)).await.unwrap();
    }

    pub fn count(&self) -> usize {
        *self.done.borrow()
    }

    pub fn is_done(&self, log_offset: u64) -> bool {
        self.state.lock().unwrap().done.contains(&log_offset)
    }

    pub fn order_of(&self, key: &str) -> Vec<u64> {
        self.state
            .lock()
            .unwrap()
            .order
            .get(key)
            .cloned()
            .unwrap_or_default()
    }

    /// Every key's deliveries were done in order.
    pub fn assert_order(&self) {
        for (key, order) in &self.state.lock().unwrap().order {
            assert!(order.is_sorted(), "{key}: {order:?}");
        }
    }
}

impl Begun {
    /// The outcome is recorded.
    pub fn finish(self) {
        let mut state = self.record.state.lock().unwrap();
        let order = state
            .order
            .entry(self.delivery.order_key.clone())
            .or_default();
        order.push(self.delivery.log_offset);
        state.done.insert(self.delivery.log_offset);
        self.record.done.send_replace(state.done.len());
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.record
            .state
            .lock()
            .unwrap()
            .running
            .remove(&self.delivery.order_key);
    }
}

/// Records every delivery as done, yielding in between so that handlers interleave.
pub fn recording(
    record: &Record,
) -> impl Fn(Received) -> BoxFuture<'static, Verdict> + Clone + Send + Sync + 'static {
    let record = record.clone();
    move |received| {
        let record = record.clone();
        async move {
            if let Some(begun) = record.begin(&received) {
                for _ in 0..received.delivery.log_offset % 4 {
                    tokio::task::yield_now().await;
                }
                begun.finish();
            }
            Verdict::Done
        }
        .boxed()
    }
}

/// Grants lanes evenly among its members, as the worker does through Postgres: a lane changes hands
/// only when it was released. Leases do not run out by themselves here, unless [`Grants::expire`].
#[derive(Clone, Default)]
pub struct Grants {
    state: Arc<Mutex<Granted>>,
}

#[derive(Default)]
struct Granted {
    members: Vec<usize>,
    /// Owner and fence of each lane.
    lanes: BTreeMap<u16, (usize, u64)>,
    last_fence: u64,
    down: bool,
    renewals: BTreeMap<usize, usize>,
}

impl Grants {
    pub fn join(&self, member: usize) -> Arc<Member> {
        self.state.lock().unwrap().members.push(member);
        Arc::new(Member {
            grants: self.clone(),
            member,
            lease_duration: Duration::from_secs(20),
        })
    }

    /// A member that is gone without a word: its lanes are free.
    pub fn expire(&self, member: usize) {
        let mut state = self.state.lock().unwrap();
        state.members.retain(|other| *other != member);
        state.lanes.retain(|_, (owner, _)| *owner != member);
    }

    /// Makes renewals fail, or work again.
    pub fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    pub fn held_by(&self, member: usize) -> usize {
        self.state
            .lock()
            .unwrap()
            .lanes
            .values()
            .filter(|(owner, _)| *owner == member)
            .count()
    }

    /// How often a member has renewed.
    pub fn renewals(&self, member: usize) -> usize {
        self.state
            .lock()
            .unwrap()
            .renewals
            .get(&member)
            .copied()
            .unwrap_or_default()
    }
}

impl Granted {
    fn renew(&mut self, member: usize) -> Result<Vec<Lane>, BoxError> {
        if self.down {
            return Err("postgres is down".into());
        }
        *self.renewals.entry(member).or_default() += 1;
        let rank = self
            .members
            .iter()
            .position(|other| *other == member)
            .ok_or("no member")?;
        let due: Vec<u16> = (0..LANES)
            .filter(|lane| usize::from(*lane) % self.members.len() == rank)
            .collect();
        for lane in &due {
            if !self.lanes.contains_key(lane) {
                self.last_fence += 1;
                self.lanes.insert(*lane, (member, self.last_fence));
            }
        }
        let mine = |lane: u16| match self.lanes.get(&lane) {
            Some((owner, fence)) if *owner == member => Some(Lane {
                index: lane,
                fence: *fence,
            }),
            _ => None,
        };
        Ok(due.into_iter().filter_map(mine).collect())
    }

    fn release(&mut self, member: usize, lanes: &[Lane]) {
        for lane in lanes {
            if self.lanes.get(&lane.index) == Some(&(member, lane.fence)) {
                self.lanes.remove(&lane.index);
            }
        }
    }
}

pub struct Member {
    grants: Grants,
    member: usize,
    lease_duration: Duration,
}

impl Member {
    pub fn with_lease_duration(self: Arc<Member>, lease_duration: Duration) -> Arc<Member> {
        Arc::new(Member {
            grants: self.grants.clone(),
            member: self.member,
            lease_duration,
        })
    }
}

impl LaneLeases for Member {
    fn renew<'a>(&'a self, _busy: &'a [u16]) -> BoxFuture<'a, Result<Vec<Lane>, BoxError>> {
        async { self.grants.state.lock().unwrap().renew(self.member) }.boxed()
    }

    fn release<'a>(&'a self, lanes: &'a [Lane]) -> BoxFuture<'a, Result<(), BoxError>> {
        async {
            self.grants
                .state
                .lock()
                .unwrap()
                .release(self.member, lanes);
            Ok(())
        }
        .boxed()
    }

    fn renew_interval(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn lease_duration(&self) -> Duration {
        self.lease_duration
    }
}

/// A consumer under way.
pub struct Consumer {
    stop: Option<oneshot::Sender<()>>,
    noticed: oneshot::Receiver<()>,
    consuming: JoinHandle<Result<(), Error>>,
}

impl Consumer {
    pub fn start<H>(queue: &Queue, leases: Arc<dyn LaneLeases>, handler: H) -> Consumer
    where
        H: Fn(Received) -> BoxFuture<'static, Verdict> + Clone + Send + Sync + 'static,
    {
        let config = ConsumerConfig {
            worker_name: "test-worker".into(),
            concurrency: 16,
            max_buffered: 64,
            drain_timeout: Duration::from_secs(30),
        };
        Consumer::start_with(queue, config, leases, handler)
    }

    pub fn start_with<H>(
        queue: &Queue,
        config: ConsumerConfig,
        leases: Arc<dyn LaneLeases>,
        handler: H,
    ) -> Consumer
    where
        H: Fn(Received) -> BoxFuture<'static, Verdict> + Clone + Send + Sync + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let (notice, noticed) = oneshot::channel();
        let shutdown = async {
            // Dropping the sender is no order to stop: `kill` must not drain.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            notice.send(()).unwrap();
        };
        let consuming = tokio::spawn(consume(queue.clone(), config, leases, handler, shutdown));
        Consumer {
            stop: Some(stop),
            noticed,
            consuming,
        }
    }

    /// Tells it to shut down, and waits until it has heard.
    pub async fn shut_down(&mut self) {
        self.stop.take().expect("it is told once").send(()).unwrap();
        must(&mut self.noticed).await.unwrap();
    }

    /// Waits until it has drained.
    pub async fn drained(self) {
        must(self.consuming).await.unwrap().unwrap();
    }

    pub async fn stop(mut self) {
        self.shut_down().await;
        self.drained().await;
    }

    /// Ends it at once, as far as a task can be killed: nothing is acknowledged or released any
    /// more.
    pub async fn kill(self) {
        self.consuming.abort();
        assert!(self.consuming.await.unwrap_err().is_cancelled());
    }
}

/// Waits until nothing is queued.
pub async fn empty(queue: &Queue) {
    eventually(|| async { (queue.queued().await.ok()? == 0).then_some(()) }).await;
}
