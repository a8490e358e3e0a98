//! The queue in Redis as everyone who is not a consumer sees it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::{self, Config};
use crate::error::Error;
use crate::keyspace::Keyspace;
use crate::link::{Link, Live};
use crate::push::Headroom;

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

    pub(crate) async fn queued_in(&self, live: &Live, generation: u64) -> Result<u64, Error> {
        let mut pipeline = redis::pipe();
        for index in 0..self.lanes() {
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
