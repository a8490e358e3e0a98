//! Reads ids from the streams, as many as the consumer has room for.
//!
//! Where there is a backlog, a script reads the bands one after the other, so that the higher ones fill the room first. When
//! it finds nothing, one blocking read waits for news of any band.
//!
//! Each second the script also takes over what has been pending too long, for as many slots as are free: a consumer that is
//! busy itself would only keep it waiting.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, Script, Value};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::Error;
use crate::link::{Link, Live};
use crate::reply;
use crate::runs::{Band, Decided, Entry, GROUP, RESCUE_IDLE, RunQueue, members};

/// Ids one read takes, so that the script does not hold up Redis: about a millisecond.
const MAX_READ: usize = 512;

/// How often to look for what others left pending, and so the longest that a read blocks.
const RESCUE_EVERY: Duration = Duration::from_secs(1);

/// How often to look for consumers that are no more.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Reads the bands in order, what was left pending first, and never blocks. Answers the entries of each band.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local group, consumer = ARGV[1], ARGV[2]
local room, rescues = tonumber(ARGV[3]), tonumber(ARGV[4])
local bands = {}
for i = 1, #KEYS do
    local entries = {}
    if rescues > 0 then
        entries = redis.call('XAUTOCLAIM', KEYS[i], group, consumer, ARGV[5], '0-0', 'COUNT', rescues)[2]
        rescues = rescues - #entries
        room = room - #entries
    end
    if room > 0 then
        local streams = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', room, 'STREAMS', KEYS[i], '>')
        if streams then
            for _, entry in ipairs(streams[1][2]) do
                entries[#entries + 1] = entry
                room = room - 1
            end
        end
    end
    bands[i] = entries
end
return bands
",
    )
});

/// What a reader works with.
pub(super) struct Reader {
    queue: RunQueue,
    consumer: Arc<str>,
    /// Its own, because a blocking read blocks the connection.
    link: Link,
    /// A permit for each id that may be held.
    room: Arc<Semaphore>,
    /// Reading waits for this much room, so that a busy consumer reads in batches.
    least_room: usize,
    /// A permit for each handler that may begin.
    slots: Arc<Semaphore>,
    /// Whether Postgres answers. Without it, ids are left to consumers that can claim them.
    claims_work: watch::Receiver<bool>,
    outlets: Outlets,
    next_rescue: Instant,
    next_sweep: Instant,
}

/// Where a reader puts what it read.
pub(super) struct Outlets {
    pub(super) read: UnboundedSender<Vec<Entry>>,
    /// For entries that are no runs.
    pub(super) decided: UnboundedSender<Vec<Decided>>,
}

impl Reader {
    /// `slots`: a permit for each handler that may begin; `prefetch`: ids to hold beyond those.
    pub(super) fn new(
        queue: RunQueue,
        consumer: Arc<str>,
        slots: Arc<Semaphore>,
        prefetch: usize,
        claims_work: watch::Receiver<bool>,
        outlets: Outlets,
    ) -> Result<Reader, Error> {
        let now = Instant::now();
        Ok(Reader {
            link: Link::new(queue.redis_url(), RESCUE_EVERY)?,
            queue,
            consumer,
            room: Arc::new(Semaphore::new(slots.available_permits() + prefetch)),
            least_room: (prefetch / 2).clamp(1, MAX_READ),
            slots,
            claims_work,
            outlets,
            next_rescue: now,
            next_sweep: now,
        })
    }

    /// Reads until dropped, or until nobody claims any more. Redis may come and go.
    pub(super) async fn run(mut self) {
        loop {
            let room = self.room().await;
            if self.claims_work.wait_for(|works| *works).await.is_err() {
                return;
            }
            let live = self.link.wait().await;
            let Err(error) = self.round(&live, room).await else {
                continue;
            };
            if let Err(error) = self.mend(&live, error).await {
                tracing::debug!(%error, "reading runs failed");
                self.link.back_off(&live, &error);
            }
        }
    }

    /// Waits for room and takes all of it. Nobody else takes any.
    async fn room(&self) -> OwnedSemaphorePermit {
        let take = |count: usize| {
            let count = u32::try_from(count).expect("at most MAX_READ");
            self.room.clone().acquire_many_owned(count)
        };
        const NEVER_CLOSED: &str = "the semaphore is never closed";
        let mut room = take(self.least_room).await.expect(NEVER_CLOSED);
        let more = self.room.available_permits();
        room.merge(
            take(more.min(MAX_READ - self.least_room))
                .await
                .expect(NEVER_CLOSED),
        );
        room
    }

    /// Makes the groups again if that is what was missing.
    async fn mend(&self, live: &Live, error: RedisError) -> RedisResult<()> {
        if error.code() != Some("NOGROUP") {
            return Err(error);
        }
        self.queue.open(&self.link, live).await?;
        tracing::info!("redis had lost the streams of runs, or never had them");
        Ok(())
    }

    /// Reads once, and waits for news if there is nothing to read.
    async fn round(&mut self, live: &Live, room: OwnedSemaphorePermit) -> RedisResult<()> {
        if Instant::now() >= self.next_sweep {
            members::sweep(&self.queue, &self.link, live, members::FORGOTTEN).await?;
            self.next_sweep = Instant::now() + SWEEP_EVERY;
        }
        let mut bands = self.take(live, room.num_permits()).await?;
        if bands.iter().all(|(_, entries)| entries.is_empty()) {
            bands = self.wait_for_news(live, room.num_permits()).await?;
        }
        self.hand_over(bands, room);
        Ok(())
    }

    async fn take(&mut self, live: &Live, room: usize) -> RedisResult<Vec<(Band, Vec<Value>)>> {
        let is_rescue_due = Instant::now() >= self.next_rescue;
        let rescues = match is_rescue_due {
            true => room.min(self.slots.available_permits()),
            false => 0,
        };
        let mut call = TAKE.prepare_invoke();
        for band in Band::ALL {
            call.key(self.queue.key(band));
        }
        call.arg(GROUP).arg(&*self.consumer).arg(room).arg(rescues);
        call.arg(RESCUE_IDLE.as_millis() as u64);
        let answer: RedisResult<Vec<Vec<Value>>> = call.invoke_async(&mut live.connection()).await;
        let bands = self.link.judge(live, answer)?;
        if is_rescue_due {
            self.next_rescue = Instant::now() + RESCUE_EVERY;
        }
        Ok(Band::ALL.into_iter().zip(bands).collect())
    }

    /// Blocks until there are entries, or until the next look for what others left. The count is per band: with room for
    /// fewer than three, news in several bands at once may bring two too many.
    async fn wait_for_news(
        &self,
        live: &Live,
        room: usize,
    ) -> RedisResult<Vec<(Band, Vec<Value>)>> {
        let block = self.next_rescue.saturating_duration_since(Instant::now());
        let mut pipeline = redis::pipe();
        pipeline.cmd("XREADGROUP").arg("GROUP").arg(GROUP);
        pipeline.arg(&*self.consumer);
        pipeline.arg("COUNT").arg((room / Band::ALL.len()).max(1));
        // Zero would block for ever.
        pipeline.arg("BLOCK").arg(block.as_millis().max(1) as u64);
        let keys = Band::ALL.map(|band| self.queue.key(band));
        pipeline
            .arg("STREAMS")
            .arg(&keys)
            .arg(&[">"; Band::ALL.len()]);
        let (answer,): (Value,) = self.link.query(live, &pipeline).await?;
        let band_of = |key: String| {
            let index = keys.iter().position(|known| *known == key)?;
            Some(Band::ALL[index])
        };
        let streams = reply::streams(answer).into_iter();
        Ok(streams
            .filter_map(|(key, entries)| Some((band_of(key)?, entries)))
            .collect())
    }

    /// Gives the ids to the claimer, each with its place, and what is no run to the acknowledger.
    fn hand_over(&self, bands: Vec<(Band, Vec<Value>)>, mut room: OwnedSemaphorePermit) {
        let (mut read, mut foreign) = (Vec::new(), Vec::new());
        for (band, entries) in bands {
            for (id, run) in entries.into_iter().filter_map(reply::run) {
                match run {
                    Some(run) => read.push(Entry {
                        band,
                        id,
                        run,
                        room: room.split(1),
                    }),
                    None => foreign.push(Decided { band, id }),
                }
            }
        }
        if !foreign.is_empty() {
            tracing::warn!(
                count = foreign.len(),
                "entries that are no runs are removed from their stream"
            );
            drop(self.outlets.decided.send(foreign));
        }
        // Fails only when the consumer is ending, and then what it read is handed back.
        drop(self.outlets.read.send(read));
    }
}
