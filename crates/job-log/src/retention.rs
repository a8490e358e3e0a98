//! Forgets what is over and old.

use std::time::Duration;

use crate::{Error, JobLog};

/// Runs that one transaction deletes: some ten milliseconds, in which it holds nothing that anybody waits for.
const BATCH: i32 = 500;

impl JobLog {
    /// Deletes runs that ended more than `keep` ago, with their history, steps, effects and `_JobStatus` rows, and the
    /// fires and workflows of that time. What something unfinished needs stays. Returns how many runs went.
    pub async fn delete_expired(&self, keep: Duration) -> Result<u64, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select clock_timestamp() - $1 * interval '1 second'",
                &[&keep.as_secs_f64()],
            )
            .await?;
        let before: std::time::SystemTime = row.get(0);
        let mut deleted = 0;
        loop {
            let row = client
                .query_one("select tidegate.purge_finished($1, $2)", &[&before, &BATCH])
                .await?;
            let batch = row.get::<_, i64>(0);
            deleted += batch as u64;
            if batch < i64::from(BATCH) {
                break;
            }
        }
        client
            .execute("delete from tidegate.fire where fired_at < $1", &[&before])
            .await?;
        client
            .execute(
                "delete from tidegate.workflow
                  where finished_at < $1 and not exists (select from tidegate.run where workflow_id = workflow.id)",
                &[&before],
            )
            .await?;
        client
            .execute(
                "delete from tidegate.schedule
                  where deleted_at < $1 and not exists (select from tidegate.fire where schedule_id = schedule.id)",
                &[&before],
            )
            .await?;
        Ok(deleted)
    }
}
