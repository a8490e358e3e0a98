//! Waits for the after-triggers of a transaction, wherever it was committed and wherever they run.
//!
//! ```text
//! token (xid, LSN, deliveries) ─▶ find its events: the log is in commit order ─▶ count their outcomes ─▶ enough?
//! ```
//!
//! It asks Postgres in growing intervals. A question is one round trip and reads only what came since the last one.
//!
//! Not here: the wait of the process that made the write itself, which workers tell (see `write-path`'s `wait`).

use std::time::Duration;

use tidegate_event::{Lsn, WaitToken};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::append::{lsn, pg_lsn};
use crate::{Error, EventLog};

/// The pause before the second question; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Questions of one process that Postgres answers at a time; more wait for their turn.
const MAX_QUESTIONS: usize = 2;

/// Most events looked at in one question.
const SCAN_ROWS: i64 = 2_000;

/// A transaction's commit follows its last row closely. One that is not among so many events behind that row is not
/// in the log any more, or never came to be.
const MAX_SCANNED: i64 = 50_000;

/// How the log stands, and where the search for events behind an LSN begins: at the log's end when capture has not
/// come so far; else found by halving, because commit order and offsets are one order. Entries that were delivered
/// anew stand elsewhere and are passed over. Then the WAL's end, and whether all that the log keeps is younger than the
/// transaction: then the log has dropped its events.
const LOCATE: &str = "
with recursive log as (select last_offset from tidegate.log),
reached as (
    select coalesce((select greatest(end_lsn, commit_lsn) from tidegate.capture
                      order by updated_at desc limit 1) >= $1, false) as it
), search (low, high) as (
    select case when it then 0 else last_offset end, last_offset + 1 from log, reached
    union all
    select case when commit_lsn < $1 then middle else low end,
           case when commit_lsn < $1 then high else middle end
      from (select low, high, (low + high) / 2 as middle from search where high - low > 1) as half
      left join lateral (
               select commit_lsn from tidegate.event
                where log_offset >= middle and log_offset < high and redelivery is null
                order by log_offset limit 1
           ) as found on true
)
select max(low), pg_current_wal_insert_lsn(),
       max(low) = 0 and (select last_offset from log) > 0
           and coalesce((select min(log_offset) from tidegate.event) > 1, true)
  from search";

/// Scans on from an offset and counts the outcomes of the events found, those of earlier questions included.
const ASK: &str = "
with scanned as (
    select log_offset, xid, commit_lsn, redelivery from tidegate.event
     where log_offset > $1 and log_offset <= (select last_offset from tidegate.log)
     order by log_offset limit $5
), own as (
    select log_offset from scanned where xid = $3 and commit_lsn >= $2 and redelivery is null
    union all select unnest($4::bigint[])
)
select (select max(log_offset) from scanned), (select count(*) from scanned),
       (select count(*) from scanned where commit_lsn >= $2),
       (select max(commit_lsn) from scanned where redelivery is null),
       array(select log_offset from own order by 1),
       (select count(*) from tidegate.outcome join own using (log_offset)),
       (select end_lsn from tidegate.capture order by updated_at desc limit 1),
       (select settled_offset from tidegate.dispatch)";

/// What is known of one token's transaction.
struct Search {
    token: WaitToken,
    /// Events up to here have been looked at.
    after: i64,
    /// How many of them may have been the transaction's.
    scanned: i64,
    /// Offsets of the transaction's events.
    own: Vec<i64>,
    /// Where the WAL ended when the search began: the transaction had committed by then.
    wal_end: Lsn,
    is_dropped: bool,
}

enum Progress {
    Done,
    /// There is more to look at, now.
    More,
    Waits,
}

/// The waits of one process.
pub struct TokenWaits {
    log: EventLog,
    /// Those who wait must not keep the log's connections from those who work.
    questions: Semaphore,
}

impl TokenWaits {
    pub fn new(log: EventLog) -> TokenWaits {
        TokenWaits {
            log,
            questions: Semaphore::new(MAX_QUESTIONS),
        }
    }

    /// Returns true when every after-trigger of the transactions has had its first attempt, or is held back; false
    /// after `at_most`. A transaction whose events the log has dropped, or that another history of the database made,
    /// counts as done: nobody can wait for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: Postgres cannot be reached.
    pub async fn wait_for(&self, tokens: &[WaitToken], at_most: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + at_most;
        for token in tokens {
            let waiting = self.wait_for_one(*token);
            match tokio::time::timeout_at(deadline, waiting).await {
                Ok(waited) => waited?,
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn wait_for_one(&self, token: WaitToken) -> Result<(), Error> {
        let mut search = self.locate(token).await?;
        let mut pause = FIRST_PAUSE;
        loop {
            let one_of_few = self.questions.acquire().await;
            let progress = self.ask(&mut search).await?;
            drop(one_of_few);
            match progress {
                Progress::Done => return Ok(()),
                Progress::More => {}
                Progress::Waits => {
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    async fn locate(&self, token: WaitToken) -> Result<Search, Error> {
        let _one_of_few = self.questions.acquire().await;
        let client = self.log.client().await?;
        let statement = client.prepare_cached(LOCATE).await?;
        let row = client.query_one(&statement, &[&pg_lsn(token.lsn)]).await?;
        Ok(Search {
            token,
            after: row.get(0),
            scanned: 0,
            own: Vec::new(),
            wal_end: lsn(row.get(1)),
            is_dropped: row.get(2),
        })
    }

    async fn ask(&self, search: &mut Search) -> Result<Progress, Error> {
        let token = search.token;
        // A position that the WAL has not reached is of another history: of before a restore.
        if search.is_dropped || token.lsn > search.wal_end {
            return Ok(Progress::Done);
        }
        let client = self.log.client().await?;
        let statement = client.prepare_cached(ASK).await?;
        let row = client
            .query_one(
                &statement,
                &[
                    &search.after,
                    &pg_lsn(token.lsn),
                    &i64::from(token.xid),
                    &search.own,
                    &SCAN_ROWS,
                ],
            )
            .await?;
        let rows: i64 = row.get(1);
        let outcomes: i64 = row.get(5);
        let settled_offset: i64 = row.get(7);
        let past = |position: Option<tokio_postgres::types::PgLsn>| {
            position.is_some_and(|position| lsn(position) >= search.wal_end)
        };
        // Nothing of the transaction is behind what was scanned.
        let is_whole = past(row.get(3)) || (rows < SCAN_ROWS && past(row.get(6)));
        search.own = row.get(4);
        search.after = row.get::<_, Option<i64>>(0).unwrap_or(search.after);
        search.scanned += row.get::<_, i64>(2);
        let last = search.own.last().copied();
        let is_settled = last.is_none_or(|last| settled_offset >= last);
        let is_lost = last.is_none() && search.scanned > MAX_SCANNED;
        Ok(match () {
            () if outcomes >= i64::from(token.deliveries) => Progress::Done,
            // Triggers can be fewer than they were when the token was made.
            () if is_settled && is_whole || is_lost => Progress::Done,
            () if rows == SCAN_ROWS => Progress::More,
            () => Progress::Waits,
        })
    }
}
