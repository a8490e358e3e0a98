//! What the log has of a table that a chunk of its rows may not be put behind.

use std::collections::{BTreeSet, HashSet};

use tidegate_event::{ChangeEvent, Row};
use tokio_postgres::Transaction;

use crate::Error;
use crate::backfill::Backfill;
use crate::replay_scan::pattern;

/// Events that a chunk's snapshot does not see, as far as the log has them.
pub(crate) struct Live {
    /// Every event up to here is visible to the snapshot.
    pub floor: u64,
    /// Where the log ended before the chunk was read.
    before: u64,
    /// Up to here the log has been looked through.
    looked: u64,
    /// An event that the snapshot does not see has been met: the floor stays below it.
    is_blocked: bool,
    keys: HashSet<Row>,
    truncated: bool,
}

/// Which transactions a statement sees: `pg_current_snapshot()`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
    /// Of the transaction that took it; low 32 bits.
    pub xid: u32,
}

impl Snapshot {
    /// From Postgres's text: `xmin:xmax:xid,xid`.
    pub fn parse(text: &str, xid: u32) -> Snapshot {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
        let (xmin, xmax) = (number(), number());
        let in_progress = parts.next().unwrap_or_default().split(',');
        Snapshot {
            xmin,
            xmax,
            in_progress: in_progress.filter_map(|xid| xid.parse().ok()).collect(),
            xid,
        }
    }

    /// True when the statement saw what this transaction (low 32 bits of its id), which has committed by now, wrote.
    pub fn sees(&self, xid: u32) -> bool {
        const ROUND: u64 = 1 << 32;
        // The number nearest to the snapshot: a transaction in the log is no two thousand million away.
        let mut full = self.xmax & !(ROUND - 1) | u64::from(xid);
        if full > self.xmax + ROUND / 2 {
            full = full.saturating_sub(ROUND);
        } else if full + ROUND / 2 < self.xmax {
            full += ROUND;
        }
        full < self.xmin || (full < self.xmax && !self.in_progress.contains(&full))
    }
}

impl Live {
    /// To be called before the chunk is read. `floor`: of the chunk before.
    ///
    /// Without one, or with one that is long ago, it is taken that what has been in the log for an hour is visible to
    /// everybody. (A commit is in the log before it is visible only while it waits for a synchronous standby.)
    pub async fn before_the_chunk(tx: &Transaction<'_>, floor: Option<u64>) -> Result<Live, Error> {
        const NEAR: u64 = 100_000;
        let row = tx
            .query_one("select last_offset from tidegate.log", &[])
            .await?;
        let before = row.get::<_, i64>(0) as u64;
        let floor = match floor {
            Some(floor) if before.saturating_sub(floor) <= NEAR => floor,
            floor => {
                let recent = tx
                    .query_one(
                        "select min(log_offset) - 1 from tidegate.event
                          where commit_time > now() - interval '1 hour' and logged_at > now() - interval '1 hour'
                            and log_offset > $1",
                        &[&(floor.unwrap_or(0) as i64)],
                    )
                    .await?;
                let recent: Option<i64> = recent.get(0);
                recent.map_or(before, |offset| offset as u64)
            }
        };
        Ok(Live {
            floor,
            before,
            looked: floor,
            is_blocked: false,
            keys: HashSet::new(),
            truncated: false,
        })
    }

    /// Looks through what has come to the log since it last did.
    pub async fn look(
        &mut self,
        tx: &Transaction<'_>,
        backfill: &Backfill,
        snapshot: &Snapshot,
        key_columns: &BTreeSet<&str>,
    ) -> Result<(), Error> {
        let rows = tx
            .query(
                "select log_offset, xid, redelivery is null from tidegate.event
                  where log_offset > $1 order by log_offset",
                &[&(self.looked as i64)],
            )
            .await?;
        let mut newer = Vec::new();
        for row in rows {
            let (log_offset, xid) = (row.get::<_, i64>(0), row.get::<_, i64>(1) as u32);
            let is_change: bool = row.get(2);
            let is_seen = !is_change || snapshot.sees(xid);
            // What was found by comparing tables with the log has no transaction of its own: what has come since
            // the read counts as newer, whatever it is.
            if is_change && (!is_seen || log_offset as u64 > self.before) {
                newer.push(log_offset);
            }
            self.is_blocked |= !is_seen;
            if !self.is_blocked {
                self.floor = log_offset as u64;
            }
            self.looked = log_offset as u64;
        }
        for chunk in newer.chunks(1_000) {
            self.take(tx, backfill, chunk, key_columns).await?;
        }
        Ok(())
    }

    async fn take(
        &mut self,
        tx: &Transaction<'_>,
        backfill: &Backfill,
        offsets: &[i64],
        key_columns: &BTreeSet<&str>,
    ) -> Result<(), Error> {
        let pattern = pattern(&backfill.schema, &backfill.table, None);
        let rows = tx
            .query(
                "select log_offset, body from tidegate.event
                  where log_offset = any($1) and strpos(left(body, 1000), $2) > 0",
                &[&offsets, &pattern],
            )
            .await?;
        for row in rows {
            let log_offset = row.get::<_, i64>(0) as u64;
            let event: ChangeEvent = serde_json::from_str(row.get(1))
                .map_err(|source| Error::Decode { log_offset, source })?;
            if event.schema != backfill.schema || event.table != backfill.table {
                continue;
            }
            self.truncated |= event.operation == tidegate_event::Operation::Truncate;
            // A change of the key makes the row under its old one older, too.
            if let Some(old) = event.old {
                let old: Row = old
                    .into_iter()
                    .filter(|(name, _)| key_columns.contains(name.as_str()))
                    .collect();
                self.keys.insert(old);
            }
            self.keys.insert(event.key);
        }
        Ok(())
    }

    /// True when the log has something newer of the row with this key.
    pub fn has(&self, key: &Row) -> bool {
        self.truncated || self.keys.contains(key)
    }
}

/// Keeps everybody from appending until the transaction ends.
pub(crate) async fn lock_end(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.execute("select from tidegate.log for update", &[])
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_what_had_ended_before_it() {
        let snapshot = Snapshot::parse("100:110:100,105", 109);
        assert!(snapshot.sees(99) && snapshot.sees(101) && snapshot.sees(109));
        assert!(!snapshot.sees(100) && !snapshot.sees(105) && !snapshot.sees(110));
        assert!(!snapshot.sees(4_000));
    }

    #[test]
    fn transaction_numbers_that_went_round_are_told_apart() {
        let round = 1u64 << 32;
        let text = format!("{}:{}:", 3 * round + 5, 3 * round + 10);
        let snapshot = Snapshot::parse(&text, 9);
        assert!(snapshot.sees(u32::MAX), "just before the last round ended");
        assert!(snapshot.sees(7) && !snapshot.sees(10) && !snapshot.sees(2_000_000_000));
        let snapshot = Snapshot::parse(&format!("{0}:{0}:", 3 * round - 1), 0);
        assert!(!snapshot.sees(3), "just after the next one begins");
    }
}
