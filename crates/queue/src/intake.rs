//! The gate under its lock, and who is woken when it changes.
//!
//! ```text
//! Redis ──reader──▶ gate ──backend──▶ handlers
//!          refetcher ⇄ │ ◀──verdict──────┘
//!                      └──▶ acknowledgements ──▶ Redis
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::delivery::{Delivery, EntryId, Lane, Verdict};
use crate::gate::{Acknowledgement, Fetch, Gate, Slot, Taken};

/// Shared by the tasks of one consumer. Its lock is never held across an await.
#[derive(Debug)]
pub(crate) struct Intake {
    gate: Mutex<Gate>,
    max_buffered: usize,
    /// The worker, when a delivery can be taken.
    worker: AtomicWaker,
    /// The reader, when half of what it may buffer is gone.
    room: Notify,
    /// The refetcher, when it has work or a new time to wait for.
    refetch: Notify,
    /// The lease keeper, when a lane may have come to rest; and whoever waits for acknowledgements
    /// to be carried out.
    rest: Notify,
    flush: Notify,
    /// Unbounded, but never longer than what the gate lets run and buffer.
    acknowledgements: UnboundedSender<Acknowledgement>,
}

impl Intake {
    /// The other end carries out the acknowledgements.
    pub(crate) fn new(
        max_buffered: usize,
        concurrency: usize,
    ) -> (Intake, UnboundedReceiver<Acknowledgement>) {
        let (acknowledgements, receiver) = unbounded_channel();
        let intake = Intake {
            gate: Mutex::new(Gate::new(max_buffered, concurrency)),
            max_buffered,
            worker: AtomicWaker::new(),
            room: Notify::new(),
            refetch: Notify::new(),
            rest: Notify::new(),
            flush: Notify::new(),
            acknowledgements,
        };
        (intake, receiver)
    }

    // For the worker.

    /// The next delivery to run.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken> {
        if let Some(taken) = self.take() {
            return Poll::Ready(taken);
        }
        self.worker.register(cx.waker());
        // One may have come between the look and the registration.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn take(&self) -> Option<Taken> {
        let now = Instant::now();
        let mut gate = self.gate();
        let taken = gate.take(now);
        let has_room = taken.is_some() && gate.room() * 2 >= self.max_buffered;
        let wants_fetch = gate.wants_fetch(now) || gate.has_new_turn();
        drop(gate);
        notify(&self.room, has_room);
        notify(&self.refetch, wants_fetch);
        taken
    }

    /// Ends a run.
    pub(crate) fn settle(&self, slot: &Slot, verdict: Verdict) {
        let now = Instant::now();
        let mut gate = self.gate();
        let acknowledgement = gate.settle(slot, verdict, now);
        // A parked key may be due before the refetcher would wake.
        let wants_fetch = gate.wants_fetch(now) || verdict != Verdict::Done;
        drop(gate);
        self.worker.wake();
        notify(&self.refetch, wants_fetch);
        match acknowledgement {
            // Fails only when the consumer is gone, and then nobody waits for it.
            Some(acknowledgement) => drop(self.acknowledgements.send(acknowledgement)),
            None => self.rest.notify_one(),
        }
    }

    /// Ends the run of a handler that was dropped.
    pub(crate) fn orphan(&self, slot: &Slot, retry_after: Duration) {
        self.gate().orphan(slot, retry_after, Instant::now());
        self.refetch.notify_one();
    }

    // For the reader.

    /// How many more deliveries may be read; waits until that is at least half of the limit.
    pub(crate) async fn room(&self) -> usize {
        loop {
            let room = self.gate().room();
            if room * 2 >= self.max_buffered {
                return room;
            }
            self.room.notified().await;
        }
    }

    pub(crate) fn generation(&self) -> Option<u64> {
        self.gate().generation()
    }

    pub(crate) fn change_generation(&self, generation: Option<u64>) {
        self.gate().change_generation(generation);
    }

    pub(crate) fn activate(&self, lease: Lane, repeats_through: EntryId) -> Option<u64> {
        self.gate().activate(lease, repeats_through)
    }

    pub(crate) fn is_active(&self, lane: u16, epoch: u64) -> bool {
        self.gate().is_active(lane, epoch)
    }

    pub(crate) fn offer(&self, lane: u16, epoch: u64, deliveries: Vec<Delivery>) {
        let mut gate = self.gate();
        for delivery in deliveries {
            gate.offer(lane, epoch, delivery);
        }
        drop(gate);
        self.worker.wake();
    }

    // For the refetcher.

    /// What to read again now; empty if nothing, and then when to ask next.
    pub(crate) fn take_fetches(&self) -> (Vec<Fetch>, Option<Instant>) {
        let mut gate = self.gate();
        let due = (gate.take_fetches(Instant::now()), gate.next_due());
        let is_ready = gate.is_ready();
        drop(gate);
        if is_ready {
            self.worker.wake();
        }
        due
    }

    /// Resolves when [`Intake::take_fetches`] may have more than it said.
    pub(crate) async fn refetch_wanted(&self) {
        self.refetch.notified().await;
    }

    pub(crate) fn awaits(&self, fetch: &Fetch) -> bool {
        self.gate().awaits(fetch)
    }

    pub(crate) fn fetched(&self, fetch: &Fetch, answers: Vec<Option<Delivery>>) {
        self.gate().fetched(fetch, answers);
        self.worker.wake();
    }

    // For the acknowledger.

    pub(crate) fn flushed(&self, acknowledgements: &[Acknowledgement]) {
        self.gate().flushed(acknowledgements);
        self.rest.notify_one();
        self.flush.notify_waiters();
    }

    /// Resolves when no acknowledgement is on its way.
    pub(crate) async fn all_flushed(&self) {
        loop {
            let flush = self.flush.notified();
            if self.gate().is_flushed() {
                return;
            }
            flush.await;
        }
    }

    // For the lease keeper.

    pub(crate) fn grant(&self, lanes: &[Lane], until: Instant) {
        self.gate().grant(lanes, until);
        self.rest.notify_one();
        self.room.notify_one();
        // What was in line when the leases ran out may go on.
        self.worker.wake();
    }

    pub(crate) fn lose_leases(&self) {
        self.gate().lose_leases();
        self.rest.notify_one();
        self.room.notify_one();
    }

    pub(crate) fn busy(&self) -> Vec<u16> {
        self.gate().busy()
    }

    pub(crate) fn take_rested(&self) -> Vec<Lane> {
        self.gate().take_rested()
    }

    /// Resolves when lanes have come to rest, and answers them.
    pub(crate) async fn rested(&self) -> Vec<Lane> {
        loop {
            let rested = self.take_rested();
            if !rested.is_empty() {
                return rested;
            }
            self.rest.notified().await;
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // A panic under the lock is a bug in the gate. To go on with it beats to stop every lane of
        // this process.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn notify(waiter: &Notify, is_wanted: bool) {
    if is_wanted {
        waiter.notify_one();
    }
}
