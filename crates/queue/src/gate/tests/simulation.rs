//! Random schedules of everything that can happen to a consumer, checked against a model of what
//! Redis and Postgres hold.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::delivery::Limit;

const LANES: u16 = 3;
const KEYS: u64 = 7;
const STEPS: usize = 3000;

/// Deliveries of these keys, all of lane 0, are counted together.
const LIMITED_KEYS: [u64; 2] = [3, 6];
const MOST_AT_ONCE: usize = 1;
const MOST_A_SECOND: u32 = 2;

/// xorshift: a schedule is its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        let sides = from.len() as u64;
        (sides > 0).then(|| from.swap_remove(self.roll(sides) as usize))
    }
}

struct Cursor {
    epoch: u64,
    after: EntryId,
}

struct World {
    dice: Dice,
    gate: Gate,
    now: Instant,
    /// What the marker in Redis says, and the last generation that was opened.
    marker: Option<u64>,
    last_generation: u64,
    repeats_through: EntryId,
    fence: u64,
    leased: Vec<Lane>,
    next_offset: u64,
    /// What Redis holds: each lane's unacknowledged entries.
    streams: [BTreeMap<EntryId, Delivery>; LANES as usize],
    /// What Postgres holds: every delivery, and those with an outcome.
    pushed: BTreeMap<EntryId, Delivery>,
    done: BTreeSet<EntryId>,
    cursors: BTreeMap<u16, Cursor>,
    /// What a read brought and the gate has not been offered yet, with lane and epoch.
    read: Option<(u16, u64, Vec<Delivery>)>,
    running: Vec<Taken>,
    /// When limited ones began.
    begun: Vec<Instant>,
    fetches: Vec<Fetch>,
    unflushed: Vec<Acknowledgement>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut gate = Gate::new(MAX_BUFFERED, CONCURRENCY);
        gate.change_generation(Some(1));
        World {
            dice: Dice(seed),
            gate,
            now: Instant::now(),
            marker: Some(1),
            last_generation: 1,
            repeats_through: EntryId::ZERO,
            fence: 0,
            leased: Vec::new(),
            next_offset: 1,
            streams: Default::default(),
            pushed: BTreeMap::new(),
            done: BTreeSet::new(),
            cursors: BTreeMap::new(),
            read: None,
            running: Vec::new(),
            begun: Vec::new(),
            fetches: Vec::new(),
            unflushed: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..20 => self.push(),
            20..40 => self.read(),
            40..65 => self.take(),
            65..82 => self.settle(),
            82..89 => self.refetch(),
            89..94 => self.flush(),
            94..97 => self.now += SECOND / 2,
            97 => self.lease(),
            98 if self.dice.roll(4) == 0 => self.lose_leases(),
            99 if self.marker.is_some() => self.lose_redis(),
            99 => self.queue_again(),
            _ => {}
        }
        assert!(self.gate.fresh.len() <= MAX_BUFFERED + 4);
        assert!(self.gate.loaded_behind <= MAX_BUFFERED);
        assert!(self.gate.again.len() + self.gate.again_fetching <= MAX_BUFFERED);
    }

    fn push(&mut self) {
        let key = self.dice.roll(KEYS);
        let delivery = Delivery {
            unordered: key == 0,
            limit: LIMITED_KEYS.contains(&key).then(|| Limit {
                group: "limited".into(),
                concurrency: Some(MOST_AT_ONCE as u32),
                rate: Some((MOST_A_SECOND, SECOND)),
            }),
            ..delivery(self.next_offset, &key.to_string())
        };
        self.next_offset += 1;
        self.pushed.insert(delivery.id(), delivery.clone());
        if self.marker.is_some() {
            self.streams[lane_of(&delivery)].insert(delivery.id(), delivery);
        }
    }

    fn read(&mut self) {
        if let Some((lane, epoch, deliveries)) = self.read.take() {
            for delivery in deliveries {
                self.gate.offer(lane, epoch, delivery);
            }
            return;
        }
        if self.gate.generation() != self.marker {
            self.gate.change_generation(self.marker);
            self.cursors.clear();
        }
        self.begin();
        if self.gate.room() == 0 {
            return;
        }
        let lane = self.dice.roll(LANES.into()) as u16;
        let Some(cursor) = self.cursors.get_mut(&lane) else {
            return;
        };
        let after = cursor.after;
        let entries = self.streams[usize::from(lane)]
            .iter()
            .filter(|(id, _)| **id > after);
        let read: Vec<Delivery> = entries
            .take(4)
            .map(|(_, delivery)| delivery.clone())
            .collect();
        cursor.after = read.last().map_or(after, Delivery::id);
        self.read = Some((lane, cursor.epoch, read));
    }

    fn take(&mut self) {
        let Some(taken) = self.gate.take(self.now) else {
            return;
        };
        let delivery = &taken.received.delivery;
        assert!(self.leased.contains(&taken.received.lane));
        assert!(
            self.running
                .iter()
                .all(|other| other.slot.key != taken.slot.key),
            "{:?} runs twice",
            taken.slot
        );
        if self.done.contains(&delivery.id()) {
            assert!(
                taken.received.maybe_repeated,
                "{delivery:?} is repeated without warning"
            );
        } else if !delivery.unordered {
            let earlier = self
                .pushed
                .range(..delivery.id())
                .map(|(_, earlier)| earlier);
            let mut of_key = earlier.filter(|earlier| earlier.order_key == delivery.order_key);
            assert!(
                of_key.all(|earlier| self.done.contains(&earlier.id())),
                "{delivery:?} is early"
            );
        }
        if delivery.limit.is_some() {
            self.check_limits();
        }
        self.running.push(taken);
    }

    /// One more limited delivery begins.
    fn check_limits(&mut self) {
        let running = self.running.iter();
        let limited = running.filter(|taken| taken.received.delivery.limit.is_some());
        assert!(limited.count() < MOST_AT_ONCE, "too many at once");
        self.begun.push(self.now);
        let since = |begun: &&Instant| **begun + SECOND > self.now;
        let recent = self.begun.iter().rev().take_while(since).count();
        assert!(recent <= MOST_A_SECOND as usize, "too many a second");
    }

    fn settle(&mut self) {
        let verdict = match self.dice.roll(4) {
            0 if self.dice.roll(3) == 0 => Verdict::Later { after: SECOND },
            0 => LATER,
            _ => Verdict::Done,
        };
        if let Some(taken) = self.dice.pick(&mut self.running) {
            self.end(taken, verdict);
        }
    }

    fn end(&mut self, taken: Taken, verdict: Verdict) {
        if verdict == Verdict::Done {
            self.done.insert(taken.received.delivery.id());
        }
        self.unflushed
            .extend(self.gate.settle(&taken.slot, verdict, self.now));
    }

    /// Asks, or answers something that was asked for a while ago.
    fn refetch(&mut self) {
        let fetches = self.gate.take_fetches(self.now);
        self.fetches.extend(fetches);
        if let Some(fetch) = self.dice.pick(&mut self.fetches) {
            let stream = &self.streams[usize::from(fetch.slot.lane)];
            let answers = fetch.ids.iter().map(|id| stream.get(id).cloned()).collect();
            // What is missing after a flush is not known to be acknowledged.
            if self.marker == Some(fetch.generation) {
                self.gate.fetched(&fetch, answers);
            }
        }
    }

    fn flush(&mut self) {
        let unflushed = std::mem::take(&mut self.unflushed);
        for acknowledgement in &unflushed {
            if acknowledgement.generation.is_some() && acknowledgement.generation == self.marker {
                self.streams[usize::from(acknowledgement.lane)].remove(&acknowledgement.id);
            }
        }
        self.gate.flushed(&unflushed);
        self.gate.take_rested();
    }

    /// Renews, sometimes for other lanes than before, sometimes with ownership interrupted.
    fn lease(&mut self) {
        self.fence += self.dice.roll(2);
        let without = self.dice.roll(u64::from(LANES) + 2);
        let lane = |index| Lane {
            index,
            fence: self.fence,
        };
        let lanes: Vec<Lane> = (0..LANES)
            .filter(|index| u64::from(*index) != without)
            .map(lane)
            .collect();
        self.gate.grant(&lanes, self.now + 1000 * SECOND);
        self.leased = lanes;
    }

    fn begin(&mut self) {
        self.cursors
            .retain(|lane, cursor| self.gate.is_active(*lane, cursor.epoch));
        if self.marker.is_none() {
            return;
        }
        for lane in &self.leased {
            if self.cursors.contains_key(&lane.index) {
                continue;
            }
            let stream = &self.streams[usize::from(lane.index)];
            let last = stream.last_key_value().map_or(EntryId::ZERO, |(id, _)| *id);
            if let Some(epoch) = self.gate.activate(*lane, last.max(self.repeats_through)) {
                let after = EntryId::ZERO;
                self.cursors.insert(lane.index, Cursor { epoch, after });
            }
        }
    }

    fn lose_leases(&mut self) {
        self.gate.lose_leases();
        self.leased.clear();
    }

    /// FLUSHALL. The gate hears of it with the next read.
    fn lose_redis(&mut self) {
        self.marker = None;
        self.streams = Default::default();
    }

    /// The dispatcher opens a new generation with what has no outcome.
    fn queue_again(&mut self) {
        self.last_generation += 1;
        self.marker = Some(self.last_generation);
        self.repeats_through = EntryId::last_of(self.next_offset - 1);
        for (id, delivery) in &self.pushed {
            if !self.done.contains(id) {
                self.streams[lane_of(delivery)].insert(*id, delivery.clone());
            }
        }
    }

    /// Lets everything run to its end.
    fn finish(&mut self) {
        let lane = |index| Lane {
            index,
            fence: self.fence + 1,
        };
        let lanes: Vec<Lane> = (0..LANES).map(lane).collect();
        if self.marker.is_none() {
            self.queue_again();
        }
        for _ in 0..100_000 {
            self.gate.grant(&lanes, self.now + 1000 * SECOND);
            self.leased.clone_from(&lanes);
            self.read();
            self.take();
            while let Some(taken) = self.running.pop() {
                self.end(taken, Verdict::Done);
            }
            self.refetch();
            self.flush();
            self.now += SECOND;
            if self.streams.iter().all(BTreeMap::is_empty) {
                break;
            }
        }
        assert_eq!(self.done.len(), self.pushed.len());
        let gate = &self.gate;
        assert!(gate.fresh.is_empty() && gate.again.is_empty() && gate.parked.is_empty());
        assert_eq!(
            (gate.loaded_behind, gate.again_fetching, gate.unflushed),
            (0, 0, 0)
        );
        let idle = |group: &Group| group.line.is_empty() && (group.counted, group.ahead) == (0, 0);
        assert!(gate.groups.values().all(idle));
        assert_eq!(gate.running_again, 0);
        assert!(
            gate.lanes
                .values()
                .all(|lane| lane.keys.is_empty() && lane.running == 0)
        );
    }
}

fn lane_of(delivery: &Delivery) -> usize {
    let key: usize = delivery.order_key.parse().expect("keys are numbers here");
    key % usize::from(LANES)
}

#[test]
fn whatever_happens_order_holds_and_nothing_is_lost() {
    for seed in 1..=60 {
        let mut world = World::new(seed * 0x9E37_79B9);
        for _ in 0..STEPS {
            world.step();
        }
        world.finish();
    }
}
