//! Reading the log as it is stored, for those who pass events on.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Error, EventLog, Listener};

/// Followers are woken at most so often: each wake-up costs each of them a read.
const WAKE_INTERVAL: Duration = Duration::from_millis(5);
/// How often followers look by themselves: what wakes them is a hint, not a record.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before listening again when that failed.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);

/// One entry of the log, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Position in the log, from 1. Dense, but for what retention has dropped.
    pub log_offset: u64,
    /// The event: one JSON object on one line.
    pub body: String,
    /// JSON: why the event stands here, when that is not because it was committed just before.
    pub redelivery: Option<String>,
}

impl LogLine {
    /// The event as others are given it: as it is stored, with `logOffset` (and `redelivery`) before its own fields.
    pub fn json(&self) -> String {
        let LogLine {
            log_offset, body, ..
        } = self;
        let rest = body.strip_prefix('{').unwrap_or(body);
        match &self.redelivery {
            Some(why) => format!("{{\"logOffset\":{log_offset},\"redelivery\":{why},{rest}"),
            None => format!("{{\"logOffset\":{log_offset},{rest}"),
        }
    }
}

/// What [`EventLog::follow`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub lines: Vec<LogLine>,
    /// The last offset handed out when this was read.
    pub end: u64,
    /// Retention has dropped everything up to here, and `lines` is empty.
    pub dropped_to: Option<u64>,
}

impl EventLog {
    /// Up to `max_lines` entries after `after`, in order, and no more than `max_bytes` of them unless it is one.
    /// No lines and nothing dropped: there are no more yet.
    ///
    /// An entry whose offset is not one more than that of the entry before (or than `after`) follows a hole: retention
    /// has dropped what was there.
    pub async fn follow(
        &self,
        after: u64,
        max_lines: usize,
        max_bytes: usize,
    ) -> Result<Lines, Error> {
        let client = self.client().await?;
        // The end of the log belongs to the same snapshot: only then does an empty answer before the end mean a hole.
        let statement = client
            .prepare_cached(
                "select log.last_offset, next.log_offset, next.body, next.redelivery
                   from tidegate.log left join
                        (select log_offset, body, redelivery,
                                sum(octet_length(body)) over (order by log_offset) - octet_length(body)
                                    as bytes_before
                           from tidegate.event
                          where log_offset > $1 and log_offset <= $1 + $2) as next
                        on next.bytes_before < $3
                  order by next.log_offset",
            )
            .await?;
        let limits: (i64, i64) = (max_lines as i64, max_bytes as i64);
        let rows = client
            .query(&statement, &[&(after as i64), &limits.0, &limits.1])
            .await?;
        let last = rows.first().map_or(0, |row| row.get::<_, i64>(0) as u64);
        let line = |row: &tokio_postgres::Row| {
            let log_offset = row.get::<_, Option<i64>>(1)? as u64;
            Some(LogLine {
                log_offset,
                body: row.get(2),
                redelivery: row.get(3),
            })
        };
        let lines: Vec<LogLine> = rows.iter().filter_map(line).collect();
        let dropped_to = match lines.is_empty() && last > after {
            true => Some(self.next_kept(after).await? - 1),
            false => None,
        };
        Ok(Lines {
            lines,
            end: last,
            dropped_to,
        })
    }

    /// The offset before the oldest entry that is kept: reading after it misses nothing that is there.
    pub async fn start_offset(&self) -> Result<u64, Error> {
        Ok(self.next_kept(0).await? - 1)
    }

    /// The offset before the first entry that was committed at `commit_time_us` or later (microseconds since
    /// 1970-01-01 UTC); the end of the log when there is none.
    pub async fn offset_at(&self, commit_time_us: i64) -> Result<u64, Error> {
        let client = self.client().await?;
        // What was committed later was also logged later: days before are not looked at.
        let row = client
            .query_one(
                "with since as (select 'epoch'::timestamptz + $1 * interval '1 microsecond' as time)
                 select coalesce((select log_offset - 1 from tidegate.event
                                   where logged_at >= (select time from since)
                                     and commit_time >= (select time from since)
                                   order by log_offset limit 1), last_offset)
                   from tidegate.log",
                &[&(commit_time_us as f64)],
            )
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// The offset of the first entry after `after` that is kept, or will be.
    async fn next_kept(&self, after: u64) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select coalesce((select min(log_offset) from tidegate.event where log_offset > $1),
                                 last_offset + 1) from tidegate.log",
                &[&(after as i64)],
            )
            .await?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    /// Wakes whoever subscribes to it whenever the log has grown, and from time to time. One connection listens for all
    /// of them, as long as the runtime lives or until nobody is left.
    pub fn wake_ups(&self) -> watch::Receiver<()> {
        let (sender, receiver) = watch::channel(());
        let log = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = wake(&log, &sender) => {}
                () = sender.closed() => {}
            }
        });
        receiver
    }
}

/// Never returns.
async fn wake(log: &EventLog, sender: &watch::Sender<()>) {
    loop {
        if let Ok(mut listener) = log.listen().await {
            // What came before is not announced any more.
            sender.send_replace(());
            while pass_on(&mut listener, sender).await.is_ok() {}
        }
        // A log that cannot be reached announces nothing: followers look, and find out.
        sender.send_replace(());
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}

/// Passes one announcement on at once, and those that come within the interval as one more.
async fn pass_on(listener: &mut Listener, sender: &watch::Sender<()>) -> Result<(), Error> {
    listener.changed(LOOK_INTERVAL).await?;
    sender.send_replace(());
    let end = Instant::now() + WAKE_INTERVAL;
    let mut more = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        listener.changed(left).await?;
        more |= Instant::now() < end;
    }
    if more {
        sender.send_replace(());
    }
    Ok(())
}
