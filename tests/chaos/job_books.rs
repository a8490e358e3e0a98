//! The books of jobs: what was acknowledged, how each run ended, what it wrote, and which due times fired.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Client;

/// What the books say; the first three and the last two are counted, the others should be 0.
#[derive(Debug, Default)]
pub struct JobBooks {
    /// Errands that were started and acknowledged.
    pub starts: usize,
    /// Of errands and ticks.
    pub runs: usize,
    /// Due times of the schedule.
    pub fires: usize,
    /// Acknowledged, and no run of that id and key has succeeded.
    pub lost_runs: usize,
    /// Runs that did not end exactly once as succeeded; runs that have not ended.
    pub wrong_ends: usize,
    /// Runs beyond the one of each key.
    pub doubled_runs: usize,
    /// Rows and counts that a run should have made and has not.
    pub missing_effects: usize,
    /// Rows and counts beyond those that a run should have made.
    pub duplicate_effects: usize,
    /// Seconds between the first and the last due time that have not fired, or made no run.
    pub missed_fires: usize,
    /// Runs beyond the one of each due time.
    pub doubled_fires: usize,
    /// Beyond the first of each run: allowed.
    pub repeated_attempts: usize,
    /// Ended by three kills in a row, and started again by the operator: allowed.
    pub quarantined: usize,
}

const RUNS: &str = "
select tidegate.run_name(run.id), idempotency_key, state,
       (select count(*) from tidegate.run_event
         where run_id = run.id and kind = 'finished' and body::jsonb->>'state' = 'succeeded'),
       (select count(*) from tidegate.run_event where run_id = run.id and kind in ('started', 'resumed')), job
  from tidegate.run";

const FIRES: &str = "
select count(*), coalesce(extract(epoch from max(due_at) - min(due_at))::bigint + 1, 0),
       count(*) filter (where result = 'started' and run_id is not null),
       (select count(*) from tidegate.run where job = 'tick'),
       (select count(distinct due_at) from tidegate.run where job = 'tick')
  from tidegate.fire";

impl JobBooks {
    /// `starts`: the run of each key that was acknowledged.
    pub async fn read(client: &Client, starts: &BTreeMap<String, String>) -> JobBooks {
        let mut books = JobBooks {
            starts: starts.len(),
            ..JobBooks::default()
        };
        let errands = books.read_runs(client, starts).await;
        books.read_effects(client, errands).await;
        books.read_fires(client).await;
        books
    }

    /// Returns how many errands ran.
    async fn read_runs(&mut self, client: &Client, starts: &BTreeMap<String, String>) -> usize {
        let mut by_key: HashMap<String, Vec<String>> = HashMap::new();
        let mut errands = 0;
        for row in client.query(RUNS, &[]).await.unwrap() {
            self.runs += 1;
            let (run, key): (String, Option<String>) = (row.get(0), row.get(1));
            let (state, ends, attempts): (&str, i64, i64) = (row.get(2), row.get(3), row.get(4));
            let has_succeeded = state == "succeeded" && ends == 1;
            self.wrong_ends += usize::from(!has_succeeded);
            self.repeated_attempts += (attempts - 1).max(0) as usize;
            errands += usize::from(row.get::<_, &str>(5) == "errand");
            if let Some(key) = key.filter(|_| has_succeeded) {
                by_key.entry(key).or_default().push(run);
            }
        }
        let has_run = |(key, run): &(&String, &String)| {
            by_key.get(*key).is_some_and(|runs| runs.contains(run))
        };
        self.lost_runs = starts.len() - starts.iter().filter(has_run).count();
        self.doubled_runs = by_key.values().map(|runs| runs.len() - 1).sum();
        errands
    }

    /// Each errand has two rows and a count, each tick one of each.
    async fn read_effects(&mut self, client: &Client, errands: usize) {
        let ticks = self.runs - errands;
        let query = r#"
            select (select count(*) from "Errand"), (select count(distinct (run, step)) from "Errand"),
                   (select count(*) from "Tick"), (select count(distinct "dueAt") from "Tick"),
                   (select sum(n)::bigint from "JobTally" where "objectId" like 'counter%'),
                   (select n::bigint from "JobTally" where "objectId" = 'ticks')"#;
        let row = client.query_one(query, &[]).await.unwrap();
        let made = |at: usize| row.get::<_, i64>(at) as usize;
        self.duplicate_effects = (made(0) - made(1)) + (made(2) - made(3));
        for (made, expected) in [
            (made(1), 2 * errands),
            (made(3), ticks),
            (made(4), errands),
            (made(5), ticks),
        ] {
            self.missing_effects += expected.saturating_sub(made);
            self.duplicate_effects += made.saturating_sub(expected);
        }
    }

    async fn read_fires(&mut self, client: &Client) {
        let row = client.query_one(FIRES, &[]).await.unwrap();
        let [fires, seconds, started, runs, due] = [0, 1, 2, 3, 4].map(|at| row.get::<_, i64>(at));
        self.fires = fires as usize;
        self.missed_fires = ((seconds - fires) + (fires - started)) as usize;
        self.doubled_fires = (runs - due) as usize;
    }

    pub fn is_clean(&self) -> bool {
        let wrong = [
            self.lost_runs,
            self.wrong_ends,
            self.doubled_runs,
            self.missing_effects,
            self.duplicate_effects,
            self.missed_fires,
            self.doubled_fires,
        ];
        self.starts > 0 && self.fires > 0 && wrong.iter().all(|&figure| figure == 0)
    }

    /// For the report, in its order.
    pub fn figures(&self) -> [(&'static str, usize); 12] {
        [
            ("acknowledged starts", self.starts),
            ("job runs", self.runs),
            ("fires", self.fires),
            ("lost runs", self.lost_runs),
            ("runs that ended wrongly", self.wrong_ends),
            ("doubled runs", self.doubled_runs),
            ("missing job effects", self.missing_effects),
            ("duplicate job effects", self.duplicate_effects),
            ("missed fires", self.missed_fires),
            ("doubled fires", self.doubled_fires),
            ("repeated attempts", self.repeated_attempts),
            ("quarantined runs", self.quarantined),
        ]
    }
}
