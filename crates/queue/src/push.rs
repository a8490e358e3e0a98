//! Puts deliveries into their lanes, in order, each at most once per generation.
//!
//! An entry's id is the delivery's log offset and position, chosen by us: Redis refuses an id that
//! is not above the lane's last one, so that a repeated push adds nothing, also when the entry was
//! acknowledged long ago.
//!
//! Invariant: a push stops at the first delivery that Redis does not take. If a later one went in
//! alone, the earlier would look like a repeat for ever.

use std::sync::{LazyLock, PoisonError};

use redis::{Script, Value};

use crate::delivery::{Delivery, Limit};
use crate::error::Error;
use crate::generation::confirm_marker;
use crate::keyspace::lane_of_delivery;
use crate::link::Live;
use crate::queue::Queue;

/// Deliveries one script call adds. Redis answers nobody else meanwhile: some 2 µs each.
const MAX_BATCH: usize = 256;

/// Payload bytes after which a script call is sent, though it could take more deliveries.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// The names of an entry's fields. The first also says whether the delivery keeps its key's order.
pub(crate) const ORDERED_KEY_FIELD: &[u8] = b"k";
pub(crate) const UNORDERED_KEY_FIELD: &[u8] = b"u";
pub(crate) const PAYLOAD_FIELD: &[u8] = b"p";
pub(crate) const LIMIT_FIELD: &[u8] = b"l";

/// KEYS: the marker, then each delivery's lane. ARGV: generation, lanes, run id, then five per
/// delivery: entry id, name of the key field, order key, payload, limit or nothing. Answers 1, the generation it
/// found instead, or the error of the XADD it stopped at.
static PUSH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local marker = redis.call('HMGET', KEYS[1], 'generation', 'lanes', 'run_id')
if marker[1] ~= ARGV[1] or marker[2] ~= ARGV[2] or marker[3] ~= ARGV[3] then
    return marker[1] or ''
end
for i = 2, #KEYS do
    local id, field, order_key, payload, limit = unpack(ARGV, 5 * (i - 2) + 4, 5 * (i - 2) + 8)
    local added
    if limit == '' then
        added = redis.pcall('XADD', KEYS[i], id, field, order_key, 'p', payload)
    else
        added = redis.pcall('XADD', KEYS[i], id, field, order_key, 'p', payload, 'l', limit)
    end
    local failure = type(added) == 'table' and added.err
    if failure and not string.find(failure, 'equal or smaller', 1, true) then
        return added
    end
end
return 1
",
    )
});

/// How many deliveries may still be pushed before the lanes have to be counted again. Consumers
/// only make room, so what one count allowed stays allowed.
#[derive(Debug, Default)]
pub(crate) struct Headroom {
    generation: u64,
    left: u64,
}

impl Headroom {
    fn take(&mut self, generation: u64, wanted: u64) -> bool {
        let enough = self.generation == generation && self.left >= wanted;
        if enough {
            self.left -= wanted;
        }
        enough
    }
}

impl Queue {
    /// Adds deliveries to `generation`, in the order given. Pushing some again is harmless.
    ///
    /// The caller is the only pusher of its generation and pushes in log order. After any error it
    /// pushes the same deliveries again before later ones: what is at or below the last id of its
    /// lane counts as pushed.
    ///
    /// # Errors
    /// [`Error::Full`]: nothing was pushed, wait. An empty queue takes any number.
    /// [`Error::GenerationLost`]: open a new generation and queue again from Postgres.
    /// [`Error::Unavailable`]: some may have been pushed; push all of them again.
    pub async fn push(&self, generation: u64, deliveries: &[Delivery]) -> Result<(), Error> {
        if deliveries.is_empty() {
            return Ok(());
        }
        let _pushing = self.pushing().lock().await;
        let live = self.link().live().await?;
        self.make_sure_of_room(&live, generation, deliveries.len() as u64)
            .await?;
        for batch in batches(deliveries) {
            self.push_batch(&live, generation, batch).await?;
        }
        Ok(())
    }

    async fn make_sure_of_room(
        &self,
        live: &Live,
        generation: u64,
        wanted: u64,
    ) -> Result<(), Error> {
        if self.take_headroom(generation, wanted) {
            return Ok(());
        }
        let max_queued = self.config().max_queued as u64;
        let queued = self.queued_in(live, generation).await?;
        if queued > 0 && queued + wanted > max_queued {
            return Err(Error::Full { queued, max_queued });
        }
        *self
            .headroom()
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Headroom {
            generation,
            left: max_queued.saturating_sub(queued + wanted),
        };
        Ok(())
    }

    fn take_headroom(&self, generation: u64, wanted: u64) -> bool {
        let mut headroom = self
            .headroom()
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        headroom.take(generation, wanted)
    }

    async fn push_batch(
        &self,
        live: &Live,
        generation: u64,
        batch: &[Delivery],
    ) -> Result<(), Error> {
        let mut call = PUSH.key(self.keys().marker());
        call.arg(generation).arg(self.lanes()).arg(&*live.run_id);
        for delivery in batch {
            let key_field = match delivery.unordered {
                false => ORDERED_KEY_FIELD,
                true => UNORDERED_KEY_FIELD,
            };
            let lane = lane_of_delivery(delivery, self.lanes());
            call.key(self.keys().lane(generation, lane));
            call.arg(delivery.id().to_string()).arg(key_field);
            call.arg(&delivery.order_key).arg(&delivery.payload[..]);
            let limit = delivery.limit.as_ref();
            call.arg(limit.map_or_else(String::new, Limit::to_text));
        }
        let answer: redis::RedisResult<Value> = call.invoke_async(&mut live.connection()).await;
        confirm_marker(generation, self.link().judge(live, answer)?)
    }
}

/// Cuts deliveries into what one script call takes.
fn batches(deliveries: &[Delivery]) -> impl Iterator<Item = &[Delivery]> {
    let mut rest = deliveries;
    std::iter::from_fn(move || {
        let (batch, later) = rest.split_at(batch_len(rest));
        rest = later;
        (!batch.is_empty()).then_some(batch)
    })
}

fn batch_len(deliveries: &[Delivery]) -> usize {
    let mut bytes = 0;
    let fits = |delivery: &&Delivery| {
        let fits = bytes == 0 || bytes + delivery.payload.len() <= MAX_BATCH_BYTES;
        bytes += delivery.payload.len();
        fits
    };
    deliveries.iter().take(MAX_BATCH).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn sizes(payloads: &[usize]) -> Vec<usize> {
        let deliveries: Vec<Delivery> = payloads
            .iter()
            .map(|&bytes| Delivery {
                log_offset: 1,
                position: 0,
                order_key: "k".into(),
                unordered: false,
                limit: None,
                payload: Bytes::from(vec![0; bytes]),
            })
            .collect();
        batches(&deliveries).map(<[Delivery]>::len).collect()
    }

    #[test]
    fn batches_are_bounded_in_number_and_bytes_and_never_empty() {
        assert_eq!(sizes(&[]), [0usize; 0]);
        assert_eq!(sizes(&[10; MAX_BATCH + 1]), [MAX_BATCH, 1]);
        assert_eq!(
            sizes(&[MAX_BATCH_BYTES / 2, MAX_BATCH_BYTES / 2, 1]),
            [2, 1]
        );
        assert_eq!(sizes(&[2 * MAX_BATCH_BYTES, 2 * MAX_BATCH_BYTES]), [1, 1]);
    }

    #[test]
    fn headroom_is_of_one_generation_and_used_up() {
        let mut headroom = Headroom {
            generation: 2,
            left: 3,
        };
        assert!(!headroom.take(1, 1));
        assert!(headroom.take(2, 2));
        assert!(!headroom.take(2, 2));
        assert!(headroom.take(2, 1));
    }
}
