//! The gate against examples, and against a model of Redis under random schedules (`simulation`).

mod limits;
mod simulation;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::MAX_LOADED_PER_KEY;
use super::*;

const MAX_BUFFERED: usize = 8;
/// More than any test runs at once, but for those of the retries' share.
const CONCURRENCY: usize = 1000;
const GENERATION: u64 = 1;
const SECOND: Duration = Duration::from_secs(1);
const LATER: Verdict = Verdict::Retry { after: SECOND };

/// A gate with one lane, leased for an hour.
struct Bench {
    gate: Gate,
    now: Instant,
    epoch: u64,
}

impl Bench {
    fn new() -> Bench {
        let mut bench = Bench {
            gate: Gate::new(MAX_BUFFERED, CONCURRENCY),
            now: Instant::now(),
            epoch: 0,
        };
        bench.gate.change_generation(Some(GENERATION));
        bench.lease(1);
        bench.activate(1, 0);
        bench
    }

    fn lease(&mut self, fence: u64) {
        self.gate.grant(&[lane(fence)], self.now + 3600 * SECOND);
    }

    fn activate(&mut self, fence: u64, repeats_through: u64) {
        let epoch = self
            .gate
            .activate(lane(fence), EntryId::last_of(repeats_through));
        self.epoch = epoch.expect("the lane is leased");
    }

    fn offer(&mut self, log_offset: u64, key: &str) {
        self.gate.offer(0, self.epoch, delivery(log_offset, key));
    }

    fn take(&mut self) -> Option<Taken> {
        self.gate.take(self.now)
    }

    /// The log offsets of all that can be taken now, none of which ends.
    fn take_all(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.take())
            .map(|taken| taken.received.delivery.log_offset)
            .collect()
    }

    fn settle(&mut self, taken: Taken, verdict: Verdict) -> Option<Acknowledgement> {
        self.gate.settle(&taken.slot, verdict, self.now)
    }

    /// Answers what is asked for, as Redis would; entries in `gone` are not there. The ids that
    /// were asked for.
    fn refetch(&mut self, gone: &[u64]) -> Vec<u64> {
        let mut asked = Vec::new();
        for fetch in self.gate.take_fetches(self.now) {
            let Key::Ordered(key) = fetch.slot.key.clone() else {
                panic!("no test here fetches an unordered delivery");
            };
            let answer = |id: &EntryId| {
                let is_there = !gone.contains(&id.log_offset);
                is_there.then(|| delivery(id.log_offset, &key))
            };
            let answers = fetch.ids.iter().map(answer).collect();
            asked.extend(fetch.ids.iter().map(|id| id.log_offset));
            self.gate.fetched(&fetch, answers);
        }
        asked
    }
}

fn lane(fence: u64) -> Lane {
    Lane { index: 0, fence }
}

fn delivery(log_offset: u64, key: &str) -> Delivery {
    Delivery {
        log_offset,
        position: 0,
        order_key: key.into(),
        unordered: false,
        limit: None,
        payload: Bytes::new(),
    }
}

#[test]
fn one_key_runs_one_at_a_time_and_others_flow_past_it() {
    let mut bench = Bench::new();
    for (log_offset, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "c")] {
        bench.offer(log_offset, key);
    }
    let first = bench.take().unwrap();
    assert_eq!(bench.take_all(), [3, 5]);
    let acknowledgement = bench.settle(first, Verdict::Done).unwrap();
    assert_eq!(acknowledgement.id, delivery(1, "a").id());
    assert_eq!(acknowledgement.generation, Some(GENERATION));
    let second = bench.take().unwrap();
    assert_eq!(bench.take_all(), [0; 0]);
    bench.settle(second, Verdict::Done);
    assert_eq!(bench.take_all(), [4]);
}

#[test]
fn unordered_deliveries_of_one_key_run_together() {
    let mut bench = Bench::new();
    for log_offset in 1..=3 {
        let unordered = Delivery {
            unordered: true,
            ..delivery(log_offset, "a")
        };
        bench.gate.offer(0, bench.epoch, unordered);
    }
    bench.offer(4, "a");
    assert_eq!(bench.take_all(), [1, 2, 3, 4]);
}

#[test]
fn a_retry_parks_its_key_until_it_is_due_and_comes_back_first() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    bench.offer(2, "a");
    let first = bench.take().unwrap();
    assert!(!first.received.maybe_repeated);
    assert_eq!(bench.settle(first, LATER), None);
    bench.offer(3, "a");
    bench.offer(4, "b");
    assert_eq!(bench.take_all(), [4]);
    assert_eq!(bench.gate.next_due(), Some(bench.now + SECOND));
    assert_eq!(bench.refetch(&[]), [0; 0]);

    bench.now += SECOND;
    assert!(bench.gate.wants_fetch(bench.now));
    assert_eq!(bench.refetch(&[]), [1, 2, 3]);
    let again = bench.take().unwrap();
    assert_eq!(
        (again.received.delivery.log_offset, again.received.retry),
        (1, 1)
    );
    assert!(again.received.maybe_repeated);
    bench.settle(again, Verdict::Done);
    let next = bench.take().unwrap();
    assert_eq!(
        (next.received.delivery.log_offset, next.received.retry),
        (2, 0)
    );
}

#[test]
fn retries_are_counted_and_an_endless_pause_is_cut() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    for retry in 0..3 {
        let taken = bench.take().unwrap();
        assert_eq!(taken.received.retry, retry);
        let after = Duration::MAX;
        bench.settle(taken, Verdict::Retry { after });
        bench.now += MAX_PARKED;
        bench.lease(1);
        assert_eq!(bench.refetch(&[]), [1]);
    }
}

#[test]
fn a_hot_key_costs_ids_only_and_is_fetched_in_portions() {
    let mut bench = Bench::new();
    let count = 3 * MAX_LOADED_PER_KEY as u64;
    for log_offset in 1..=count {
        bench.offer(log_offset, "hot");
    }
    assert_eq!(bench.gate.room(), MAX_BUFFERED - 1);
    assert_eq!(bench.gate.loaded_behind, MAX_BUFFERED);
    let mut order = Vec::new();
    let mut fetches = 0;
    while order.len() < count as usize {
        match bench.take() {
            Some(taken) => {
                order.push(taken.received.delivery.log_offset);
                bench.settle(taken, Verdict::Done);
            }
            None => {
                assert!(bench.refetch(&[]).len() <= 1 + MAX_BUFFERED);
                fetches += 1;
            }
        }
    }
    assert_eq!(order, (1..=count).collect::<Vec<_>>());
    assert_eq!(fetches, 5);
}

#[test]
fn entries_that_are_gone_are_passed_over() {
    let mut bench = Bench::new();
    for log_offset in 1..=4 {
        bench.offer(log_offset, "a");
    }
    let first = bench.take().unwrap();
    bench.settle(first, LATER);
    bench.now += SECOND;
    assert_eq!(bench.refetch(&[1, 2]), [1, 2, 3, 4]);
    let third = bench.take().unwrap();
    assert_eq!(
        (third.received.delivery.log_offset, third.received.retry),
        (3, 0)
    );
    bench.settle(third, LATER);
    bench.now += SECOND;
    assert_eq!(bench.refetch(&[3, 4]), [3, 4]);
    assert_eq!(bench.take_all(), [0; 0]);
    bench.offer(5, "a");
    assert_eq!(bench.take_all(), [5]);
}

#[test]
fn neither_a_backlog_nor_a_storm_of_retries_starves_the_other() {
    let mut bench = Bench::new();
    let storm = 5 * MAX_BUFFERED as u64;
    for log_offset in 1..=storm {
        bench.offer(log_offset, &format!("failing {log_offset}"));
        let taken = bench.take().unwrap();
        bench.settle(taken, LATER);
    }
    bench.now += SECOND;
    assert_eq!(bench.refetch(&[]).len(), MAX_BUFFERED);
    assert_eq!(bench.gate.next_due(), None);
    for log_offset in 101..=104 {
        bench.offer(log_offset, &format!("fine {log_offset}"));
    }
    let taken = bench.take_all();
    let alternates = |pair: &[u64]| (pair[0] > storm) != (pair[1] > storm);
    assert!(taken[..8].chunks(2).all(alternates), "{taken:?}");
    assert!(bench.gate.wants_fetch(bench.now));
}

#[test]
fn a_lost_lane_is_forgotten_except_for_what_runs() {
    let mut bench = Bench::new();
    for (log_offset, key) in [(1, "a"), (2, "a"), (3, "b")] {
        bench.offer(log_offset, key);
    }
    let running = bench.take().unwrap();
    bench.gate.grant(&[], bench.now + SECOND);
    assert_eq!(bench.take_all(), [0; 0]);
    bench.offer(4, "c");
    assert_eq!(bench.take_all(), [0; 0]);

    assert_eq!(bench.gate.take_rested(), []);
    let acknowledgement = bench.settle(running, Verdict::Done).unwrap();
    assert_eq!(bench.gate.take_rested(), []);
    bench.gate.flushed(&[acknowledgement]);
    assert_eq!(bench.gate.take_rested(), [lane(1)]);
    assert_eq!(bench.gate.take_rested(), []);
}

#[test]
fn a_lane_that_was_leased_but_never_read_is_given_back_all_the_same() {
    let mut gate = Gate::new(MAX_BUFFERED, CONCURRENCY);
    let until = Instant::now() + SECOND;
    gate.grant(&[lane(1)], until);
    assert_eq!(gate.take_rested(), []);
    gate.grant(&[lane(2)], until);
    assert_eq!(gate.take_rested(), []);
    gate.grant(&[], until);
    assert_eq!(gate.take_rested(), [lane(2)]);
}

#[test]
fn a_lane_with_a_dropped_handler_is_not_given_back() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    let taken = bench.take().unwrap();
    bench.gate.orphan(&taken.slot, SECOND, bench.now);
    bench.gate.lose_leases();
    assert_eq!(bench.gate.take_rested(), []);
}

#[test]
fn a_lane_that_comes_back_keeps_its_running_key_gated() {
    for verdict in [Verdict::Done, LATER] {
        let mut bench = Bench::new();
        bench.offer(1, "a");
        let running = bench.take().unwrap();
        bench.gate.lose_leases();
        bench.lease(2);
        bench.activate(2, 2);
        for (log_offset, key) in [(1, "a"), (2, "a"), (3, "b")] {
            bench.offer(log_offset, key);
        }
        let other = bench.take().unwrap();
        assert_eq!(other.received.delivery.log_offset, 3);
        assert!(!other.received.maybe_repeated);
        assert_eq!(bench.take_all(), [0; 0]);

        bench.settle(running, verdict);
        bench.now += SECOND;
        bench.refetch(&[]);
        let next = bench.take().unwrap();
        let expected = if verdict == Verdict::Done { 2 } else { 1 };
        assert_eq!(next.received.delivery.log_offset, expected);
        assert!(next.received.maybe_repeated);
        assert_eq!(next.received.lane.fence, 2);
        assert_eq!(bench.take_all(), [0; 0]);
    }
}

#[test]
fn a_retry_that_ends_before_its_lane_is_read_again_still_parks_the_key() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    let running = bench.take().unwrap();
    bench.gate.lose_leases();
    bench.lease(2);
    bench.activate(2, 1);
    bench.settle(running, LATER);
    bench.offer(1, "a");
    assert_eq!(bench.take_all(), [0; 0]);
    bench.now += SECOND;
    assert_eq!(bench.refetch(&[]), [1]);
    assert_eq!(bench.take_all(), [1]);
}

#[test]
fn nothing_is_taken_after_the_leases_ran_out() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    bench.now += 3600 * SECOND;
    assert_eq!(bench.take_all(), [0; 0]);
    bench.lease(1);
    assert_eq!(bench.take_all(), [1]);
}

#[test]
fn a_lane_is_activated_only_under_the_lease_that_holds() {
    let mut bench = Bench::new();
    bench.lease(2);
    assert_eq!(bench.gate.activate(lane(1), EntryId::ZERO), None);
    assert!(bench.gate.activate(lane(2), EntryId::ZERO).is_some());
    bench.gate.lose_leases();
    assert_eq!(bench.gate.activate(lane(2), EntryId::ZERO), None);
}

#[test]
fn a_new_generation_is_acknowledged_in_its_own_streams() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    bench.offer(2, "b");
    let (first, second) = (bench.take().unwrap(), bench.take().unwrap());
    bench.gate.change_generation(None);
    let acknowledgement = bench.settle(first, Verdict::Done).unwrap();
    assert_eq!(acknowledgement.generation, None);
    bench.gate.change_generation(Some(2));
    bench.activate(1, u64::MAX);
    bench.offer(2, "b");
    let acknowledgement = bench.settle(second, Verdict::Done).unwrap();
    assert_eq!(acknowledgement.generation, Some(2));
    assert_eq!(bench.take_all(), [0; 0]);
}

#[test]
fn answers_to_a_fetch_of_a_former_activation_are_ignored() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    let taken = bench.take().unwrap();
    bench.settle(taken, LATER);
    bench.now += SECOND;
    let fetch = bench.gate.take_fetches(bench.now).remove(0);
    bench.gate.change_generation(Some(2));
    bench.activate(1, 1);
    bench.gate.fetched(&fetch, vec![Some(delivery(1, "a"))]);
    assert_eq!(bench.take_all(), [0; 0]);
    bench.offer(1, "a");
    assert_eq!(bench.take_all(), [1]);
}
