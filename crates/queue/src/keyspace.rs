//! The names of our keys in Redis, and which lane an order key belongs to.

use std::sync::Arc;

use crate::config::LIMITED_LANES;
use crate::delivery::Delivery;
use crate::runs::Band;

/// Names every key of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    namespace: Arc<str>,
}

impl Keyspace {
    pub(crate) fn new(namespace: &str) -> Keyspace {
        Keyspace {
            namespace: namespace.into(),
        }
    }

    /// The hash that says which generation holds, see [`crate::generation`].
    pub(crate) fn marker(&self) -> String {
        format!("{}:generation", self.namespace)
    }

    /// The stream of one lane.
    pub(crate) fn lane(&self, generation: u64, index: u16) -> String {
        format!("{}:lane:{generation}:{index}", self.namespace)
    }

    /// Matches the lanes of every generation, as a glob.
    pub(crate) fn every_lane(&self) -> String {
        format!("{}:lane:*", self.namespace)
    }

    /// The generation and index in a lane's key; `None` for a key that is no lane of ours.
    pub(crate) fn parse_lane(&self, key: &str) -> Option<(u64, u16)> {
        let rest = key.strip_prefix(&*self.namespace)?.strip_prefix(":lane:")?;
        let (generation, index) = rest.split_once(':')?;
        Some((generation.parse().ok()?, index.parse().ok()?))
    }

    /// The channel on which one waiting process hears of outcomes.
    pub(crate) fn reply(&self, reply_to: &str) -> String {
        format!("{}:reply:{reply_to}", self.namespace)
    }

    /// The stream of the runs of one band.
    pub(crate) fn runs(&self, band: Band) -> String {
        format!("{}:runs:{}", self.namespace, band.name())
    }

    /// The text that names one unbroken life of the streams of runs, see [`crate::runs`].
    pub(crate) fn runs_incarnation(&self) -> String {
        format!("{}:runs:incarnation", self.namespace)
    }
}

/// The lane of an order key. Every process and version must agree on it, so it is spelled out here
/// (FNV-1a with MurmurHash3's finisher, because FNV's low bits alone spread short keys badly) and
/// pinned by a test.
pub(crate) fn lane_of(order_key: &str, lanes: u16) -> u16 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in order_key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    u16::try_from(hash % u64::from(lanes)).expect("a remainder is below its divisor")
}

/// The lane of a delivery, out of `lanes` and those for limited ones behind them.
pub(crate) fn lane_of_delivery(delivery: &Delivery, lanes: u16) -> u16 {
    match &delivery.limit {
        None => lane_of(&delivery.order_key, lanes),
        Some(limit) => lanes + lane_of(&limit.group, LIMITED_LANES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_where_they_were_put_and_spread_evenly() {
        let keys = ["Order:a", "Order:b", "Order:xWMyZ4YEGZ"];
        assert_eq!(keys.map(|key| lane_of(key, 64)), [20, 45, 62]);
        let mut per_lane = [0; 64];
        for number in 0..64_000 {
            per_lane[usize::from(lane_of(&format!("Order:{number}"), 64))] += 1;
        }
        let (least, most) = (per_lane.iter().min(), per_lane.iter().max());
        assert!(least > Some(&800) && most < Some(&1200), "{per_lane:?}");
    }

    #[test]
    fn a_lane_is_known_by_its_key() {
        let keys = Keyspace::new("app:x");
        assert_eq!(keys.parse_lane(&keys.lane(7, 63)), Some((7, 63)));
        for foreign in [
            "app:x:generation",
            "app:lane:7:1",
            "app:x:lane:7",
            "app:x:lane:a:1",
        ] {
            assert_eq!(keys.parse_lane(foreign), None, "{foreign}");
        }
    }
}
