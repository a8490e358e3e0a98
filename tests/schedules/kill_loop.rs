//! Three schedulers, of which one after another is killed or stopped: each due time fires, and once.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tidegate_event::failpoint;

use super::{JOBS, create, history, wait_for_fires};
use crate::system::{PATIENCE, System, breathe};

const SCHEDULERS: usize = 3;

/// What a scheduler says when it takes the lead, and when it has lost it.
const LEADS: &str = "leading the scheduler";
const INTERRUPTED: &str = "scheduling was interrupted";

struct Schedulers {
    system: System,
    indexes: Vec<usize>,
}

impl Schedulers {
    /// A proxy, a worker, three schedulers and a schedule of each second.
    async fn start() -> Schedulers {
        let mut system = System::prepare(JOBS).await;
        system.serve("proxy,capture,worker");
        let indexes = (0..SCHEDULERS).map(|_| system.serve("scheduler")).collect();
        let options = json!({"every": "1s", "missed": "all", "overlap": "allow"});
        create(&system, "beat", "note", options).await;
        Schedulers { system, indexes }
    }

    fn kill(&mut self, which: usize) {
        self.system.server(self.indexes[which]).kill();
    }

    /// Another in its stead; nobody waits until it works.
    fn replace(&mut self, which: usize) {
        let server = self.system.spawn("scheduler");
        self.indexes[which] = self.system.adopt(server);
    }

    async fn wait_for_fires(&self, count: usize) {
        wait_for_fires(&self.system, "beat", "started", count).await;
    }

    async fn fired(&self) -> usize {
        history(&self.system, "beat").await.len()
    }

    /// Which of them leads: who last said so and has not said since that it was interrupted.
    async fn leader(&mut self) -> usize {
        let begun = std::time::Instant::now();
        loop {
            for which in 0..SCHEDULERS {
                let server = self.system.server(self.indexes[which]);
                let said = |what: &str| server.lines(what).len();
                if said(LEADS) > said(INTERRUPTED) {
                    return which;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
            breathe().await;
        }
    }

    /// Every due time from the first to the last fired, each made one run, each run succeeded and has one effect.
    async fn check(&self) {
        let system = &self.system;
        system
            .wait_for_sql("select bool_and(state = 'succeeded') from tidegate.fire_history")
            .await;
        let client = system.sql().await;
        let row = client
            .query_one(
                "select count(*), count(distinct run_id),
                        count(*) filter (where result <> 'started'),
                        count(*) filter (where due_at - before <> interval '1 second'),
                        (select count(*) from tidegate.run where schedule_id = fires.schedule_id)
                   from (select *, lag(due_at) over (order by due_at) as before from tidegate.fire_history) as fires
                  group by schedule_id",
                &[],
            )
            .await
            .unwrap();
        let [fires, runs, others, gaps, made] = [0, 1, 2, 3, 4].map(|at| row.get::<_, i64>(at));
        assert_eq!((fires, made), (runs, runs), "a due time is a run");
        assert_eq!((others, gaps), (0, 0), "all due times in their order");
        let ran = system.find("Ran", json!({})).await;
        let mut due: Vec<&str> = ran
            .iter()
            .map(|ran| ran["dueAt"].as_str().unwrap())
            .collect();
        due.sort_unstable();
        due.dedup();
        assert_eq!((ran.len(), due.len()), (fires as usize, fires as usize));
    }
}

/// SplitMix64: the same choices on every machine.
fn choose(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) % below as u64) as usize
}

#[tokio::test]
async fn killed_again_and_again_they_fire_each_due_time_once() {
    let mut schedulers = Schedulers::start().await;
    let mut seed = 4;
    for round in 1..=12 {
        schedulers.wait_for_fires(round).await;
        // Every third time the one that leads, because most others only stand by.
        let which = match round % 3 {
            0 => schedulers.leader().await,
            _ => choose(&mut seed, SCHEDULERS),
        };
        schedulers.kill(which);
        schedulers.replace(which);
    }
    let fired = schedulers.fired().await;
    schedulers.wait_for_fires(fired + 2).await;
    schedulers.check().await;
}

#[tokio::test]
async fn all_of_them_killed_at_once_lose_nothing() {
    let mut schedulers = Schedulers::start().await;
    for round in 1..=3 {
        schedulers.wait_for_fires(round).await;
        (0..SCHEDULERS).for_each(|which| schedulers.kill(which));
        (0..SCHEDULERS).for_each(|which| schedulers.replace(which));
    }
    let fired = schedulers.fired().await;
    schedulers.wait_for_fires(fired + 2).await;
    schedulers.check().await;
}

/// Between each two of its durable effects, at a passage that has work in hand.
#[tokio::test]
async fn killed_at_each_named_place_they_fire_each_due_time_once() {
    let mut schedulers = Schedulers::start().await;
    for place in failpoint::SCHEDULER {
        let fired = schedulers.fired().await;
        (0..SCHEDULERS).for_each(|which| schedulers.kill(which));
        let mut armed = schedulers.system.spawn_armed("scheduler", place, 2);
        assert_eq!(armed.wait(), None, "{place} ends it");
        (0..SCHEDULERS).for_each(|which| schedulers.replace(which));
        schedulers.wait_for_fires(fired + 3).await;
    }
    schedulers.check().await;
}

/// A leader that stands still must not hold up the others, and must not fire what they have fired when it goes on.
#[tokio::test]
async fn a_leader_that_is_stopped_is_replaced_and_fires_nothing_twice_when_it_goes_on() {
    let mut schedulers = Schedulers::start().await;
    schedulers.wait_for_fires(2).await;
    for _ in 0..2 {
        let leader = schedulers.leader().await;
        let stopped = Pid::from_raw(schedulers.system.server(schedulers.indexes[leader]).pid());
        kill(stopped, Signal::SIGSTOP).unwrap();
        let fired = schedulers.fired().await;
        // While it is stopped.
        schedulers.wait_for_fires(fired + 3).await;
        kill(stopped, Signal::SIGCONT).unwrap();
        let server = schedulers.system.server(schedulers.indexes[leader]);
        let leads = server.lines(LEADS).len();
        server.wait_for_lines(INTERRUPTED, leads);
        let fired = schedulers.fired().await;
        schedulers.wait_for_fires(fired + 2).await;
    }
    schedulers.check().await;
}
