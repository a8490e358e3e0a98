//! Keeps the published tables, and their replica identities, in step with the registered after-triggers.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tidegate_event::TriggerSet;
use tidegate_event::report::chain;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_postgres::types::Oid;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::edit::Edit;
use crate::{Config, Error, identity, slot};

/// Where the log itself lives.
const OWN_SCHEMA: &str = "tidegate";

/// How often to look for tables that came into being by themselves, by a migration for example.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// Where every process says that tables, classes or the publication have changed.
pub(crate) const CHANNEL: &str = "schema.change";

/// Our own word on [`CHANNEL`].
pub(crate) const PAYLOAD: &str = r#"{"senderId":"capture"}"#;

/// What the stream tells of a table, by its oid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Its columns, its name or its identity are not what they were.
    Changed,
    /// An UPDATE left a large value out, and no old row had it.
    LacksValues(Oid),
}

/// Brings the publication in step whenever triggers or tables change, and from time to time; never returns.
///
/// Only the capture that follows the slot does so: one that stands by may have other code.
pub(crate) async fn keep(
    config: &Config,
    triggers: &watch::Receiver<TriggerSet>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
) -> Infallible {
    let mut triggers = triggers.clone();
    triggers.mark_changed();
    let mut session = None;
    let mut next_look = Instant::now();
    loop {
        let heard = async {
            match &session {
                Some(Session { heard, .. }) => heard.notified().await,
                None => std::future::pending().await,
            }
        };
        let mut lacking = BTreeSet::new();
        let mut has_changed = false;
        tokio::select! {
            Ok(()) = triggers.changed() => {}
            () = heard => {}
            () = sleep_until(next_look) => {}
            Some(notice) = notices.recv() => {
                let waiting = std::iter::from_fn(|| notices.try_recv().ok());
                for notice in std::iter::once(notice).chain(waiting) {
                    match notice {
                        Notice::Changed => has_changed = true,
                        Notice::LacksValues(table) => { lacking.insert(table); }
                    }
                }
            }
        }
        let wanted = triggers.borrow_and_update().clone();
        let look = Look {
            publication: &config.publication,
            triggers: &wanted,
            may: Change::AddAndDrop,
            lacking: &lacking,
        };
        if let Err(error) = look.in_session(config, &mut session, has_changed).await {
            session = None;
            report(&error);
        }
        next_look = Instant::now() + SYNC_INTERVAL;
    }
}

/// What a look at the publication may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Only by the capture that follows the slot: another may run on for a moment with other code.
    AddAndDrop,
    Add,
}

/// Brings the publication in step now. What fails is logged: it is tried again.
pub(crate) async fn bring_in_step(config: &Config, triggers: &TriggerSet, may: Change) {
    let synced = async {
        let client = slot::sql_client(config).await?;
        let look = Look {
            publication: &config.publication,
            triggers,
            may,
            lacking: &BTreeSet::new(),
        };
        look.sync(&client).await
    };
    if let Err(error) = synced.await {
        report(&error);
    }
}

fn report(error: &Error) {
    let error = chain(error);
    tracing::warn!(error, "cannot bring the publication in step; trying again");
}

/// Creates an empty publication, unless it is there, and sees to it that partitions appear as their root.
pub(crate) async fn create(client: &Client, publication: &str) -> Result<(), Error> {
    let find = "select pubviaroot and pubinsert and pubupdate and pubdelete and pubtruncate
                  from pg_publication where pubname = $1";
    let found = client.query_opt(find, &[&publication]).await?;
    let settings =
        "(publish = 'insert, update, delete, truncate', publish_via_partition_root = true)";
    let name = quoted(publication);
    let statement = match found.map(|row| row.get::<_, bool>(0)) {
        Some(true) => return Ok(()),
        Some(false) => format!("alter publication {name} set {settings}"),
        None => format!("create publication {name} with {settings}"),
    };
    match client.batch_execute(&statement).await {
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::DUPLICATE_OBJECT) => {}
        other => other?,
    }
    Ok(())
}

/// A connection that hears of changes.
struct Session {
    client: Client,
    heard: Arc<Notify>,
}

impl Session {
    async fn open(config: &Config) -> Result<Session, Error> {
        let (client, mut connection) = tokio_postgres::connect(&config.database_url, NoTls).await?;
        let heard = Arc::new(Notify::new());
        let told = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(word) = message
                    && word.payload() != PAYLOAD
                {
                    told.notify_one();
                }
            }
        });
        slot::prepare_session(&client).await?;
        client
            .batch_execute(&format!("listen \"{CHANNEL}\""))
            .await?;
        Ok(Session { client, heard })
    }
}

/// One look at which tables should be published, and which are.
struct Look<'a> {
    publication: &'a str,
    triggers: &'a TriggerSet,
    may: Change,
    /// Tables of which an unchanged large value was missed.
    lacking: &'a BTreeSet<Oid>,
}

/// A table that has after-triggers.
struct Wanted {
    oid: Oid,
    /// Schema and name, quoted.
    name: String,
    /// A handler needs the row before the change.
    needs_original: bool,
}

impl Look<'_> {
    async fn in_session(
        &self,
        config: &Config,
        session: &mut Option<Session>,
        has_changed: bool,
    ) -> Result<(), Error> {
        let client = match session {
            Some(Session { client, .. }) => client,
            None => &session.insert(Session::open(config).await?).client,
        };
        self.sync(client).await?;
        if has_changed {
            // A migration tells nobody: now those that run handlers read the columns' types again.
            let tell = format!("notify \"{CHANNEL}\", '{PAYLOAD}'");
            client.batch_execute(&tell).await?;
        }
        Ok(())
    }

    /// Adds the tables of captured classes that exist and are not published, takes out those not captured any more,
    /// and gives each the replica identity that it needs, or back the one that it had.
    async fn sync(&self, client: &Client) -> Result<(), Error> {
        create(client, self.publication).await?;
        // What is wanted is read last: a class that is made meanwhile is then wanted, and not taken for a leftover.
        let changed = identity::changed(client).await?;
        let published = published(client, self.publication).await?;
        let wanted = self.wanted(client).await?;
        for table in &wanted {
            let is_new = !published.contains_key(&table.oid);
            attempt(client, &table.name, self.publish(client, table, is_new)).await;
        }
        if self.may == Change::Add {
            return Ok(());
        }
        let wanted: BTreeSet<Oid> = wanted.iter().map(|table| table.oid).collect();
        for (oid, name) in published.iter().filter(|(oid, _)| !wanted.contains(oid)) {
            attempt(client, name, self.withdraw(client, *oid, name)).await;
        }
        self.give_back(client, &changed, &wanted).await
    }

    async fn wanted(&self, client: &Client) -> Result<Vec<Wanted>, Error> {
        let classes = self.triggers.captured_classes();
        let names: Vec<&str> = classes.keys().copied().collect();
        // What may be the table's own name: the index on names finds those, and few are left to compare whole.
        let tails: Vec<&str> = names.iter().flat_map(|name| tails(name)).collect();
        let find = "
            select c.oid, format('%I.%I', n.nspname, c.relname), n.nspname::text, c.relname::text
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relname = any($2::text[]) and c.relkind in ('r', 'p') and c.relpersistence = 'p'
               and (n.nspname || '.' || c.relname = any($1::text[])
                    or n.nspname = 'public' and c.relname = any($1::text[]))
             order by c.oid";
        let rows = client.query(find, &[&names, &tails]).await?;
        let mut wanted = Vec::new();
        for row in rows {
            let (schema, table): (&str, &str) = (row.get(2), row.get(3));
            if schema == OWN_SCHEMA {
                // Capturing the log would make an event of every event.
                tracing::warn!(table, "tables of Tidegate's own have no after-triggers");
                continue;
            }
            let qualified = format!("{schema}.{table}");
            let plain = classes.get(table).filter(|_| schema == "public");
            let needs = [plain, classes.get(qualified.as_str())];
            wanted.push(Wanted {
                oid: row.get(0),
                name: row.get(1),
                needs_original: needs.into_iter().flatten().any(|needs| *needs),
            });
        }
        Ok(wanted)
    }

    /// Identity first, then publication: an UPDATE of a published table without an identity fails in the application.
    async fn publish(&self, client: &Client, wanted: &Wanted, is_new: bool) -> Result<(), Error> {
        let is_lacking = self.lacking.contains(&wanted.oid);
        let mut edit = Edit::of(wanted.oid, &wanted.name);
        for table in identity::tables(client, &[wanted.oid]).await? {
            let plan = table.plan(wanted.needs_original || is_lacking);
            if plan.is_nothing() || (self.may == Change::Add && plan.lowers(&table)) {
                continue;
            }
            edit.carry_out(&plan, &table);
            if is_lacking {
                let oid = table.oid;
                edit.add(&format!(
                    "update tidegate.table_identity set lacked_values = true where table_oid = {oid}"
                ));
            }
        }
        if is_new {
            let publication = quoted(self.publication);
            let table = &wanted.name;
            edit.add(&format!(
                "alter publication {publication} add table {table}"
            ));
        }
        if edit.is_nothing() {
            return Ok(());
        }
        edit.commit(client).await?;
        let table = wanted.name.as_str();
        tracing::info!(table, is_new, "changed what is captured of a table");
        Ok(())
    }

    async fn withdraw(&self, client: &Client, oid: Oid, name: &str) -> Result<(), Error> {
        let publication = quoted(self.publication);
        let mut edit = Edit::of(oid, name);
        edit.add(&format!(
            "alter publication {publication} drop table {name}"
        ));
        for table in identity::tables(client, &[oid]).await? {
            edit.carry_out(&table.plan_of_return(), &table);
        }
        edit.commit(client).await?;
        tracing::info!(
            table = name,
            "a table without after-triggers is not captured any more"
        );
        Ok(())
    }

    /// Identities of tables that are not published any more, by whoever took them out: detached partitions too.
    async fn give_back(
        &self,
        client: &Client,
        changed: &[Oid],
        wanted: &BTreeSet<Oid>,
    ) -> Result<(), Error> {
        if changed.is_empty() {
            return Ok(());
        }
        let roots: Vec<Oid> = wanted.iter().copied().collect();
        let captured = identity::tables(client, &roots).await?;
        let captured: BTreeSet<Oid> = captured.iter().map(|table| table.oid).collect();
        for table in identity::tables(client, changed).await? {
            if !captured.contains(&table.oid) {
                let mut edit = Edit::of(table.oid, &table.name);
                edit.carry_out(&table.plan_of_return(), &table);
                attempt(client, &table.name, edit.commit(client)).await;
            }
        }
        Ok(())
    }
}

/// One table that is locked, or belongs to somebody else, must not keep the others out.
async fn attempt(client: &Client, table: &str, change: impl Future<Output = Result<(), Error>>) {
    if let Err(error) = change.await {
        let _ = client.batch_execute("rollback").await;
        let error = chain(&error);
        tracing::warn!(table, error, "cannot change the publication; trying again");
    }
}

/// The published tables, by oid, with their quoted names.
async fn published(client: &Client, publication: &str) -> Result<BTreeMap<Oid, String>, Error> {
    // Not the view pg_publication_tables: it leaves out a partition whose root is published too.
    let rows = client
        .query(
            "select c.oid, format('%I.%I', n.nspname, c.relname)
               from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
               join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
              where p.pubname = $1",
            &[&publication],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// `a.b.c`, `b.c` and `c`: schemas and tables may have dots in their names.
fn tails(class: &str) -> impl Iterator<Item = &str> {
    let dots = class.match_indices('.').map(|(at, _)| &class[at + 1..]);
    std::iter::once(class).chain(dots)
}

pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
