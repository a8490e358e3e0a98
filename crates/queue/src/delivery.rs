//! One delivery, and what a handler is given of it and says about it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

/// One event for one trigger, as the queue sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event's offset in the log, from 1.
    pub log_offset: u64,
    /// Which of the event's deliveries this is.
    pub position: u16,
    /// Deliveries of one key run one at a time, by log offset and position.
    pub order_key: String,
    /// Opts out of that: runs when its turn in the lane comes, whatever else runs.
    pub unordered: bool,
    /// Of all deliveries of its group together; a limited one goes by a lane of its group.
    pub limit: Option<Limit>,
    /// Opaque to the queue.
    pub payload: Bytes,
}

/// How many deliveries of a group may run, over all consumers together.
///
/// All of a group's deliveries are in one lane, and the lane's owner counts. The latest delivery's limits hold for its
/// whole group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted together: a trigger's name.
    pub group: String,
    /// Most that run at once, from 1.
    pub concurrency: Option<u32>,
    /// Most that begin within a time: so many, in any so long.
    pub rate: Option<(u32, Duration)>,
}

/// What a handler is given.
#[derive(Clone, Debug)]
pub struct Received {
    pub delivery: Delivery,
    /// It may have been run before: the lane was taken over, the generation changed, or an earlier
    /// run here ended without an outcome that we know of. Ask Postgres for a recorded outcome
    /// first.
    pub maybe_repeated: bool,
    /// The lane it came by, and the fence to write its outcome under.
    pub lane: Lane,
    /// How often in a row this process was told [`Verdict::Retry`] for it.
    pub retry: u32,
}

/// A lane as its owner holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    pub index: u16,
    /// Grows with every owner; what carries an older one comes from a former owner.
    pub fence: u64,
}

/// What a handler says when it is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its outcome is recorded in Postgres, or was before: acknowledge it.
    Done,
    /// Run it again after this long. Later deliveries of its key wait; other keys flow on.
    Retry { after: Duration },
    /// It was not run: give it out again after this long, as if it had never been. Its key waits.
    Later { after: Duration },
}

/// A delivery's place in its lane: the id of its stream entry, `offset-position`. Equal in every
/// generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId {
    pub(crate) log_offset: u64,
    pub(crate) position: u16,
}

impl EntryId {
    /// Below every entry: where a lane is read from the start.
    pub(crate) const ZERO: EntryId = EntryId {
        log_offset: 0,
        position: 0,
    };

    /// The highest id an entry of this offset can have.
    pub(crate) fn last_of(log_offset: u64) -> EntryId {
        EntryId {
            log_offset,
            position: u16::MAX,
        }
    }
}

impl Delivery {
    pub(crate) fn id(&self) -> EntryId {
        EntryId {
            log_offset: self.log_offset,
            position: self.position,
        }
    }
}

impl Limit {
    /// The form in a stream entry: `concurrency,count,milliseconds,group`, empty where there is no limit.
    pub(crate) fn to_text(&self) -> String {
        let number =
            |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        let (count, per_ms) = self.rate.unzip();
        format!(
            "{},{},{},{}",
            number(self.concurrency.map(u64::from)),
            number(count.map(u64::from)),
            number(per_ms.map(|per| per.as_millis() as u64)),
            self.group
        )
    }

    pub(crate) fn from_text(text: &str) -> Option<Limit> {
        let mut parts = text.splitn(4, ',');
        let concurrency = parts.next()?.parse().ok();
        let count = parts.next()?.parse().ok();
        let per = parts.next()?.parse().ok().map(Duration::from_millis);
        Some(Limit {
            group: parts.next()?.to_owned(),
            concurrency,
            rate: count.zip(per),
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.log_offset, self.position)
    }
}

impl FromStr for EntryId {
    type Err = ();

    fn from_str(text: &str) -> Result<EntryId, ()> {
        let (log_offset, position) = text.split_once('-').ok_or(())?;
        Ok(EntryId {
            log_offset: log_offset.parse().map_err(|_| ())?,
            position: position.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_survives_its_text_form() {
        let limits = [
            (Some(2), None),
            (None, Some((20, Duration::from_secs(1)))),
            (Some(1), Some((1, Duration::from_millis(5)))),
        ];
        for (concurrency, rate) in limits {
            let limit = Limit {
                group: "afterSave:Order@a,b".into(),
                concurrency,
                rate,
            };
            assert_eq!(Limit::from_text(&limit.to_text()), Some(limit));
        }
        assert_eq!(Limit::from_text("2,,"), None);
    }

    #[test]
    fn an_entry_id_survives_its_text_form_and_sorts_by_number() {
        let id = EntryId {
            log_offset: 9,
            position: 2,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id < EntryId::last_of(9) && EntryId::last_of(9) < "10-0".parse().unwrap());
        for bad in ["", "9", "9-", "-1", "9-65536", "a-0"] {
            assert!(bad.parse::<EntryId>().is_err(), "{bad}");
        }
    }
}
