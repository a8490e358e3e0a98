//! Reading the log from an offset.

use tidegate_event::ChangeEvent;

use crate::{Error, EventLog};

/// One event and where it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Position in the log, dense, from 1; not an LSN.
    pub log_offset: u64,
    pub event: ChangeEvent,
}

impl EventLog {
    /// Up to `limit` events after `log_offset`, in order. Empty: there are no more yet.
    pub async fn read(&self, after: u64, limit: usize) -> Result<Vec<LogEntry>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select log_offset, body from tidegate.event
                  where log_offset > $1 and log_offset <= $1 + $2 order by log_offset",
            )
            .await?;
        let rows = client
            .query(&statement, &[&(after as i64), &(limit as i64)])
            .await?;
        rows.iter()
            .map(|row| {
                let log_offset = row.get::<_, i64>(0) as u64;
                let event = serde_json::from_str(row.get(1))
                    .map_err(|source| Error::Decode { log_offset, source })?;
                Ok(LogEntry { log_offset, event })
            })
            .collect()
    }

    /// The last offset in the log; 0 when it is empty.
    pub async fn last_offset(&self) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select coalesce(max(log_offset), 0) from tidegate.capture",
                &[],
            )
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }
}
