//! Chooses faults by a seed, carries them out, and measures how long until every object is served and jobs run again.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidegate_event::failpoint;

use super::fleet::{Fleet, OBJECTS, ROLES};
use super::witness::Call;
use super::writers::Writers;
use crate::system::breathe;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillProxy,
    KillCapture,
    KillWorker,
    KillScheduler,
    KillIsolates,
    KillAll,
    StopWorker,
    StopCapture,
    StopScheduler,
    KillPostgres,
    RestartPostgres,
    KillRedis,
    FlushRedis,
    CutPostgres,
    CutRedis,
    SwallowPostgres,
    SwallowRedis,
    SlowPostgres,
    SlowRedis,
}

use Fault::*;

/// Each with its share. Kills of our own processes are the most.
const FAULTS: [(Fault, u32); 19] = [
    (KillProxy, 6),
    (KillCapture, 14),
    (KillWorker, 14),
    (KillScheduler, 12),
    (KillIsolates, 8),
    (KillAll, 4),
    (StopWorker, 3),
    (StopCapture, 2),
    (StopScheduler, 3),
    (KillPostgres, 3),
    (RestartPostgres, 1),
    (KillRedis, 4),
    (FlushRedis, 5),
    (CutPostgres, 4),
    (CutRedis, 4),
    (SwallowPostgres, 1),
    (SwallowRedis, 1),
    (SlowPostgres, 1),
    (SlowRedis, 1),
];

/// How long a process is stopped, or a connection swallowed: longer than a lane's lease, a job's, and a scheduler's lead.
const SPELL: Duration = Duration::from_millis(2500);

/// Longer than anything that is measured; not a bound that is asserted.
const GIVE_UP: Duration = Duration::from_secs(120);

/// SplitMix64: a few lines, and the same sequence on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % u64::from(below)) as u32
    }
}

pub struct Storm {
    dice: Dice,
    /// Processes killed, of ours, Postgres's and Redis's; failpoints not counted.
    pub kills: usize,
    pub struck: BTreeMap<Fault, usize>,
    /// From a fault's end to the first delivery, for each object, of a write acknowledged after it, and the end of a job
    /// that was started and of one that was due after it.
    pub recoveries: BTreeMap<Fault, Vec<Duration>>,
}

impl Storm {
    pub fn new(seed: u64) -> Storm {
        Storm {
            dice: Dice(seed),
            kills: 0,
            struck: BTreeMap::new(),
            recoveries: BTreeMap::new(),
        }
    }

    pub fn faults(&self) -> usize {
        self.struck.values().sum()
    }

    /// One fault; after every other the recovery is waited for, the rest overlap.
    pub async fn strike(&mut self, fleet: &mut Fleet, writers: &Writers) {
        let fault = self.choose();
        *self.struck.entry(fault).or_default() += 1;
        let begun = Instant::now();
        eprintln!("{:>6} {fault:?}", self.faults());
        self.carry_out(fault, fleet).await;
        // What a spell delays, it delays; what a kill interrupts counts from the kill.
        let from = if fault.is_spell() {
            Instant::now()
        } else {
            begun
        };
        self.revive(fleet);
        if self.dice.roll(2) == 0 {
            self.recover(fault, from, fleet, writers).await;
        } else {
            let pause = Duration::from_millis(u64::from(100 + self.dice.roll(900)));
            tokio::time::sleep(pause).await;
            self.revive(fleet);
        }
    }

    fn choose(&mut self) -> Fault {
        let all = FAULTS.iter().map(|(_, share)| share).sum();
        let mut rolled = self.dice.roll(all);
        for (fault, share) in FAULTS {
            if rolled < share {
                return fault;
            }
            rolled -= share;
        }
        unreachable!("the shares sum up to what was rolled below")
    }

    /// Starts what is down. Half of it is to end again at a named place, after some passages.
    fn revive(&mut self, fleet: &mut Fleet) {
        let dice = &mut self.dice;
        fleet.revive(|roles| {
            if dice.roll(2) == 0 {
                return None;
            }
            let places: Vec<&'static str> = places().filter(|place| is_in(roles, place)).collect();
            let place = *places.get(dice.roll(places.len().max(1) as u32) as usize)?;
            Some((place, 1 + dice.roll(40)))
        });
    }

    async fn carry_out(&mut self, fault: Fault, fleet: &mut Fleet) {
        match fault {
            KillProxy | KillCapture | KillWorker | KillScheduler => {
                let index = self.one_of(fault.stage());
                fleet.kill(index);
                self.kills += 1;
            }
            KillIsolates => {
                let index = self.one_of("worker");
                for pid in descendants(fleet.pid(index)) {
                    self.kills += usize::from(kill(pid, Signal::SIGKILL).is_ok());
                }
            }
            KillAll => {
                for index in 0..ROLES.len() {
                    fleet.kill(index);
                    self.kills += 1;
                }
            }
            StopWorker | StopCapture | StopScheduler => {
                let pid = Pid::from_raw(fleet.pid(self.one_of(fault.stage())));
                let _ = kill(pid, Signal::SIGSTOP);
                tokio::time::sleep(SPELL).await;
                let _ = kill(pid, Signal::SIGCONT);
            }
            KillPostgres => {
                fleet.postgres.kill9();
                self.kills += 1;
                fleet.postgres.restart();
            }
            RestartPostgres => fleet.postgres.restart(),
            KillRedis => {
                fleet.system.redis.kill9();
                self.kills += 1;
                fleet.system.redis.restart();
            }
            FlushRedis => fleet.system.redis.flushall(),
            CutPostgres => fleet.to_postgres.cut(),
            CutRedis => fleet.to_redis.cut(),
            SwallowPostgres | SwallowRedis => {
                let proxy = match fault {
                    SwallowPostgres => &fleet.to_postgres,
                    _ => &fleet.to_redis,
                };
                proxy.black_hole(true);
                tokio::time::sleep(SPELL).await;
                proxy.black_hole(false);
            }
            SlowPostgres | SlowRedis => {
                let proxy = match fault {
                    SlowPostgres => &fleet.to_postgres,
                    _ => &fleet.to_redis,
                };
                proxy.delay(Duration::from_millis(20));
                tokio::time::sleep(SPELL).await;
                proxy.delay(Duration::ZERO);
            }
        }
    }

    fn one_of(&mut self, stage: &str) -> usize {
        let indexes: Vec<usize> = (0..ROLES.len())
            .filter(|&index| ROLES[index].contains(stage))
            .collect();
        indexes[self.dice.roll(indexes.len() as u32) as usize]
    }

    async fn recover(&mut self, fault: Fault, from: Instant, fleet: &mut Fleet, writers: &Writers) {
        let mut served = HashSet::new();
        let mut known = fleet.witness.count();
        while served.len() < OBJECTS {
            if from.elapsed() > GIVE_UP {
                break;
            }
            let calls = fleet.witness.after(known);
            known += calls.len();
            served.extend(acknowledged_after(writers, from, calls));
            self.revive(fleet);
            breathe().await;
        }
        while !fleet.has_run_what_came_after(from.elapsed()).await && from.elapsed() < GIVE_UP {
            self.revive(fleet);
            breathe().await;
        }
        self.recoveries
            .entry(fault)
            .or_default()
            .push(from.elapsed());
    }
}

/// Every place that events, runs and fires pass.
fn places() -> impl Iterator<Item = &'static str> {
    failpoint::ALL
        .into_iter()
        .chain(failpoint::JOBS)
        .chain([failpoint::JOB_STEPPED])
        .chain(failpoint::SCHEDULER)
}

fn is_in(roles: &str, place: &str) -> bool {
    let stage = match place {
        failpoint::JOB_ASKED => "proxy",
        _ => place.split('-').next().expect("a place has a stage"),
    };
    // The others of jobs are a worker's.
    roles.contains(if stage == "job" { "worker" } else { stage })
}

/// The objects of those calls that are for a version acknowledged after `from`.
fn acknowledged_after(writers: &Writers, from: Instant, calls: Vec<Call>) -> Vec<String> {
    let ledger = writers.ledger.lock().unwrap();
    // One that is not in the ledger yet: its writer is about to be told.
    let is_new = |key: &(String, i64)| ledger.times.get(key).is_none_or(|time| *time > from);
    calls
        .into_iter()
        .map(|call| (call.item, call.version))
        .filter(is_new)
        .map(|(item, _)| item)
        .collect()
}

impl Fault {
    /// Lasts for a while, rather than being over at once.
    fn is_spell(self) -> bool {
        matches!(
            self,
            StopWorker
                | StopCapture
                | StopScheduler
                | SwallowPostgres
                | SwallowRedis
                | SlowPostgres
                | SlowRedis
        )
    }

    /// Whose process it is done to.
    fn stage(self) -> &'static str {
        match self {
            KillProxy => "proxy",
            KillCapture | StopCapture => "capture",
            KillScheduler | StopScheduler => "scheduler",
            _ => "worker",
        }
    }
}

/// A server's zygote and isolates.
fn descendants(of: i32) -> Vec<Pid> {
    let parents: BTreeMap<i32, i32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?;
            Some((pid, parent.parse().ok()?))
        })
        .collect();
    let is_below = |pid: i32| {
        let mut at = pid;
        while let Some(&parent) = parents.get(&at) {
            if parent == of {
                return true;
            }
            at = parent;
        }
        false
    };
    parents
        .keys()
        .filter(|&&pid| is_below(pid))
        .map(|&pid| Pid::from_raw(pid))
        .collect()
}
