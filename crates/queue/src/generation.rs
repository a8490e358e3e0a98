//! The generation marker: whether Redis still holds what was pushed.
//!
//! Redis is a dispatch cache, and may lose everything (FLUSHALL), the last second (a restart), or
//! be replaced by a replica that is a little behind. The marker, a hash, says which generation the
//! lanes belong to and which server process it was opened on:
//!
//! ```text
//! {ns}:generation   generation 7, lanes 64, run_id 0f3c…, repeats_through 120394
//! ```
//!
//! Invariant: a delivery is added, and read, only under a marker that names this generation, this
//! number of lanes and the server process that answers. Whatever loses deliveries changes one of
//! the three, or removes the marker; then the dispatcher opens the next generation and queues again
//! from Postgres what has no outcome.

use std::sync::LazyLock;

use redis::{Pipeline, Script, Value};

use crate::delivery::EntryId;
use crate::error::Error;
use crate::link::Live;
use crate::queue::Queue;

/// Keys one SCAN step looks at. Redis answers other clients between steps.
const SCAN_COUNT: usize = 1000;

/// Steps of SCAN after which the clean-up gives up, so that a huge shared Redis does not hold up
/// dispatch. What it leaves behind is found by the next one.
const MAX_SCAN_STEPS: usize = 1000;

/// Answers 1 when the marker is ours now, or else the generation it names. Never goes back: a
/// dispatcher that lost its leadership must not undo a newer generation. The same number again is
/// fine only while nothing was lost in between: pushing it again would not bring back entries below
/// a lane's last id.
static OPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local marker = redis.call('HMGET', KEYS[1], 'generation', 'lanes', 'run_id')
local function is_ours()
    return marker[1] == ARGV[1] and marker[2] == ARGV[2] and marker[3] == ARGV[3]
end
if marker[1] and tonumber(marker[1]) >= tonumber(ARGV[1]) then
    return is_ours() and 1 or marker[1]
end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'lanes', ARGV[2], 'run_id', ARGV[3])
redis.call('HSET', KEYS[1], 'repeats_through', ARGV[4])
return 1
",
    )
});

/// What the marker says, as far as it holds for this process and this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) generation: u64,
    /// Entries up to here may have been run in an older generation.
    pub(crate) repeats_through: EntryId,
}

impl Marker {
    /// Adds the command that reads the marker to a pipeline.
    pub(crate) fn ask(pipeline: &mut Pipeline, key: &str) {
        pipeline
            .cmd("HMGET")
            .arg(key)
            .arg(&["generation", "lanes", "run_id", "repeats_through"]);
    }

    /// Reads the answer. `None` if there is no marker, or none that holds for `lanes` lanes on the
    /// server `run_id`.
    pub(crate) fn parse(answer: &Value, lanes: u16, run_id: &str) -> Option<Marker> {
        let Value::Array(fields) = answer else {
            return None;
        };
        let text = |index: usize| match fields.get(index) {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        let holds = text(1)?.parse() == Ok(lanes) && text(2)? == run_id;
        let marker = Marker {
            generation: text(0)?.parse().ok()?,
            repeats_through: EntryId::last_of(text(3)?.parse().ok()?),
        };
        holds.then_some(marker)
    }
}

impl Queue {
    /// The generation that Redis holds whole. `None` after a flush, a restart or a fail-over, and
    /// for a queue with another number of lanes: then the dispatcher opens a generation above every
    /// one before.
    ///
    /// A dispatcher with nothing to push asks once a second, because consumers run nothing while
    /// there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn generation(&self) -> Result<Option<u64>, Error> {
        let live = self.link().live().await?;
        let marker = self.marker(&live).await?;
        Ok(marker.map(|marker| marker.generation))
    }

    /// Makes `generation` the one that holds, and removes the lanes of older ones. Call it with a
    /// number that Postgres hands out once, then push everything without an outcome, in order.
    ///
    /// `repeats_through` is the highest log offset that can ever have been pushed before, for
    /// example the end of the log: deliveries up to it come to handlers with
    /// [`crate::Received::maybe_repeated`].
    ///
    /// # Errors
    /// [`Error::GenerationLost`]: Redis has this generation from before a restart, or a newer one.
    /// Unless another process is the dispatcher now, open one above `found`.
    /// [`Error::Unavailable`]: retry with the same number.
    pub async fn open_generation(
        &self,
        generation: u64,
        repeats_through: u64,
    ) -> Result<(), Error> {
        let live = self.link().live().await?;
        let mut call = OPEN.key(self.keys().marker());
        call.arg(generation)
            .arg(self.lanes())
            .arg(&*live.run_id)
            .arg(repeats_through);
        let answer = call.invoke_async(&mut live.connection()).await;
        confirm_marker(generation, self.link().judge(&live, answer)?)?;
        tracing::info!(
            queue.generation = generation,
            repeats_through,
            "queue generation opened"
        );
        if let Err(error) = self.remove_older_lanes(&live, generation).await {
            tracing::warn!(%error, "lanes of older generations stay in redis for now");
        }
        Ok(())
    }

    async fn marker(&self, live: &Live) -> Result<Option<Marker>, Error> {
        let mut pipeline = redis::pipe();
        Marker::ask(&mut pipeline, &self.keys().marker());
        let (answer,): (Value,) = self.link().query(live, &pipeline).await?;
        Ok(Marker::parse(&answer, self.lanes(), &live.run_id))
    }

    async fn remove_older_lanes(&self, live: &Live, generation: u64) -> Result<(), Error> {
        let mut cursor = 0u64;
        for _ in 0..MAX_SCAN_STEPS {
            let mut pipeline = redis::pipe();
            let scan = pipeline.cmd("SCAN").arg(cursor);
            scan.arg("MATCH")
                .arg(self.keys().every_lane())
                .arg("COUNT")
                .arg(SCAN_COUNT);
            let ((next, found),): ((u64, Vec<String>),) =
                self.link().query(live, &pipeline).await?;
            self.remove_lanes(live, older(found, generation, self))
                .await?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
        tracing::warn!("redis holds too many keys to look through all for old lanes");
        Ok(())
    }

    async fn remove_lanes(&self, live: &Live, keys: Vec<String>) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("UNLINK").arg(keys).ignore();
        Ok(self.link().query(live, &pipeline).await?)
    }
}

fn older(keys: Vec<String>, generation: u64, queue: &Queue) -> Vec<String> {
    let is_older = |key: &String| {
        let lane = queue.keys().parse_lane(key);
        lane.is_some_and(|(lane_generation, _)| lane_generation < generation)
    };
    keys.into_iter().filter(is_older).collect()
}

/// Reads what a script that checks the marker answers: 1, or the generation it found instead, empty
/// for none.
pub(crate) fn confirm_marker(expected: u64, answer: Value) -> Result<(), Error> {
    let found = match answer {
        Value::Int(1) => return Ok(()),
        Value::BulkString(text) => std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok()),
        _ => None,
    };
    Err(Error::GenerationLost { expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: [&str; 4]) -> Value {
        Value::Array(fields.map(|field| Value::BulkString(field.into())).into())
    }

    #[test]
    fn a_marker_holds_only_for_its_lanes_and_its_server() {
        let marker = Marker {
            generation: 7,
            repeats_through: EntryId::last_of(90),
        };
        let ours = answer(["7", "64", "abc", "90"]);
        assert_eq!(Marker::parse(&ours, 64, "abc"), Some(marker));
        assert_eq!(Marker::parse(&ours, 32, "abc"), None);
        assert_eq!(Marker::parse(&ours, 64, "abd"), None);
        let missing = Value::Array(vec![Value::Nil, Value::Nil, Value::Nil, Value::Nil]);
        for other in [missing, Value::Nil, answer(["x", "64", "abc", "90"])] {
            assert_eq!(Marker::parse(&other, 64, "abc"), None);
        }
    }

    #[test]
    fn what_a_script_found_instead_is_told() {
        assert!(confirm_marker(7, Value::Int(1)).is_ok());
        for (answer, expected_found) in [("8", Some(8)), ("", None)] {
            let error = confirm_marker(7, Value::BulkString(answer.into())).unwrap_err();
            let Error::GenerationLost { expected, found } = error else {
                panic!("{error:?}");
            };
            assert_eq!((expected, found), (7, expected_found));
        }
    }
}
