//! Reading the log from an offset.

use tidegate_event::ChangeEvent;

use crate::{Error, EventLog};

/// Most bytes of events in one read, however many events are asked for; one event is always returned.
const MAX_READ_BYTES: i64 = 16 * 1024 * 1024;

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
                "select log_offset, body
                   from (select log_offset, body,
                                sum(octet_length(body)) over (order by log_offset) - octet_length(body)
                                    as bytes_before
                           from tidegate.event
                          where log_offset > $1 and log_offset <= $1 + $2) as next
                  where bytes_before < $3 order by log_offset",
            )
            .await?;
        let rows = client
            .query(
                &statement,
                &[&(after as i64), &(limit as i64), &MAX_READ_BYTES],
            )
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

    /// The last offset ever handed out; 0 when there was none. Also knows those whose checkpoint or partition is gone.
    pub async fn last_offset(&self) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select greatest((select max(log_offset) from tidegate.capture),
                                 (select max(log_offset) from tidegate.event),
                                 (select log_offset from tidegate.dispatch), 0)",
                &[],
            )
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// The epoch for a slot that is followed from now on: LSNs may repeat those of an earlier slot.
    pub async fn next_epoch(&self) -> Result<u32, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select greatest((select max(epoch) from tidegate.capture),
                                 (select max(epoch) from tidegate.event), 0) + 1",
                &[],
            )
            .await?;
        Ok(row.get::<_, i32>(0) as u32)
    }
}
