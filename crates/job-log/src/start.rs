//! Asks for runs.
//!
//! ```text
//! NewRun ─▶ check its job and what it needs ─▶ run + history + _JobStatus, in one statement ─NOTIFY─▶ scheduler
//! ```
//!
//! Invariant: of one job and idempotency key there is one run, because they are a unique index.

use std::collections::BTreeMap;

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use tidegate_job::{NewRun, OnFailure, RunId, RunState, WorkflowId};
use tokio_postgres::Row;

use crate::text::{bigints, run_id, to_postgres};
use crate::{Error, JobLog};

/// A run with what only workflows and schedules say.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub run: NewRun,
    pub workflow: Option<WorkflowId>,
    pub node: Option<String>,
    pub on_failure: OnFailure,
    pub compensate: Option<String>,
    /// Schedule and due time.
    pub fire: Option<(i64, Timestamp)>,
    pub needs: Vec<Need>,
}

/// One run that another needs.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub on: On,
    /// Under which the result is given; None: it is not.
    pub name: Option<String>,
    pub on_failure: OnFailure,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    Run(RunId),
    /// An earlier one of the same batch, by its place.
    Draft(usize),
}

/// What became of one run that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    pub id: RunId,
    /// False: its idempotency key has been used, and this is the run that it made.
    pub is_new: bool,
}

// Ids are taken in the order given. What is refused by its key is left out of `made`.
const INSERT: &str = "
with given as (
    select given.*, nextval('tidegate.run_id') as id
      from (select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::integer[],
                                 $7::text[], $8::bigint[], $9::smallint[], $10::text[], $11::text[], $12::bigint[],
                                 $13::text[], $14::text[], $15::text[], $16::bigint[], $17::timestamptz[], $18::boolean[])
              with ordinality
              as given (job, params, source, run_at_ms, delay_ms, retries, backoff, timeout_ms, priority, concurrency_key,
                        idempotency_key, workflow_id, node, on_failure, compensate, schedule_id, due_at, waits, place)
             order by place) as given
), made as (
    insert into tidegate.run
           (id, job, params, source, created_at, run_at, retries, backoff, timeout_ms, priority, concurrency_key,
            idempotency_key, workflow_id, node, on_failure, compensate, schedule_id, due_at, state)
    select id, job, params, source, present.at,
           greatest(present.at, coalesce('epoch'::timestamptz + run_at_ms * interval '1 millisecond',
                                         present.at + delay_ms * interval '1 millisecond')),
           retries, backoff, timeout_ms, priority, coalesce(concurrency_key, own_key), idempotency_key, workflow_id, node,
           on_failure, compensate, schedule_id, due_at, case when waits then 'waiting' else 'pending' end
      from given
     cross join (select clock_timestamp() as at) as present
      left join lateral (select left(regexp_replace(params::jsonb ->> key_param, '[[:cntrl:]]', ' ', 'g'), 500) as own_key
                           from tidegate.job where job.name = given.job and key_param is not null) as keyed on true
    on conflict (job, idempotency_key) where idempotency_key is not null do nothing
    returning id
), announced as (
    select tidegate.announce_runs(array(select id from made order by id)) as done
)
select made.id from given left join made on made.id = given.id, announced order by given.place";

impl JobLog {
    /// Asks for runs, and returns the id of each, in the order given. All are made, or none.
    ///
    /// # Errors
    /// [`Error::Unknown`]: a job is not registered, or a run of `after` does not exist.
    pub async fn start(&self, runs: &[NewRun]) -> Result<Vec<Started>, Error> {
        let after = |run: &NewRun| -> Vec<Need> {
            let options = &run.options;
            let need = |id: &RunId| Need {
                on: On::Run(*id),
                name: Some(id.to_string()),
                on_failure: options.on_failure.unwrap_or_default(),
            };
            options.after.iter().map(need).collect()
        };
        let draft = |run: &NewRun| Draft {
            run: run.clone(),
            workflow: None,
            node: None,
            on_failure: OnFailure::Stop,
            compensate: None,
            fire: None,
            needs: after(run),
        };
        let drafts: Vec<Draft> = runs.iter().map(draft).collect();
        let mut client = self.client().await?;
        self.check_jobs(&client, drafts.iter().map(|draft| draft.run.job.as_str()))
            .await?;
        // One statement needs no transaction around it.
        if drafts.iter().all(|draft| draft.needs.is_empty()) {
            return insert_drafts(&client, &drafts).await;
        }
        let tx = client.transaction().await?;
        let started = insert_drafts(&tx, &drafts).await?;
        tx.commit().await?;
        Ok(started)
    }

    /// Refuses jobs that are not registered.
    pub(crate) async fn check_jobs(
        &self,
        client: &impl GenericClient,
        jobs: impl Iterator<Item = &str>,
    ) -> Result<(), Error> {
        let mut jobs: Vec<&str> = jobs.collect();
        jobs.sort();
        jobs.dedup();
        let statement = client
            .prepare_cached(
                "select given.name from unnest($1::text[]) as given (name)
                  where not exists (select from tidegate.job where job.name = given.name and is_registered)
                  order by given.name limit 1",
            )
            .await?;
        match client.query_opt(&statement, &[&jobs]).await? {
            None => Ok(()),
            Some(row) => Err(self.unknown_job(row.get(0)).await?),
        }
    }
}

/// Makes the runs of `drafts`; with needs, within a transaction of the caller's.
pub(crate) async fn insert_drafts(
    client: &impl GenericClient,
    drafts: &[Draft],
) -> Result<Vec<Started>, Error> {
    let needed = hold_needed(client, drafts).await?;
    let started = insert(client, drafts, &needed).await?;
    if drafts.iter().any(|draft| !draft.needs.is_empty()) {
        insert_needs(client, drafts, &started, &needed).await?;
    }
    Ok(started)
}

/// The states of the runs that exist and are needed. They are held: none ends before the caller's transaction does.
async fn hold_needed(
    client: &impl GenericClient,
    drafts: &[Draft],
) -> Result<BTreeMap<RunId, RunState>, Error> {
    let needs = drafts.iter().flat_map(|draft| &draft.needs);
    let wanted: Vec<RunId> = needs
        .filter_map(|need| match need.on {
            On::Run(id) => Some(id),
            On::Draft(_) => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let statement = client
        .prepare_cached(
            "select id, state from tidegate.run where id = any($1) order by id for share",
        )
        .await?;
    let rows = client.query(&statement, &[&bigints(&wanted)]).await?;
    let state = |row: &Row| {
        let state = row.get::<_, &str>(1).parse();
        (
            run_id(row.get(0)),
            state.expect("the table has a check of these"),
        )
    };
    let found: BTreeMap<RunId, RunState> = rows.iter().map(state).collect();
    match wanted.iter().find(|id| !found.contains_key(id)) {
        Some(missing) => Err(Error::unknown_run(*missing)),
        None => Ok(found),
    }
}

/// True when a run cannot begin at once.
fn waits(draft: &Draft, needed: &BTreeMap<RunId, RunState>) -> bool {
    draft.needs.iter().any(|need| match need.on {
        On::Draft(_) => true,
        On::Run(id) => !needed[&id].is_final() || fails(need, needed),
    })
}

/// True when a run that ended already keeps the other from ever beginning.
fn fails(need: &Need, needed: &BTreeMap<RunId, RunState>) -> bool {
    let On::Run(id) = need.on else { return false };
    let state = needed[&id];
    need.on_failure == OnFailure::Stop && state.is_final() && state != RunState::Succeeded
}

async fn insert(
    client: &impl GenericClient,
    drafts: &[Draft],
    needed: &BTreeMap<RunId, RunState>,
) -> Result<Vec<Started>, Error> {
    macro_rules! column {
        ($draft:ident => $value:expr) => {
            drafts.iter().map(|$draft| $value).collect::<Vec<_>>()
        };
    }
    let statement = client.prepare_cached(INSERT).await?;
    let rows = client
        .query(
            &statement,
            &[
                &column!(draft => draft.run.job.as_str()),
                &column!(draft => draft.run.params.as_str()),
                &column!(draft => draft.run.source.as_str()),
                &column!(draft => draft.run.options.run_at_ms),
                &column!(draft => draft.run.options.delay_ms.map(|delay| delay as i64)),
                &column!(draft => draft.run.options.retries.map(|retries| retries as i32)),
                &column!(draft => draft.run.options.backoff.as_ref().map(crate::register::stored)),
                &column!(draft => draft.run.options.timeout_ms.map(|timeout| timeout as i64)),
                &column!(draft => draft.run.options.priority.unwrap_or(0)),
                &column!(draft => draft.run.options.concurrency_key.as_deref()),
                &column!(draft => draft.run.options.idempotency_key.as_deref()),
                &column!(draft => draft.workflow.map(|WorkflowId(id)| id as i64)),
                &column!(draft => draft.node.as_deref()),
                &column!(draft => draft.on_failure.as_str()),
                &column!(draft => draft.compensate.as_deref()),
                &column!(draft => draft.fire.map(|(schedule, _)| schedule)),
                &column!(draft => draft.fire.map(|(_, due_at)| to_postgres(due_at))),
                &column!(draft => waits(draft, needed)),
            ],
        )
        .await?;
    let mut started = Vec::with_capacity(drafts.len());
    for (row, draft) in rows.iter().zip(drafts) {
        started.push(match row.get::<_, Option<i64>>(0) {
            Some(id) => Started {
                id: run_id(id),
                is_new: true,
            },
            None => existing(client, &draft.run).await?,
        });
    }
    Ok(started)
}

/// The run that has the key already. A statement of its own: the one that met it may not see it yet.
async fn existing(client: &impl GenericClient, run: &NewRun) -> Result<Started, Error> {
    let key = run.options.idempotency_key.as_deref();
    let statement = client
        .prepare_cached("select id from tidegate.run where job = $1 and idempotency_key = $2")
        .await?;
    let row = client.query_opt(&statement, &[&run.job, &key]).await?;
    match row {
        Some(row) => Ok(Started {
            id: run_id(row.get(0)),
            is_new: false,
        }),
        // Deleted between the two statements: asking once more makes a new one.
        None => Err(Error::Unavailable {
            source: "the run with this idempotency key was just deleted".into(),
        }),
    }
}

async fn insert_needs(
    client: &impl GenericClient,
    drafts: &[Draft],
    started: &[Started],
    needed: &BTreeMap<RunId, RunState>,
) -> Result<(), Error> {
    let new = drafts
        .iter()
        .zip(started)
        .filter(|(_, started)| started.is_new);
    let needs: Vec<(&Started, &Need)> = new
        .flat_map(|(draft, started)| draft.needs.iter().map(move |need| (started, need)))
        .collect();
    let runs: Vec<RunId> = needs.iter().map(|(started, _)| started.id).collect();
    let on = |need: &Need| match need.on {
        On::Run(id) => id,
        On::Draft(place) => started[place].id,
    };
    let needed_runs: Vec<RunId> = needs.iter().map(|(_, need)| on(need)).collect();
    let names: Vec<Option<&str>> = needs.iter().map(|(_, need)| need.name.as_deref()).collect();
    let policies: Vec<&str> = needs
        .iter()
        .map(|(_, need)| need.on_failure.as_str())
        .collect();
    let statement = client
        .prepare_cached(
            "insert into tidegate.run_needs (run_id, needs_id, name, on_failure)
             select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])",
        )
        .await?;
    client
        .execute(
            &statement,
            &[&bigints(&runs), &bigints(&needed_runs), &names, &policies],
        )
        .await?;
    let failed: Vec<RunId> = needs
        .iter()
        .filter(|(_, need)| fails(need, needed))
        .map(|(_, need)| on(need))
        .collect();
    if !failed.is_empty() {
        // What has failed is settled once more, for those that have come too late for it.
        client
            .execute("select tidegate.settle_runs($1)", &[&bigints(&failed)])
            .await?;
    }
    Ok(())
}
