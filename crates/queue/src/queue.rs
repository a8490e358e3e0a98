//! The queue in Redis as everyone who is not a consumer sees it.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use crate::config::{self, Config, LIMITED_LANES};
use crate::delivery::EntryId;
use crate::error::Error;
use crate::keyspace::Keyspace;
use crate::link::{Link, Live};
use crate::push::Headroom;

/// The last id of each lane that exists.
static LAST_IDS: LazyLock<redis::Script> = LazyLock::new(|| {
    redis::Script::new(
        "
local ids = {}
for i = 1, #KEYS do
    local stream = redis.pcall('XINFO', 'STREAM', KEYS[i])
    for j = 1, #stream, 2 do
        if stream[j] == 'last-generated-id' then
            ids[#ids + 1] = stream[j + 1]
        end
    end
end
return ids
",
    )
});

/// A handle on the queue. Cheap to clone; all clones share one connection, which comes back by
/// itself.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    keys: Keyspace,
    link: Link,
    headroom: Mutex<Headroom>,
    /// Held by the one push that is under way, so that pushes of one process stay in the order of
    /// their calls.
    pushing: tokio::sync::Mutex<()>,
}

impl Queue {
    /// Connects to Redis.
    ///
    /// # Errors
    /// [`Error::Config`]: fix the config. [`Error::Unavailable`]: Redis does not answer, or is a
    /// replica.
    pub async fn connect(config: Config) -> Result<Queue, Error> {
        config::check(&config).map_err(|reason| Error::Config {
            reason: reason.into(),
        })?;
        let link = Link::new(&config.redis_url, Duration::ZERO)?;
        link.live().await?;
        let inner = Inner {
            keys: Keyspace::new(&config.namespace),
            config,
            link,
            headroom: Mutex::default(),
            pushing: tokio::sync::Mutex::new(()),
        };
        Ok(Queue {
            inner: Arc::new(inner),
        })
    }

    /// Unacknowledged deliveries over all lanes of the generation that holds; 0 if none does.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn queued(&self) -> Result<u64, Error> {
        match self.generation().await? {
            Some(generation) => {
                let live = self.link().live().await?;
                self.queued_in(&live, generation).await
            }
            None => Ok(0),
        }
    }

    /// The last delivery, by log offset and position, that was ever pushed into `generation`, acknowledged or not: what
    /// comes after it was not pushed. None for a generation without any.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn last_pushed(&self, generation: u64) -> Result<Option<(u64, u16)>, Error> {
        let live = self.link().live().await?;
        let mut call = LAST_IDS.prepare_invoke();
        for index in 0..self.lanes() + LIMITED_LANES {
            call.key(self.keys().lane(generation, index));
        }
        let answer: redis::RedisResult<Vec<String>> =
            call.invoke_async(&mut live.connection()).await;
        let ids = self.link().judge(&live, answer)?;
        let ids = ids.iter().filter_map(|id| id.parse::<EntryId>().ok());
        Ok(ids.max().map(|id| (id.log_offset, id.position)))
    }

    /// Whether each of these deliveries, by log offset and position, is in a lane of `generation`: neither
    /// acknowledged nor lost. Looks into every lane: for a few of them, now and then.
    ///
    /// # Errors
    /// [`Error::GenerationLost`]: that generation does not hold. [`Error::Unavailable`]: retry.
    pub async fn contains(
        &self,
        generation: u64,
        deliveries: &[(u64, u16)],
    ) -> Result<Vec<bool>, Error> {
        let live = self.link().live().await?;
        let mut pipeline = redis::pipe();
        for (log_offset, position) in deliveries {
            let id = format!("{log_offset}-{position}");
            for index in 0..self.lanes() + LIMITED_LANES {
                let lane = self.keys().lane(generation, index);
                pipeline.cmd("XRANGE").arg(lane).arg(&id).arg(&id);
            }
        }
        let found: Vec<redis::Value> = self.link().query(&live, &pipeline).await?;
        // After the look: what a lost generation did not hold says nothing.
        let holds = self.generation().await?;
        if holds != Some(generation) {
            return Err(Error::GenerationLost {
                expected: generation,
                found: holds,
            });
        }
        let lanes = usize::from(self.lanes() + LIMITED_LANES);
        let is_there = |entries: &redis::Value| matches!(entries, redis::Value::Array(entries) if !entries.is_empty());
        let mut found = found.chunks(lanes);
        Ok(deliveries
            .iter()
            .map(|_| found.next().is_some_and(|lanes| lanes.iter().any(is_there)))
            .collect())
    }

    pub(crate) async fn queued_in(&self, live: &Live, generation: u64) -> Result<u64, Error> {
        let mut pipeline = redis::pipe();
        for index in 0..self.lanes() + LIMITED_LANES {
            pipeline
                .cmd("XLEN")
                .arg(self.keys().lane(generation, index));
        }
        let lengths: Vec<u64> = self.link().query(live, &pipeline).await?;
        Ok(lengths.iter().sum())
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Without those for limited deliveries.
    pub(crate) fn lanes(&self) -> u16 {
        self.inner.config.lanes
    }

    pub(crate) fn keys(&self) -> &Keyspace {
        &self.inner.keys
    }

    /// For commands that Redis answers at once. What blocks has a link of its own.
    pub(crate) fn link(&self) -> &Link {
        &self.inner.link
    }

    pub(crate) fn headroom(&self) -> &Mutex<Headroom> {
        &self.inner.headroom
    }

    pub(crate) fn pushing(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.pushing
    }
}
