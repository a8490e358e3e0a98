//! Reading the log from an offset.

use tidegate_event::{ChangeEvent, Redelivery};

use crate::{Error, EventLog};

/// Most bytes of events in one read, however many events are asked for; one event is always returned.
const MAX_READ_BYTES: i64 = 16 * 1024 * 1024;

/// One event and where it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Position in the log, dense, from 1; not an LSN.
    pub log_offset: u64,
    pub event: ChangeEvent,
    /// Why the event stands here, when that is not because it was committed just before.
    pub redelivery: Option<Redelivery>,
}

/// One event as it is stored, not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    pub log_offset: u64,
    /// JSON of a [`ChangeEvent`].
    pub body: String,
    /// JSON of a [`Redelivery`].
    pub redelivery: Option<String>,
}

const READ: &str = "
select log_offset, body, redelivery
  from (select log_offset, body, redelivery,
               sum(octet_length(body)) over (order by log_offset) - octet_length(body) as bytes_before
          from tidegate.event
         where log_offset > $1 and log_offset <= $1 + $2) as next
 where bytes_before < $3 order by log_offset";

impl EventLog {
    /// As [`EventLog::read`], without decoding.
    pub async fn read_stored(&self, after: u64, limit: usize) -> Result<Vec<StoredEntry>, Error> {
        let stored = |row: &tokio_postgres::Row| StoredEntry {
            log_offset: row.get::<_, i64>(0) as u64,
            body: row.get(1),
            redelivery: row.get(2),
        };
        let rows = self.read_rows(after, limit).await?;
        Ok(rows.iter().map(stored).collect())
    }

    /// The entry at one offset; None when retention has dropped it, or it never was.
    pub async fn entry_at(&self, log_offset: u64) -> Result<Option<LogEntry>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select log_offset, body, redelivery from tidegate.event where log_offset = $1",
            )
            .await?;
        let row = client
            .query_opt(&statement, &[&(log_offset as i64)])
            .await?;
        row.as_ref().map(entry).transpose()
    }

    /// Up to `limit` events after `log_offset`, in order. Empty: there are no more yet.
    pub async fn read(&self, after: u64, limit: usize) -> Result<Vec<LogEntry>, Error> {
        let rows = self.read_rows(after, limit).await?;
        rows.iter().map(entry).collect()
    }

    async fn read_rows(&self, after: u64, limit: usize) -> Result<Vec<tokio_postgres::Row>, Error> {
        let client = self.client().await?;
        let statement = client.prepare_cached(READ).await?;
        let (after, limit) = (after as i64, limit as i64);
        Ok(client
            .query(&statement, &[&after, &limit, &MAX_READ_BYTES])
            .await?)
    }

    /// The last offset ever handed out; 0 when there was none.
    pub async fn last_offset(&self) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_one("select last_offset from tidegate.log", &[])
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

/// A row of `log_offset, body, redelivery`.
pub(crate) fn entry(row: &tokio_postgres::Row) -> Result<LogEntry, Error> {
    let log_offset = row.get::<_, i64>(0) as u64;
    let decode = |source| Error::Decode { log_offset, source };
    let redelivery: Option<&str> = row.get(2);
    Ok(LogEntry {
        log_offset,
        event: serde_json::from_str(row.get(1)).map_err(decode)?,
        redelivery: redelivery
            .map(serde_json::from_str)
            .transpose()
            .map_err(decode)?,
    })
}
