//! Compares the books: what was acknowledged, what stands in the tables, what the log has, what the handlers did. Those of jobs are in `job_books`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use super::fleet::Fleet;
use super::job_books::JobBooks;
use super::writers::Ledger;

/// What the books say; every figure but the first three and the last should be 0.
#[derive(Debug, Default)]
pub struct Books {
    pub acknowledged: usize,
    /// Changes that Postgres committed, by its own row trigger.
    pub committed: usize,
    pub events: usize,
    /// Acknowledged, and not in the table.
    pub lost_writes: usize,
    /// Committed, and not in the log.
    pub lost_events: usize,
    /// In the log, and never committed; or twice in it.
    pub phantom_events: usize,
    /// Offsets that are missing below the end of the log.
    pub holes: usize,
    /// In the log, and no handler ran to its end.
    pub missed: usize,
    pub dead_letters: usize,
    /// An object's version heard of first after a later one.
    pub inversions: usize,
    /// Effects beyond the one that each event may have.
    pub duplicate_effects: usize,
    /// Runs of the handler beyond one for each event: allowed, and counted.
    pub repeated_runs: usize,
    pub jobs: JobBooks,
}

/// Item's events as the log has them: id, object, version, xid.
const LOGGED: &str = r#"
select body::jsonb->>'id', body::jsonb#>>'{new,objectId}', (body::jsonb#>>'{new,version}')::float8::bigint, xid
  from tidegate.event where redelivery is null and body::jsonb->>'table' = 'Item' order by log_offset"#;

impl Books {
    pub async fn read(fleet: &Fleet, ledger: &Mutex<Ledger>) -> Books {
        let client = fleet.system.sql().await;
        let rows = async |query: &str| client.query(query, &[]).await.unwrap();
        let mut books = Books::default();

        let standing: BTreeMap<String, i64> =
            rows(r#"select "objectId", version::bigint from "Item""#)
                .await
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .collect();
        {
            let ledger = ledger.lock().unwrap();
            books.acknowledged = ledger.acknowledged;
            let lost = |(id, version): &(&String, &i64)| standing[*id] < **version;
            books.lost_writes = ledger.versions.iter().filter(lost).count();
        }

        let mut committed: HashMap<(String, i64, i64), i64> = HashMap::new();
        for row in rows("select item, version::bigint, xid from audit").await {
            *committed
                .entry((row.get(0), row.get(1), row.get(2)))
                .or_default() += 1;
            books.committed += 1;
        }
        let mut ids = HashSet::new();
        for row in rows(LOGGED).await {
            books.events += 1;
            let counted = committed.get_mut(&(row.get(1), row.get(2), row.get(3)));
            let is_new = ids.insert(row.get::<_, String>(0));
            match counted {
                Some(count) if *count > 0 && is_new => *count -= 1,
                _ => books.phantom_events += 1,
            }
        }
        books.lost_events = committed.values().sum::<i64>() as usize;
        let holes =
            "select (last_offset - (select count(*) from tidegate.event)) from tidegate.log";
        books.holes = rows(holes).await[0].get::<_, i64>(0) as usize;
        let dead = "select count(*) from tidegate.outcome where status = 'dead'";
        books.dead_letters = rows(dead).await[0].get::<_, i64>(0) as usize;

        let mut runs: HashMap<String, usize> = HashMap::new();
        for row in rows(r#"select "eventId" from "Run""#).await {
            *runs.entry(row.get(0)).or_default() += 1;
        }
        books.missed = ids.iter().filter(|id| !runs.contains_key(*id)).count();
        books.duplicate_effects = runs.values().map(|count| count - 1).sum();
        // A counter is where a second effect would not show as a second row.
        let counted =
            rows(r#"select coalesce(sum(n), 0)::bigint from "Tally""#).await[0].get::<_, i64>(0);
        books.duplicate_effects += (counted - books.events as i64).max(0) as usize;
        books.missed += (books.events as i64 - counted).max(0) as usize;

        let mut latest: HashMap<String, i64> = HashMap::new();
        let mut heard = HashSet::new();
        for call in fleet.witness.after(0) {
            if !heard.insert(call.event_id) {
                books.repeated_runs += 1;
                continue;
            }
            let latest = latest.entry(call.item).or_insert(0);
            books.inversions += usize::from(call.version < *latest);
            *latest = call.version.max(*latest);
        }
        let starts = ledger.lock().unwrap().starts.clone();
        books.jobs = JobBooks::read(&client, &starts).await;
        books.jobs.quarantined = fleet.quarantined;
        books
    }

    /// Fails with `more` unless nothing was lost and nothing doubled.
    pub fn assert_clean(&self, more: &str) {
        let wrong = [
            self.lost_writes,
            self.lost_events,
            self.phantom_events,
            self.holes,
            self.missed,
            self.dead_letters,
            self.inversions,
            self.duplicate_effects,
        ];
        let is_clean = wrong.iter().all(|&figure| figure == 0) && self.jobs.is_clean();
        assert!(is_clean && self.acknowledged > 0, "{self:?}\n{more}");
    }
}
