//! The names under which a repeat is recognised everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Lsn;

/// Names one change for ever: slot epoch, commit LSN, ordinal within the transaction (from 0).
///
/// Written `epoch-LSN-ordinal`, for example `1-16.B374D848-0`. The epoch changes when the slot is
/// re-created, because LSNs repeat after a restore. Ordered by time within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    pub epoch: u32,
    pub commit_lsn: Lsn,
    pub ordinal: u32,
}

/// Names one run of one trigger for one event: `event-id:trigger`, for example
/// `1-16.B374D848-0:afterSave:Order`. A repeated delivery carries the same id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    pub event: EventId,
    pub trigger: String,
}

/// The text is not an event id.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not an event id such as 1-16.B374D848-0")]
pub struct ParseEventIdError {
    text: String,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lsn(lsn) = self.commit_lsn;
        write!(
            f,
            "{}-{:X}.{:X}-{}",
            self.epoch,
            lsn >> 32,
            lsn & 0xFFFF_FFFF,
            self.ordinal
        )
    }
}

impl FromStr for EventId {
    type Err = ParseEventIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.splitn(3, '-');
            let epoch = parts.next()?.parse().ok()?;
            let commit_lsn = parts.next()?.replacen('.', "/", 1).parse().ok()?;
            let ordinal = parts.next()?.parse().ok()?;
            Some(EventId {
                epoch,
                commit_lsn,
                ordinal,
            })
        };
        parse().ok_or_else(|| ParseEventIdError {
            text: text.to_owned(),
        })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.event, self.trigger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_survives_its_text_form_and_sorts_by_commit() {
        let first = EventId {
            epoch: 1,
            commit_lsn: Lsn(0x16_B374_D848),
            ordinal: 7,
        };
        let later = EventId {
            epoch: 1,
            commit_lsn: Lsn(0x16_B374_D849),
            ordinal: 0,
        };
        assert_eq!(first.to_string(), "1-16.B374D848-7");
        assert_eq!("1-16.B374D848-7".parse::<EventId>().unwrap(), first);
        assert!(first < later);
        for bad in ["", "1", "1-0.0", "1-0-0", "x-0.0-0", "1-0.0-0-0"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
