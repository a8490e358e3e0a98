//! Limits of groups, and the share of retries.

use super::*;
use crate::delivery::Limit;

fn limited(log_offset: u64, key: &str, group: &str, limit: (Option<u32>, Option<u32>)) -> Delivery {
    Delivery {
        limit: Some(Limit {
            group: group.into(),
            concurrency: limit.0,
            rate: limit.1.map(|count| (count, SECOND)),
        }),
        ..delivery(log_offset, key)
    }
}

fn offsets(taken: &[Taken]) -> Vec<u64> {
    let offset = |taken: &Taken| taken.received.delivery.log_offset;
    taken.iter().map(offset).collect()
}

impl Bench {
    fn offer_limited(&mut self, delivery: Delivery) {
        self.gate.offer(0, self.epoch, delivery);
    }

    fn take_some(&mut self) -> Vec<Taken> {
        std::iter::from_fn(|| self.take()).collect()
    }
}

#[test]
fn no_more_run_at_once_than_the_group_may_and_others_flow_past_it() {
    let mut bench = Bench::new();
    for log_offset in 1..=4 {
        let key = log_offset.to_string();
        bench.offer_limited(limited(log_offset, &key, "slow", (Some(2), None)));
    }
    bench.offer_limited(limited(5, "1", "other", (Some(1), None)));
    bench.offer(6, "a");
    let mut running = bench.take_some();
    let mut begun = offsets(&running);
    begun.sort_unstable();
    assert_eq!(begun, [1, 2, 5, 6]);
    let first = running.remove(offsets(&running).iter().position(|one| *one == 1).unwrap());
    bench.settle(first, Verdict::Done);
    assert_eq!(bench.take_all(), [3]);
}

#[test]
fn a_key_keeps_its_order_and_lets_other_keys_of_its_group_go_first() {
    let mut bench = Bench::new();
    for (log_offset, key) in [(1, "a"), (2, "a"), (3, "b")] {
        bench.offer_limited(limited(log_offset, key, "slow", (Some(1), None)));
    }
    let mut order = Vec::new();
    while let Some(taken) = bench.take() {
        assert_eq!(bench.take_all(), [0; 0]);
        order.push(taken.received.delivery.log_offset);
        bench.settle(taken, Verdict::Done);
        bench.refetch(&[]);
    }
    assert_eq!(order, [1, 3, 2]);
}

#[test]
fn no_more_begin_within_a_time_than_the_group_may() {
    let mut bench = Bench::new();
    for log_offset in 1..=7 {
        let key = log_offset.to_string();
        bench.offer_limited(limited(log_offset, &key, "slow", (None, Some(3))));
    }
    assert_eq!(bench.take_all(), [1, 2, 3]);
    assert_eq!(bench.gate.next_due(), Some(bench.now + SECOND));
    bench.now += SECOND / 2;
    assert_eq!(bench.take_all(), [0; 0]);
    bench.now += SECOND / 2;
    assert_eq!(bench.take_all(), [4, 5, 6]);
    bench.now += SECOND;
    assert_eq!(bench.take_all(), [7]);
}

#[test]
fn a_new_owner_takes_the_rate_as_used_up() {
    let mut bench = Bench::new();
    bench.lease(2);
    bench.activate(2, 0);
    for log_offset in 1..=3 {
        let key = log_offset.to_string();
        bench.offer_limited(limited(log_offset, &key, "slow", (None, Some(2))));
    }
    assert_eq!(bench.take_all(), [0; 0]);
    bench.now += SECOND;
    assert_eq!(bench.take_all(), [1, 2]);
}

#[test]
fn a_new_owner_does_not_wait_for_long() {
    let mut bench = Bench::new();
    bench.lease(2);
    bench.activate(2, 0);
    for log_offset in 1..=3 {
        let key = log_offset.to_string();
        let mut delivery = limited(log_offset, &key, "slow", (None, None));
        delivery.limit.as_mut().unwrap().rate = Some((60, 60 * SECOND));
        bench.offer_limited(delivery);
    }
    for expected in 1..=3 {
        assert_eq!(bench.take_all(), [0; 0]);
        bench.now += SECOND;
        assert_eq!(bench.take_all(), [expected]);
    }
}

#[test]
fn a_long_line_costs_ids_only_and_a_retry_stands_in_line_again() {
    let mut bench = Bench::new();
    for log_offset in 1..=100 {
        let key = log_offset.to_string();
        bench.offer_limited(limited(log_offset, &key, "slow", (Some(1), None)));
    }
    assert_eq!(bench.gate.room(), MAX_BUFFERED);
    assert_eq!(bench.gate.loaded_behind, MAX_BUFFERED);
    let taken = bench.take().unwrap();
    bench.settle(taken, LATER);
    bench.now += SECOND;
    for expected in 2..=8 {
        let taken = bench.take().unwrap();
        assert_eq!(taken.received.delivery.log_offset, expected);
        bench.settle(taken, Verdict::Done);
    }
    // The ninth was not kept: its turn has come, and its contents have not.
    assert_eq!(bench.take_all(), [0; 0]);
    let fetch = bench.gate.take_fetches(bench.now).remove(0);
    assert_eq!(fetch.ids, [delivery(9, "").id()]);
    let answer = limited(9, "9", "slow", (Some(1), None));
    bench.gate.fetched(&fetch, vec![Some(answer)]);
    assert_eq!(bench.take_all(), [9]);
}

#[test]
fn what_was_not_run_comes_back_as_if_it_had_never_been_given_out() {
    let mut bench = Bench::new();
    bench.offer(1, "a");
    bench.offer(2, "a");
    let taken = bench.take().unwrap();
    bench.settle(taken, Verdict::Later { after: SECOND });
    assert_eq!(bench.take_all(), [0; 0]);
    bench.now += SECOND;
    assert_eq!(bench.refetch(&[]), [1, 2]);
    let again = bench.take().unwrap().received;
    assert_eq!(
        (again.delivery.log_offset, again.retry, again.maybe_repeated),
        (1, 0, false)
    );
}

#[test]
fn retries_take_half_of_the_workers_while_something_fresh_waits() {
    let mut bench = Bench::new();
    bench.gate = Gate::new(MAX_BUFFERED, 4);
    bench.gate.change_generation(Some(GENERATION));
    bench.lease(1);
    bench.activate(1, 0);
    for log_offset in 1..=6 {
        bench.offer(log_offset, &format!("failing {log_offset}"));
        let taken = bench.take().unwrap();
        bench.settle(taken, LATER);
    }
    bench.now += SECOND;
    bench.refetch(&[]);
    for log_offset in 101..=104 {
        bench.offer(log_offset, &format!("fine {log_offset}"));
    }
    let mut running: Vec<Taken> = (0..6).map(|_| bench.take().unwrap()).collect();
    let retries = |taken: &[Taken]| offsets(taken).iter().filter(|one| **one < 100).count();
    assert_eq!(retries(&running), 2);
    // Nothing fresh waits any more.
    running.extend(bench.take_some());
    assert_eq!(retries(&running), 6);
}
