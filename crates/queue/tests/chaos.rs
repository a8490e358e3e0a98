//! Everything at once, by a schedule that is its seed: consumers come, go and are killed, Redis is
//! flushed and crashes, deliveries fail, and the dispatcher goes on pushing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_queue::{Delivery, Queue, Received, Verdict};
use tidegate_testkit::Redis;

use crate::stage::{self, Consumer, Grants, Record};

const EVENTS: usize = 60;

/// xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// The dispatcher and its log: pushes in order, and after a loss from the first without an outcome.
struct Dispatcher {
    queue: Queue,
    record: Record,
    log: Vec<Delivery>,
    generation: u64,
}

impl Dispatcher {
    async fn append(&mut self, count: usize) {
        let from = self.log.len() as u64;
        let more = (from + 1..=from + count as u64).map(|log_offset| {
            let key = log_offset * log_offset % 41;
            stage::delivery(log_offset, &format!("key {key}"))
        });
        self.log.extend(more);
        let more = &self.log[from as usize..];
        if self.queue.push(self.generation, more).await.is_err() {
            self.queue_again().await;
        }
    }

    /// Opens the next generation, and queues what has no outcome.
    async fn queue_again(&mut self) {
        self.generation += 1;
        let (queue, generation) = (&self.queue, self.generation);
        let end_of_log = self.log.len() as u64;
        let open = || async { queue.open_generation(generation, end_of_log).await.ok() };
        stage::eventually(open).await;
        let is_pending = |delivery: &&Delivery| !self.record.is_done(delivery.log_offset);
        let pending: Vec<Delivery> = self.log.iter().filter(is_pending).cloned().collect();
        self.queue.push(generation, &pending).await.unwrap();
    }

    /// What an idle dispatcher does.
    async fn check(&mut self) {
        let queue = &self.queue;
        let generation = stage::eventually(|| async { queue.generation().await.ok() }).await;
        if generation != Some(self.generation) {
            self.queue_again().await;
        }
    }
}

/// One consumer, and what it has under way.
struct Node {
    member: usize,
    consumer: Consumer,
    under_way: Arc<()>,
}

impl Node {
    fn start(member: usize, queue: &Queue, grants: &Grants, record: &Record) -> Node {
        let under_way = Arc::new(());
        let handler = flaky(record.clone(), under_way.clone());
        let consumer = Consumer::start(queue, grants.join(member), handler);
        Node {
            member,
            consumer,
            under_way,
        }
    }

    async fn kill(self, grants: &Grants) {
        self.consumer.kill().await;
        // One is here.
        let ended = || async { (Arc::strong_count(&self.under_way) == 1).then_some(()) };
        stage::eventually(ended).await;
        grants.expire(self.member);
    }

    async fn stop(self, grants: &Grants) {
        self.consumer.stop().await;
        grants.expire(self.member);
    }
}

/// Fails now and then, before or after its outcome is recorded.
fn flaky(
    record: Record,
    under_way: Arc<()>,
) -> impl Fn(Received) -> BoxFuture<'static, Verdict> + Clone + Send + Sync + 'static {
    move |received| {
        let (record, under_way) = (record.clone(), under_way.clone());
        async move {
            let _under_way = under_way;
            let luck = received.delivery.log_offset * 7 + u64::from(received.retry);
            let retry = Verdict::Retry {
                after: Duration::from_millis(luck % 20),
            };
            if let Some(begun) = record.begin(&received) {
                for _ in 0..luck % 5 {
                    tokio::task::yield_now().await;
                }
                if luck % 11 == 0 {
                    return retry;
                }
                begun.finish();
                if luck % 13 == 0 {
                    return retry;
                }
            }
            Verdict::Done
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_order_holds_and_nothing_is_lost() {
    for seed in [1, 0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03] {
        run(Dice(seed)).await;
    }
}

async fn run(mut dice: Dice) {
    let redis = Redis::durable();
    let (record, grants) = (Record::new(), Grants::default());
    let queue = stage::open(redis.url()).await;
    let mut dispatcher = Dispatcher {
        queue: queue.clone(),
        record: record.clone(),
        log: Vec::new(),
        generation: 1,
    };
    let mut nodes = Vec::new();
    for member in 1..=EVENTS {
        match dice.roll(12) {
            0..6 => dispatcher.append(1 + dice.roll(200)).await,
            6..8 => nodes.push(Node::start(member, &queue, &grants, &record)),
            8 if !nodes.is_empty() => {
                let node: Node = nodes.swap_remove(dice.roll(nodes.len()));
                node.stop(&grants).await;
            }
            9 if !nodes.is_empty() => {
                let node: Node = nodes.swap_remove(dice.roll(nodes.len()));
                node.kill(&grants).await;
            }
            10 => redis.flushall(),
            11 => redis.restart(),
            _ => dispatcher.check().await,
        }
    }
    nodes.push(Node::start(EVENTS + 1, &queue, &grants, &record));
    dispatcher.check().await;
    record.wait_for(dispatcher.log.len()).await;
    record.assert_order();
    stage::empty(&queue).await;
    for node in nodes {
        node.stop(&grants).await;
    }
}
