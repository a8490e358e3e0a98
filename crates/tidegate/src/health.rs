//! Is what this process needs there, and does the slot keep up?

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use metrics::gauge;
use tidegate_event::TriggerSet;
use tidegate_proxy::Readiness;
use tidegate_queue::Queue;
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::cli::{Role, UnavailableError};
use crate::config::Config;

/// Gauge: bytes of WAL that the slot retains and that the log does not have yet.
const SLOT_LAG_BYTES: &str = "tidegate_slot_lag_bytes";
/// Gauge: bytes of WAL that Postgres keeps for the slot, those before an open transaction included.
const SLOT_RETAINED_BYTES: &str = "tidegate_slot_retained_bytes";
/// Gauge: how long ago the last confirmed position was the newest one.
const SLOT_LAG_SECONDS: &str = "tidegate_slot_lag_seconds";

const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_UNTIL_READY: Duration = Duration::from_millis(50);

/// Checks the server once, before anything is built on it.
///
/// # Errors
/// An [`UnavailableError`] with the remedy.
pub async fn check_postgres(config: &Config) -> Result<()> {
    let client = connect(config).await.map_err(|error| {
        UnavailableError(format!(
            "cannot reach Postgres: {error:#}. Start it, or set DATABASE_URL"
        ))
    })?;
    let setting = |name: &'static str| {
        let client = &client;
        async move {
            Ok::<String, anyhow::Error>(
                client.query_one(&format!("show {name}"), &[]).await?.get(0),
            )
        }
    };
    let wal_level = setting("wal_level").await?;
    if wal_level != "logical" {
        return Err(UnavailableError(format!(
            "this Postgres has wal_level = {wal_level}, and after-triggers need logical. Run `alter system set \
             wal_level = logical`, then restart Postgres"
        ))
        .into());
    }
    let encoding = setting("server_encoding").await?;
    if encoding != "UTF8" {
        return Err(UnavailableError(format!(
            "this database has encoding {encoding}, and Tidegate needs UTF8. Create one with `createdb -E UTF8 -T template0`"
        ))
        .into());
    }
    let role = client
        .query_one("select rolreplication or rolsuper, current_user::text from pg_roles where rolname = current_user", &[])
        .await?;
    if !role.get::<_, bool>(0) {
        let name: &str = role.get(1);
        return Err(UnavailableError(format!(
            "role {name} may not replicate. Run `alter role {name} with replication` as a superuser"
        ))
        .into());
    }
    Ok(())
}

/// Looks once a second; the receiver has the last look.
pub fn watch(
    config: &Config,
    roles: &[Role],
    queue: Queue,
    triggers: watch::Receiver<TriggerSet>,
    shutdown: CancellationToken,
) -> watch::Receiver<Readiness> {
    let starting = Readiness {
        problems: vec!["starting".into()],
    };
    let (sender, receiver) = watch::channel(starting);
    let mut observer = Observer {
        config: config.clone(),
        needs_redis: roles != [Role::Capture],
        client: None,
        queue,
        triggers,
        positions: VecDeque::new(),
        is_over_budget: false,
    };
    tokio::spawn(async move {
        let mut was_ready = false;
        while !shutdown.is_cancelled() {
            let problems = observer.look().await;
            let is_ready = problems.is_empty();
            match (was_ready, is_ready) {
                (false, true) => tracing::info!("this process is ready"),
                (true, false) => {
                    tracing::warn!(problems = problems.join("; "), "this process is not ready")
                }
                _ => {}
            }
            was_ready = is_ready;
            sender.send_replace(Readiness { problems });
            let pause = if is_ready {
                INTERVAL
            } else {
                INTERVAL_UNTIL_READY
            };
            let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
        }
        sender.send_replace(Readiness {
            problems: vec!["shutting down".into()],
        });
    });
    receiver
}

struct Observer {
    config: Config,
    needs_redis: bool,
    client: Option<Client>,
    queue: Queue,
    triggers: watch::Receiver<TriggerSet>,
    /// When the server's WAL ended where, oldest first.
    positions: VecDeque<(Instant, u64)>,
    /// The alarm is given once each time that the slot goes over its budget.
    is_over_budget: bool,
}

impl Observer {
    async fn look(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        match tokio::time::timeout(Duration::from_secs(5), self.slot_problem()).await {
            Ok(Ok(problem)) => problems.extend(problem),
            Ok(Err(error)) => {
                self.client = None;
                problems.push(format!("Postgres: {error:#}"));
            }
            Err(_) => {
                self.client = None;
                problems.push("Postgres does not answer".into());
            }
        }
        if self.needs_redis
            && let Err(error) = self.queue.generation().await
        {
            problems.push(format!("Redis: {error}"));
        }
        problems
    }

    async fn slot_problem(&mut self) -> Result<Option<String>> {
        let client = match self.client.take() {
            Some(client) => client,
            None => connect(&self.config).await?,
        };
        let slot = self.config.slot.clone();
        let row = client
            .query_opt(
                "select coalesce(wal_status, ''), (pg_current_wal_flush_lsn() - '0/0')::bigint,
                        coalesce((confirmed_flush_lsn - '0/0')::bigint, 0),
                        coalesce((pg_current_wal_flush_lsn() - restart_lsn)::bigint, 0)
                   from pg_replication_slots where slot_name = $1",
                &[&slot],
            )
            .await?;
        let gap = open_gap(&client, &slot).await?;
        let unpublished = unpublished(&client, &self.config.publication, &self.triggers).await?;
        self.client = Some(client);
        if gap.is_some() {
            return Ok(gap);
        }
        let Some(row) = row else {
            return Ok(Some(format!("replication slot {slot} does not exist")));
        };
        let (status, end, confirmed): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let retained = row.get::<_, i64>(3).max(0) as u64;
        let lag = end.saturating_sub(confirmed).max(0) as u64;
        self.observe(end as u64, confirmed as u64, lag);
        gauge!(SLOT_RETAINED_BYTES).set(retained as f64);
        if status == "lost" {
            return Ok(Some(format!(
                "replication slot {slot} is lost: changes were not captured"
            )));
        }
        if let Some(table) = unpublished {
            return Ok(Some(format!(
                "table {table} has after-triggers and is not captured yet"
            )));
        }
        Ok(self.over_budget(&slot, lag.max(retained)))
    }

    fn over_budget(&mut self, slot: &str, retained: u64) -> Option<String> {
        let budget = self.config.slot_lag_budget_bytes;
        let is_over = retained > budget;
        if is_over && !self.is_over_budget {
            tracing::error!(
                slot,
                retained,
                budget,
                "the slot retains more WAL than its budget: is capture running, or a transaction open for long?"
            );
        }
        self.is_over_budget = is_over;
        is_over.then(|| {
            format!("replication slot {slot} retains {retained} bytes of WAL, over the budget of {budget}")
        })
    }

    fn observe(&mut self, end: u64, confirmed: u64, lag: u64) {
        let now = Instant::now();
        self.positions.push_back((now, end));
        while self.positions.len() > 1 && self.positions[0].1 <= confirmed {
            self.positions.pop_front();
        }
        // A day's worth; a slot that is further behind has problems that are not told by seconds.
        self.positions.truncate(86_400);
        let behind = if lag == 0 {
            Duration::ZERO
        } else {
            now - self.positions[0].0
        };
        gauge!(SLOT_LAG_BYTES).set(lag as f64);
        gauge!(SLOT_LAG_SECONDS).set(behind.as_secs_f64());
    }
}

/// What capture could not follow, whichever process found it.
async fn open_gap(client: &Client, slot: &str) -> Result<Option<String>> {
    let row = client
        .query_opt(
            "select format('slot %s cannot be followed since %s: %s. Changes after %s are not captured; '
                           || 'run `tidegate slot resync`',
                           slot_name, to_char(found_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC'),
                           reason, from_lsn)
               from tidegate.gap where slot_name = $1 and resolved_at is null",
            &[&slot],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}

/// A table that has after-triggers and is not in the publication.
async fn unpublished(
    client: &Client,
    publication: &str,
    triggers: &watch::Receiver<TriggerSet>,
) -> Result<Option<String>> {
    let wanted = triggers.borrow().clone();
    let names: Vec<&str> = wanted.captured_classes().into_keys().collect();
    // Schemas and tables may have dots in their names: what follows any of them may be the table's.
    let after_dots = |name: &&str| -> Vec<String> {
        let dots = name.match_indices('.');
        dots.map(|(at, _)| name[at + 1..].to_owned()).collect()
    };
    let mut tables: Vec<String> = names.iter().flat_map(after_dots).collect();
    tables.extend(names.iter().map(|name| (*name).to_owned()));
    let row = client
        .query_opt(
            "select format('%I.%I', n.nspname, c.relname)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where c.relname = any($2::text[]) and c.relkind in ('r', 'p') and n.nspname <> 'tidegate'
                and (n.nspname || '.' || c.relname = any($1::text[])
                     or n.nspname = 'public' and c.relname = any($1::text[]))
                and not exists (select from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
                                 where p.pubname = $3 and r.prrelid = c.oid)
              limit 1",
            &[&names, &tables, &publication],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}

async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(config.database_url.expose(), NoTls)
        .await
        .map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => anyhow::anyhow!("{error}: {cause}"),
            None => anyhow::anyhow!("{error}"),
        })
        .context("connecting failed")?;
    tokio::spawn(connection);
    client
        .batch_execute("set application_name = 'tidegate health'")
        .await?;
    Ok(client)
}
