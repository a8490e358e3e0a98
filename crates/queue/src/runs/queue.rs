//! The streams of runs as those see them who fill them.
//!
//! An *incarnation* is one unbroken life of the three consumer groups on one server process. Its name is the server's run
//! id and a random text under `{ns}:runs:incarnation`, set anew whenever a group had to be made:
//!
//! ```text
//! FLUSHALL, DEL of a stream   the group is missing, or the text      another text
//! restart, fail-over          the last second may be missing         another run id
//! ```

use std::sync::LazyLock;

use redis::{RedisResult, Script};

use crate::error::Error;
use crate::link::{Link, Live};
use crate::queue::Queue;
use crate::runs::{Band, GROUP, RUN_FIELD};

/// Ids added by one pipeline, so that an answer comes well within the response time-out.
const MAX_PUSH: usize = 10_000;

/// Makes what is missing of the groups, which begin at the start of their streams: what was pushed before is read. Answers
/// the incarnation's text, which is new when anything was missing.
static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local is_whole = redis.call('EXISTS', KEYS[1]) == 1
for i = 2, #KEYS do
    local answer = redis.pcall('XGROUP', 'CREATE', KEYS[i], ARGV[1], '0', 'MKSTREAM')
    if not answer.err then
        is_whole = false
    elseif not string.find(answer.err, 'BUSYGROUP', 1, true) then
        return answer
    end
end
if not is_whole then
    redis.call('SET', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])
",
    )
});

/// Entries per band: ids that no consumer has read, and ids that one has read and not decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub high: u64,
    pub normal: u64,
    pub low: u64,
}

impl Waiting {
    pub fn total(&self) -> u64 {
        self.high + self.normal + self.low
    }
}

/// A handle on the streams of runs. Cheap to clone; it shares the connection of its [`Queue`].
#[derive(Clone, Debug)]
pub struct RunQueue {
    queue: Queue,
}

impl RunQueue {
    /// The streams of runs in the Redis and the namespace of `queue`.
    pub fn new(queue: &Queue) -> RunQueue {
        RunQueue {
            queue: queue.clone(),
        }
    }

    /// Adds runs, in this order within each band. A run that is there already is there twice then, and claimed once.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: some, all or none were added; push the same again.
    pub async fn push(&self, runs: &[(u64, Band)]) -> Result<(), Error> {
        for chunk in runs.chunks(MAX_PUSH) {
            let live = self.link().live().await?;
            let mut pipeline = redis::pipe();
            for (run, band) in chunk {
                pipeline.cmd("XADD").arg(self.key(*band)).arg("*");
                pipeline.arg(RUN_FIELD).arg(*run).ignore();
            }
            let () = self.link().query(&live, &pipeline).await?;
        }
        Ok(())
    }

    /// How many entries each band has.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn queued(&self) -> Result<Waiting, Error> {
        let live = self.link().live().await?;
        let mut pipeline = redis::pipe();
        for band in Band::ALL {
            pipeline.cmd("XLEN").arg(self.key(band));
        }
        let (high, normal, low) = self.link().query(&live, &pipeline).await?;
        Ok(Waiting { high, normal, low })
    }

    /// Names what Redis holds: a text that changes whenever ids were lost or may have been. Whoever fills the streams keeps
    /// it from *before* its first push, asks again now and then, and when it has changed pushes again whatever Postgres calls
    /// queued.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn incarnation(&self) -> Result<String, Error> {
        let live = self.link().live().await?;
        let text = self.open(self.link(), &live).await?;
        Ok(format!("{}.{text}", live.run_id))
    }

    /// Makes the groups where they are missing, over any link.
    pub(super) async fn open(&self, link: &Link, live: &Live) -> RedisResult<String> {
        let mut call = OPEN.key(self.queue.keys().runs_incarnation());
        for band in Band::ALL {
            call.key(self.key(band));
        }
        call.arg(GROUP)
            .arg(format!("{:032x}", rand::random::<u128>()));
        let answer = call.invoke_async(&mut live.connection()).await;
        link.judge(live, answer)
    }

    pub(super) fn key(&self, band: Band) -> String {
        self.queue.keys().runs(band)
    }

    /// For commands that Redis answers at once.
    pub(super) fn link(&self) -> &Link {
        self.queue.link()
    }

    pub(super) fn redis_url(&self) -> &str {
        &self.queue.config().redis_url
    }
}
