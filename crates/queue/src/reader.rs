//! Reads the leased lanes from Redis into the gate.
//!
//! Every lane is read by a cursor from its start, without a consumer group: the stream holds what
//! is unacknowledged, and a lane has one owner. Reading changes nothing in Redis, so that a read
//! can be dropped at any moment.
//!
//! Each read also brings the generation marker, looked at before the entries: a flushed, restarted
//! or newer Redis is noticed with the next read, within [`BLOCK`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, RedisResult, Value};
use tokio::sync::watch;

use crate::delivery::{Delivery, EntryId, Lane};
use crate::error::Error;
use crate::generation::Marker;
use crate::intake::Intake;
use crate::link::{Link, Live};
use crate::queue::Queue;
use crate::reply;

/// How long a read waits for news, and thus how late a change of generation may be noticed.
const BLOCK: Duration = Duration::from_millis(500);

/// Pause between looks at the marker while there is nothing to read: no generation holds, no
/// lane is leased, or the gate is full.
const IDLE: Duration = Duration::from_millis(250);

/// Entries one read takes from one lane, so that an answer stays small and quickly parsed.
const MAX_PER_LANE: usize = 512;

/// Where a lane has been read to.
#[derive(Debug)]
struct Cursor {
    epoch: u64,
    after: EntryId,
    /// The last read gave as many entries as it could.
    is_behind: bool,
}

/// Reads for one consumer.
pub(crate) struct Reader {
    queue: Queue,
    /// Its own, because a blocking read blocks the connection.
    link: Link,
    intake: Arc<Intake>,
    cursors: BTreeMap<u16, Cursor>,
}

impl Reader {
    pub(crate) fn new(queue: Queue, intake: Arc<Intake>) -> Result<Reader, Error> {
        let link = Link::new(&queue.config().redis_url, BLOCK)?;
        Ok(Reader {
            queue,
            link,
            intake,
            cursors: BTreeMap::new(),
        })
    }

    /// Reads until dropped. Redis may come and go.
    pub(crate) async fn run(mut self, mut granted: watch::Receiver<Vec<Lane>>) {
        loop {
            let leased = granted.borrow_and_update().clone();
            let live = self.link.wait().await;
            let outcome = tokio::select! {
                outcome = self.round(&live, &leased) => Some(outcome),
                Ok(()) = granted.changed() => None,
            };
            match outcome {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "reading lanes failed");
                    self.link.back_off(&live, &error);
                }
                // The connection may be blocked in a read of the former lanes for a while yet.
                None => self.link.forget(&live),
            }
        }
    }

    /// Reads once.
    async fn round(&mut self, live: &Live, leased: &[Lane]) -> RedisResult<()> {
        self.cursors
            .retain(|lane, cursor| self.intake.is_active(*lane, cursor.epoch));
        let room = tokio::select! {
            room = self.intake.room() => room,
            () = tokio::time::sleep(IDLE) => 0,
        };
        let reads = plan(&self.cursors, room);
        let (marker, answers) = self.read(live, &reads).await?;
        let generation = marker.map(|marker| marker.generation);
        if generation != self.intake.generation() {
            tracing::info!(
                queue.generation = generation,
                "the queue changed its generation"
            );
            self.intake.change_generation(generation);
            self.cursors.clear();
        } else {
            self.accept(&reads, answers);
        }
        if let Some(marker) = marker {
            self.begin(live, leased, marker).await?;
        }
        if self.cursors.is_empty() {
            tokio::time::sleep(IDLE).await;
        }
        Ok(())
    }

    async fn read(&self, live: &Live, reads: &[Read]) -> RedisResult<(Option<Marker>, Vec<Value>)> {
        let mut pipeline = redis::pipe();
        Marker::ask(&mut pipeline, &self.queue.keys().marker());
        for read in reads {
            self.add_read(&mut pipeline, read);
        }
        let mut answers: Vec<Value> = self.link.query(live, &pipeline).await?;
        let marker = Marker::parse(&answers.remove(0), self.queue.lanes(), &live.run_id);
        Ok((marker, answers))
    }

    fn add_read(&self, pipeline: &mut Pipeline, read: &Read) {
        let generation = self.intake.generation().unwrap_or_default();
        pipeline.cmd("XREAD").arg("COUNT").arg(read.count);
        if read.may_block {
            pipeline.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        pipeline.arg("STREAMS");
        for lane in &read.lanes {
            pipeline.arg(self.queue.keys().lane(generation, *lane));
        }
        for lane in &read.lanes {
            pipeline.arg(self.cursors[lane].after.to_string());
        }
    }

    /// Hands what was read to the gate and moves the cursors.
    fn accept(&mut self, reads: &[Read], answers: Vec<Value>) {
        for (read, answer) in reads.iter().zip(answers) {
            for lane in &read.lanes {
                self.cursors
                    .entry(*lane)
                    .and_modify(|cursor| cursor.is_behind = false);
            }
            for (key, entries) in reply::streams(answer) {
                let lane = self.queue.keys().parse_lane(&key).map(|(_, lane)| lane);
                let Some((lane, cursor)) =
                    lane.and_then(|lane| Some((lane, self.cursors.get_mut(&lane)?)))
                else {
                    continue;
                };
                cursor.is_behind = entries.len() >= read.count;
                cursor.after = entries
                    .last()
                    .and_then(reply::entry_id)
                    .unwrap_or(cursor.after);
                self.intake.offer(lane, cursor.epoch, deliveries(entries));
            }
        }
    }

    /// Begins to read lanes that were granted since, or all of them after a change of generation.
    /// What is in a lane by then may have been run by its former owner.
    async fn begin(&mut self, live: &Live, leased: &[Lane], marker: Marker) -> RedisResult<()> {
        let is_new = |lane: &&Lane| !self.cursors.contains_key(&lane.index);
        let new: Vec<Lane> = leased.iter().filter(is_new).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for lane in &new {
            let key = self.queue.keys().lane(marker.generation, lane.index);
            pipeline
                .cmd("XREVRANGE")
                .arg(key)
                .arg("+")
                .arg("-")
                .arg("COUNT")
                .arg(1);
        }
        let answers: Vec<Value> = self.link.query(live, &pipeline).await?;
        for (lane, answer) in new.into_iter().zip(answers) {
            let last = reply::entries(answer).first().and_then(reply::entry_id);
            let repeats_through = last.unwrap_or(EntryId::ZERO).max(marker.repeats_through);
            if let Some(epoch) = self.intake.activate(lane, repeats_through) {
                let cursor = Cursor {
                    epoch,
                    after: EntryId::ZERO,
                    is_behind: true,
                };
                self.cursors.insert(lane.index, cursor);
            }
        }
        Ok(())
    }
}

fn deliveries(entries: Vec<Value>) -> Vec<Delivery> {
    let mut deliveries = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = reply::entry_id(&entry);
        match reply::delivery(entry) {
            Some(delivery) => deliveries.push(delivery),
            None => tracing::error!(
                ?id,
                "a lane holds an entry that is no delivery; it is left there"
            ),
        }
    }
    deliveries
}

/// One XREAD.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    lanes: Vec<u16>,
    /// Entries per lane.
    count: usize,
    may_block: bool,
}

/// Shares `room` among the lanes. Lanes that gave all they could last time get three quarters of it
/// and are not waited for; without such lanes, one read waits for news of any. A read may overshoot
/// the room by an entry per lane.
fn plan(cursors: &BTreeMap<u16, Cursor>, room: usize) -> Vec<Read> {
    if room == 0 {
        return Vec::new();
    }
    let (behind, level): (Vec<_>, Vec<_>) =
        cursors.iter().partition(|(_, cursor)| cursor.is_behind);
    let share = |lanes: Vec<(&u16, &Cursor)>, room: usize, may_block| Read {
        count: (room / lanes.len().max(1)).clamp(1, MAX_PER_LANE),
        lanes: lanes.into_iter().map(|(lane, _)| *lane).collect(),
        may_block,
    };
    let is_level = behind.is_empty();
    let for_level = if is_level { room } else { room / 4 };
    let reads = [
        share(behind, room - room / 4, false),
        share(level, for_level, is_level),
    ];
    reads
        .into_iter()
        .filter(|read| !read.lanes.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(behind: &[bool]) -> BTreeMap<u16, Cursor> {
        let cursor = |is_behind| Cursor {
            epoch: 1,
            after: EntryId::ZERO,
            is_behind,
        };
        (0..)
            .zip(behind.iter().map(|is_behind| cursor(*is_behind)))
            .collect()
    }

    fn read(lanes: &[u16], count: usize, may_block: bool) -> Read {
        Read {
            lanes: lanes.to_vec(),
            count,
            may_block,
        }
    }

    #[test]
    fn only_a_read_of_lanes_without_backlog_waits() {
        assert_eq!(
            plan(&cursors(&[false, false]), 100),
            [read(&[0, 1], 50, true)]
        );
        assert_eq!(
            plan(&cursors(&[true, true]), 100),
            [read(&[0, 1], 37, false)]
        );
        assert_eq!(
            plan(&cursors(&[false, true, false]), 100),
            [read(&[1], 75, false), read(&[0, 2], 12, false)]
        );
    }

    #[test]
    fn a_read_is_never_empty_nor_huge() {
        assert_eq!(plan(&cursors(&[false; 3]), 1), [read(&[0, 1, 2], 1, true)]);
        assert_eq!(
            plan(&cursors(&[false]), 1_000_000),
            [read(&[0], MAX_PER_LANE, true)]
        );
        assert_eq!(plan(&cursors(&[true]), 0), []);
        assert_eq!(plan(&cursors(&[]), 100), []);
    }
}
