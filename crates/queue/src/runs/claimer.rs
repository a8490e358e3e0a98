//! Claims what was read, as slots become free.
//!
//! One claim is under way at a time, and what comes meanwhile goes into the next one: a busy consumer sends few and large
//! claims, an idle one waits for nothing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::backoff;
use crate::runs::{Band, Claims, Decided, Entry, Ready};

/// What a claimer works with.
pub(super) struct Claimer<C: Claims> {
    pub(super) claims: Arc<C>,
    /// A permit for each handler that may begin.
    pub(super) slots: Arc<Semaphore>,
    pub(super) read: UnboundedReceiver<Vec<Entry>>,
    pub(super) ready: Sender<Ready<C::Claimed>>,
    pub(super) decided: UnboundedSender<Vec<Decided>>,
    /// Told whether the last claim had an answer.
    pub(super) works: watch::Sender<bool>,
    pub(super) held: Held,
}

impl<C: Claims> Claimer<C> {
    /// Claims until told to stop, by a value or by the sender's end. A claim under way has its answer first.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let batch = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                batch = self.next() => batch,
            };
            let Some((entries, slots)) = batch else {
                return;
            };
            let Some(claimed) = self.claim(&entries, &mut stopped).await else {
                return;
            };
            self.hand_on(entries, slots, claimed).await;
        }
    }

    /// Waits for ids and slots. May be dropped at any await.
    async fn next(&mut self) -> Option<(Vec<Entry>, OwnedSemaphorePermit)> {
        loop {
            while let Ok(entries) = self.read.try_recv() {
                self.held.add(entries);
            }
            if self.held.is_empty() {
                let entries = self.read.recv().await?;
                self.held.add(entries);
                continue;
            }
            tokio::select! {
                slot = self.slots.clone().acquire_owned() => {
                    let mut slots = slot.expect("the semaphore is never closed");
                    let more = self.held.len() - 1;
                    while slots.num_permits() <= more {
                        match self.slots.clone().try_acquire_owned() {
                            Ok(slot) => slots.merge(slot),
                            Err(_) => break,
                        }
                    }
                    return Some((self.held.take(slots.num_permits()), slots));
                }
                // It may be of a higher band.
                entries = self.read.recv() => self.held.add(entries?),
            }
        }
    }

    /// Claims a batch, however long it takes. None: told to stop before there was an answer.
    async fn claim(
        &self,
        entries: &[Entry],
        stopped: &mut watch::Receiver<bool>,
    ) -> Option<Vec<C::Claimed>> {
        let ids = ids(entries);
        let mut failures = 0;
        loop {
            match self.claims.claim(&ids).await {
                Ok(claimed) => {
                    if failures > 0 {
                        tracing::info!("runs can be claimed again");
                        self.works.send_replace(true);
                    }
                    return Some(claimed);
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "claiming runs failed; they wait");
                        self.works.send_replace(false);
                    }
                    failures += 1;
                }
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return None,
                () = tokio::time::sleep(backoff::pause(failures, rand::random())) => {}
            }
        }
    }

    /// Lets what was claimed begin and the entries go. Slots and places of what was refused are free again.
    async fn hand_on(
        &self,
        entries: Vec<Entry>,
        mut slots: OwnedSemaphorePermit,
        claimed: Vec<C::Claimed>,
    ) {
        let (decided, mut places): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|Entry { band, id, room, .. }| (Decided { band, id }, room))
            .unzip();
        // Fails only when the consumer ended badly; the entries are offered again and refused.
        drop(self.decided.send(decided));
        for run in claimed {
            let permits = [slots.split(1), places.pop().flatten()];
            // As above: without a worker there is nobody to run it.
            drop(self.ready.send(Ready { run, permits }).await);
        }
    }
}

/// Each id once, in order.
fn ids(entries: &[Entry]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let ids = entries.iter().map(|entry| entry.run);
    ids.filter(|run| seen.insert(*run)).collect()
}

/// Ids that wait for a slot.
#[derive(Debug, Default)]
pub(super) struct Held {
    bands: [VecDeque<Entry>; Band::ALL.len()],
}

impl Held {
    fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.bands[entry.band as usize].push_back(entry);
        }
    }

    fn len(&self) -> usize {
        self.bands.iter().map(VecDeque::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count`, higher bands first.
    fn take(&mut self, count: usize) -> Vec<Entry> {
        let mut taken = Vec::with_capacity(count);
        for band in &mut self.bands {
            let count = band.len().min(count - taken.len());
            taken.extend(band.drain(..count));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(band: Band, run: u64) -> Entry {
        Entry {
            band,
            id: format!("{run}-0"),
            run,
            room: None,
        }
    }

    #[test]
    fn higher_bands_go_first_and_each_in_its_order() {
        let mut held = Held::default();
        held.add(vec![entry(Band::Low, 1), entry(Band::Normal, 2)]);
        held.add(vec![entry(Band::Normal, 3), entry(Band::High, 4)]);
        assert_eq!(ids(&held.take(2)), [4, 2]);
        held.add(vec![entry(Band::High, 5)]);
        assert_eq!(held.len(), 3);
        assert_eq!(ids(&held.take(10)), [5, 3, 1]);
        assert!(held.is_empty());
    }

    #[test]
    fn an_id_in_two_entries_is_claimed_once() {
        let entries = [7, 3, 7].map(|run| entry(Band::Normal, run));
        assert_eq!(ids(&entries), [7, 3]);
    }
}
