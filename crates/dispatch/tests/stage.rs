//! What the tests play on: a log, a queue, a dispatcher, and a worker whose handler waits until it is let go.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_dispatch::Config;
use tidegate_event::change::FORMAT_VERSION;
use tidegate_event::{
    ChangeEvent, Delivery, EventId, Lsn, Operation, RequestContext, Row, Trigger, TriggerKind,
    TriggerSet,
};
use tidegate_event_log::{
    Appender, Checkpoint, EventLog, LaneLease, Lanes, Outcome, Status, append,
};
use tidegate_queue::{
    BoxError, ConsumerConfig, Lane, LaneLeases, Queue, Received, Verdict, consume,
};
use tidegate_testkit::{Database, Postgres, Redis};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LANES: u16 = 4;
const SLOT: &str = "test";
/// After this long without what must come, a test fails. Not a bound that is asserted.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stage {
    pub database: Database,
    pub redis: Redis,
    pub log: EventLog,
    pub queue: Queue,
    pub config: Config,
    pub triggers: watch::Sender<TriggerSet>,
    /// What was run, in order.
    pub ran: Arc<Mutex<Vec<Ran>>>,
    /// Tables whose handler waits, and objects.
    slow: watch::Sender<HashSet<String>>,
    appender: Appender,
    events: u64,
    shutdown: CancellationToken,
    dispatcher: Option<JoinHandle<()>>,
    worker: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub table: String,
    pub object: String,
    /// Which of all events it was, from 1.
    pub number: u64,
}

pub fn on(class: &str) -> Trigger {
    Trigger::code(TriggerKind::AfterSave, class)
}

impl Stage {
    pub async fn set(classes: &[&str], max_queued: u64) -> Stage {
        let database = Postgres::shared().create_database().await;
        let redis = Redis::start();
        let log = EventLog::connect(tidegate_event_log::Config {
            database_url: database.url().to_owned(),
            max_connections: 8,
        });
        let log = log.await.unwrap();
        let queue = Queue::connect(tidegate_queue::Config {
            redis_url: redis.url().into(),
            namespace: "test".into(),
            lanes: LANES,
            max_queued: 100_000,
        });
        let checkpoint = Checkpoint {
            slot_name: SLOT.into(),
            epoch: 1,
            system_identifier: "1".into(),
            timeline: 1,
            commit_lsn: Lsn(0),
            ordinal: 0,
            end_lsn: Lsn(0),
            oldest_xid: None,
        };
        log.create_checkpoint(&checkpoint).await.unwrap();
        Stage {
            appender: log.appender(checkpoint).await.unwrap(),
            queue: queue.await.unwrap(),
            config: Config {
                batch_max_events: 100,
                max_queued,
                max_queued_bytes: 1 << 28,
                settle_interval: Duration::from_secs(1),
                standby_interval: Duration::from_millis(100),
                keep_days: 7,
                keep_dead_days: 90,
            },
            triggers: watch::channel(classes.iter().map(|class| on(class)).collect()).0,
            ran: Arc::default(),
            slow: watch::channel(HashSet::new()).0,
            events: 0,
            shutdown: CancellationToken::new(),
            dispatcher: None,
            worker: None,
            database,
            redis,
            log,
        }
    }

    /// Commits changes, each of an object of a table.
    pub async fn commit(&mut self, changes: &[(&str, &str)]) {
        for changes in changes.chunks(append::MAX_EVENTS_PER_APPEND) {
            let events: Vec<ChangeEvent> = changes
                .iter()
                .map(|(table, object)| {
                    self.events += 1;
                    event(self.events, table, object)
                })
                .collect();
            self.appender
                .append(&events, Lsn(self.events))
                .await
                .unwrap();
        }
    }

    pub fn dispatch(&mut self) {
        let (config, log, queue) = (self.config.clone(), self.log.clone(), self.queue.clone());
        let (triggers, shutdown) = (self.triggers.subscribe(), self.shutdown.clone());
        self.dispatcher = Some(tokio::spawn(async move {
            tidegate_dispatch::run(config, log, queue, triggers, shutdown)
                .await
                .unwrap();
        }));
    }

    /// Ends the dispatcher where it is, as a crash would.
    pub async fn crash_dispatch(&mut self) {
        let dispatcher = self.dispatcher.take().unwrap();
        dispatcher.abort();
        let _ = dispatcher.await;
    }

    /// Handlers of these tables or objects wait until they are left out.
    pub fn slow(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.slow.send_replace(names);
    }

    pub async fn work(&mut self) {
        let lanes = LANES + tidegate_queue::config::LIMITED_LANES;
        let lanes = self.log.lanes("worker", lanes, Duration::from_secs(3));
        let leases = Arc::new(Leases(lanes.await.unwrap()));
        let worker = Worker {
            log: self.log.clone(),
            ran: Arc::clone(&self.ran),
            slow: self.slow.subscribe(),
            paused: self.log.watch_paused().await.unwrap(),
        };
        let consumer = ConsumerConfig {
            worker_name: "worker".into(),
            // More than any share of the queue in these tests: a slow handler keeps none from running.
            concurrency: 200,
            max_buffered: 256,
            drain_timeout: Duration::from_secs(1),
        };
        let (stop, stopped) = oneshot::channel();
        let queue = self.queue.clone();
        let handler = move |received| worker.clone().run(received);
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            consume(queue, consumer, leases, handler, stopped)
                .await
                .unwrap();
        });
        self.worker = Some((stop, task));
    }

    /// Objects of a table in the order in which their handlers ran to their end.
    pub fn ran_of(&self, table: &str) -> Vec<Ran> {
        let ran = self.ran.lock().unwrap();
        ran.iter()
            .filter(|ran| ran.table == table)
            .cloned()
            .collect()
    }

    pub async fn count(&self, query: &str) -> i64 {
        let row = self.database.connect().await.query_one(query, &[]).await;
        row.unwrap().get(0)
    }

    pub async fn held(&self) -> i64 {
        self.count("select count(*) from tidegate.outcome where status = 'held'")
            .await
    }

    pub async fn until(&self, what: &str, mut is_so: impl AsyncFnMut(&Stage) -> bool) {
        let begun = Instant::now();
        while !is_so(self).await {
            assert!(begun.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until every event has been dispatched and every delivery has its final outcome, and none is held.
    pub async fn until_settled(&self) {
        self.until("all is settled", async |stage| {
            let open = "select (select last_offset from tidegate.log) - settled_offset
                             + (select count(*) from tidegate.outcome where status in ('held', 'retry'))
                          from tidegate.dispatch";
            stage.count(open).await == 0
        })
        .await;
    }

    /// Fails unless every event of a table ran, each object's in order, and none twice.
    pub fn assert_ran_in_order(&self, table: &str, count: usize) {
        let ran = self.ran_of(table);
        assert_eq!(ran.len(), count, "runs of {table}");
        let mut last = std::collections::HashMap::new();
        for Ran { object, number, .. } in &ran {
            let before = last.insert(object.clone(), *number);
            assert!(
                before < Some(*number),
                "{object}: {number} after {before:?}"
            );
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let tasks = [self.dispatcher.take(), self.worker.take().map(|w| w.1)];
        for task in tasks.into_iter().flatten() {
            task.abort();
        }
    }
}

#[derive(Clone)]
struct Worker {
    log: EventLog,
    ran: Arc<Mutex<Vec<Ran>>>,
    slow: watch::Receiver<HashSet<String>>,
    paused: watch::Receiver<HashSet<String>>,
}

impl Worker {
    async fn run(mut self, received: Received) -> Verdict {
        let delivery: Delivery = serde_json::from_slice(&received.delivery.payload).unwrap();
        let earlier = self
            .log
            .recorded_outcome(delivery.log_offset, &delivery.trigger);
        if earlier.await.unwrap().is_some() {
            return Verdict::Done;
        }
        let mut status = Status::Held;
        if !self.paused.borrow().contains(&delivery.trigger.to_string()) {
            status = Status::Done;
            let ran = Ran {
                table: delivery.event.table.clone(),
                object: delivery.event.key["objectId"].clone().unwrap(),
                number: delivery.event.id.commit_lsn.0,
            };
            let is_free =
                |slow: &HashSet<String>| !slow.contains(&ran.table) && !slow.contains(&ran.object);
            let _ = self.slow.wait_for(is_free).await;
            self.ran.lock().unwrap().push(ran);
        }
        let outcome = Outcome {
            log_offset: delivery.log_offset,
            trigger: delivery.trigger,
            status,
            attempts: 1,
            crashes: 0,
            error: None,
            logs: None,
            duration_us: 1,
            lane: LaneLease {
                lane: received.lane.index,
                fence: received.lane.fence,
            },
        };
        match self.log.record_outcomes(&[outcome]).await.unwrap().len() {
            1 => Verdict::Done,
            _ => Verdict::Retry {
                after: Duration::from_millis(100),
            },
        }
    }
}

struct Leases(Lanes);

impl LaneLeases for Leases {
    fn renew<'a>(&'a self, busy: &'a [u16]) -> BoxFuture<'a, Result<Vec<Lane>, BoxError>> {
        async {
            let leased = |lease: LaneLease| Lane {
                index: lease.lane,
                fence: lease.fence,
            };
            Ok(self.0.renew(busy).await?.into_iter().map(leased).collect())
        }
        .boxed()
    }

    fn release<'a>(&'a self, _: &'a [Lane]) -> BoxFuture<'a, Result<(), BoxError>> {
        async { Ok(()) }.boxed()
    }

    fn renew_interval(&self) -> Duration {
        self.0.lease() / 5
    }

    fn lease_duration(&self) -> Duration {
        self.0.lease()
    }
}

fn event(number: u64, table: &str, object: &str) -> ChangeEvent {
    ChangeEvent {
        v: FORMAT_VERSION,
        id: EventId {
            epoch: 1,
            commit_lsn: Lsn(number),
            ordinal: 0,
        },
        xid: 7,
        commit_time_us: 0,
        schema: "public".into(),
        table: table.into(),
        operation: Operation::Update,
        key: Row::from([("objectId".into(), Some(object.into()))]),
        old: None,
        new: Some(Row::from([("objectId".into(), Some(object.into()))])),
        changed: Vec::new(),
        unchanged_toast: Vec::new(),
        truncated: Default::default(),
        context: RequestContext::direct_sql(),
    }
}
