//! The end of a storm: everything up, and everything that was begun at its end.

use std::time::{Duration, Instant};

use super::errands;
use super::fleet::Fleet;
use crate::system::{PATIENCE, breathe};

impl Fleet {
    /// Good weather, everything up, every delivery through, every due time fired, and every run at its end.
    pub async fn calm_down(&mut self) {
        self.to_postgres.black_hole(false);
        self.to_redis.black_hole(false);
        let begun = Instant::now();
        self.wait_in_calm(begun, async |fleet: &mut Fleet| {
            fleet.have_caught_up(begun.elapsed()).await && errands::pause_ticks(&fleet.api()).await
        })
        .await;
        self.wait_in_calm(begun, async |fleet: &mut Fleet| {
            fleet.retry_quarantined().await;
            fleet.is_settled().await && fleet.are_runs_over().await
        })
        .await;
    }

    async fn wait_in_calm(
        &mut self,
        begun: Instant,
        mut is_so: impl AsyncFnMut(&mut Fleet) -> bool,
    ) {
        let patience = PATIENCE * 3;
        while !is_so(self).await {
            self.revive(|_| None);
            assert!(
                begun.elapsed() < patience,
                "not settled after {patience:?}: {}\n{}",
                self.state().await,
                self.logs()
            );
            breathe().await;
        }
    }

    /// Whether each due time up to so long ago is decided.
    async fn have_caught_up(&self, ago: Duration) -> bool {
        let query = format!(
            "select handled_at > clock_timestamp() - interval '{} ms' from tidegate.schedule where name = '{}'",
            ago.as_millis(),
            errands::TICKS
        );
        self.answer(&query).await == Some(true)
    }

    async fn are_runs_over(&self) -> bool {
        let query = "select not exists (select from tidegate.run where state <> 'succeeded')";
        self.answer(query).await == Some(true)
    }

    async fn retry_quarantined(&mut self) {
        let query = "select tidegate.run_name(id) from tidegate.run where state = 'failed' and error like 'quarantined%'";
        let rows = self.system.sql().await.query(query, &[]).await.unwrap();
        for row in rows {
            let is_retried = errands::retry(&self.api(), row.get(0)).await;
            self.quarantined += usize::from(is_retried);
        }
    }

    async fn is_settled(&self) -> bool {
        self.answer(
            "select (select count(*) from audit) <= (select count(*) from tidegate.event where redelivery is null and body like '%\"table\":\"Item\"%')
                and (select settled_offset from tidegate.dispatch) >= (select last_offset from tidegate.log)
                and not exists (select from tidegate.outcome where status in ('retry', 'held'))",
        )
        .await
            == Some(true)
    }

    async fn state(&self) -> String {
        let client = self.system.sql().await;
        let row = client
            .query_one(
                "select format('audit %s, log %s, dispatch %s, unfinished %s, gaps %s, runs %s, ticks %s',
                    (select count(*) from audit), (select last_offset from tidegate.log),
                    (select dispatch::text from tidegate.dispatch),
                    (select string_agg(o, '; ') from (select left(outcome::text, 300) as o from tidegate.outcome where status <> 'done' limit 5) as u),
                    (select string_agg(gap::text, '; ') from tidegate.gap),
                    (select string_agg(r, '; ') from (select left(run::text, 300) as r from tidegate.run where state <> 'succeeded' limit 5) as o),
                    (select string_agg(schedule::text, '; ') from tidegate.schedule))",
                &[],
            )
            .await;
        row.map_or_else(|error| error.to_string(), |row| row.get(0))
    }
}
