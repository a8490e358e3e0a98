//! What happened to a run, as it happened.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_job::{LogLine, RunId};
use tokio_postgres::Row;

use crate::text::{from_postgres, json};
use crate::{Error, JobLog};

/// One entry of a run's history. `kind` and what its `body` says:
///
/// - `created` `{ source }` · `queued` · `blocked` `{ on }` · `started` and `resumed` `{ worker, fence }`
/// - `progress` `{ done, total, message }` · `message` and `warned` `{ message }` · `step` `{ name }` · `log`: lines
/// - `sleeping` `{ until }` · `retry` `{ error, afterMs, durationMs }` · `handed_back` · `lost` `{ crashes }`
/// - `cancel_requested` · `finished` `{ state, error, durationMs, isQuarantined }` · `retried` `{ afresh }`: by a human
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Grows within a run; where to go on reading.
    pub id: u64,
    pub at: Timestamp,
    /// 0: before the first.
    pub attempt: u32,
    pub kind: String,
    pub body: Value,
}

/// One line of a run's log.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedLine {
    /// Of the event that brought it.
    pub event: u64,
    pub attempt: u32,
    #[serde(flatten)]
    pub line: LogLine,
}

impl JobLog {
    /// The history of a run after event `since` (0: from the beginning), at most `limit` entries. To follow a run, ask
    /// again with the last id: entries of one run never appear before an earlier one.
    pub async fn history(&self, run: RunId, since: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let rows = self.events(run, since, limit, "true").await?;
        rows.iter().map(|row| event(run, row)).collect()
    }

    /// The log of a run after event `since` (0: from the beginning), the lines of at most `limit` events.
    ///
    /// `attempt`: of this one only.
    pub async fn log_lines(
        &self,
        run: RunId,
        attempt: Option<u32>,
        since: u64,
        limit: u32,
    ) -> Result<Vec<LoggedLine>, Error> {
        let which = match attempt {
            Some(attempt) => format!("kind = 'log' and attempt = {attempt}"),
            None => "kind = 'log'".to_owned(),
        };
        let rows = self.events(run, since, limit, &which).await?;
        let mut logged = Vec::new();
        for row in &rows {
            let (event, attempt) = (row.get::<_, i64>(0) as u64, row.get::<_, i32>(2) as u32);
            let lines: Vec<LogLine> = json(|| format!("the log of {run}"), row.get(4))?;
            logged.extend(lines.into_iter().map(|line| LoggedLine {
                event,
                attempt,
                line,
            }));
        }
        Ok(logged)
    }

    /// `which`: a condition of ours.
    async fn events(
        &self,
        run: RunId,
        since: u64,
        limit: u32,
        which: &str,
    ) -> Result<Vec<Row>, Error> {
        let client = self.client().await?;
        let RunId(id) = run;
        let query = format!(
            "select id, at, attempt, kind, body from tidegate.run_event
              where run_id = $1 and id > $2 and {which} order by id limit $3"
        );
        let rows = client
            .query(&query, &[&(id as i64), &(since as i64), &i64::from(limit)])
            .await?;
        Ok(rows)
    }
}

fn event(run: RunId, row: &Row) -> Result<Event, Error> {
    Ok(Event {
        id: row.get::<_, i64>(0) as u64,
        at: from_postgres(row.get(1)),
        attempt: row.get::<_, i32>(2) as u32,
        kind: row.get(3),
        body: json(|| format!("the history of {run}"), row.get(4))?,
    })
}
