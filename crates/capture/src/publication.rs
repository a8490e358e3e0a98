//! Keeps the published tables in step with the registered after-triggers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tidegate_event::TriggerSet;
use tidegate_event::report::chain;
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::{Config, Error, slot};

/// Where the log itself lives.
const OWN_SCHEMA: &str = "tidegate";

/// How often to look for tables that came into being by themselves, by a migration for example.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// Brings the publication in step whenever the triggers change, and from time to time; never returns.
///
/// Only the capture that follows the slot does so: one that stands by may have other code.
pub(crate) async fn keep(config: &Config, triggers: &watch::Receiver<TriggerSet>) -> Infallible {
    let mut triggers = triggers.clone();
    triggers.mark_changed();
    loop {
        match tokio::time::timeout(SYNC_INTERVAL, triggers.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            // Nobody will change them any more.
            Ok(Err(_)) => tokio::time::sleep(SYNC_INTERVAL).await,
        }
        let wanted = triggers.borrow_and_update().clone();
        bring_in_step(config, &wanted, Change::AddAndDrop).await;
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
        sync(&client, &config.publication, triggers, may).await
    };
    if let Err(error) = synced.await {
        let error = chain(&error);
        tracing::warn!(error, "cannot bring the publication in step; trying again");
    }
}

/// Creates an empty publication, unless it is there.
pub(crate) async fn create(client: &Client, publication: &str) -> Result<(), Error> {
    let found = client
        .query_opt(
            "select from pg_publication where pubname = $1",
            &[&publication],
        )
        .await?;
    if found.is_none() {
        let create = format!(
            "create publication {} with (publish_via_partition_root = true)",
            quoted(publication)
        );
        match client.batch_execute(&create).await {
            Err(error)
                if error.code() == Some(&tokio_postgres::error::SqlState::DUPLICATE_OBJECT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Adds the tables of captured classes that exist and are not published, and takes out those not captured any more.
///
/// A published table has REPLICA IDENTITY FULL, so that `request.original` and a deleted row's
/// values can be had; taking it out undoes that.
async fn sync(
    client: &Client,
    publication: &str,
    triggers: &TriggerSet,
    may: Change,
) -> Result<(), Error> {
    create(client, publication).await?;
    let published = published(client, publication).await?;
    let mut wanted = BTreeSet::new();
    for class in triggers.captured_classes().into_keys() {
        wanted.extend(table_of(client, class).await?);
    }
    let added = wanted
        .difference(&published)
        .map(|table| ("add", table, "full"));
    let dropped = published
        .difference(&wanted)
        .map(|table| ("drop", table, "default"));
    let dropped = dropped.filter(|_| may == Change::AddAndDrop);
    for (verb, table, identity) in added.chain(dropped) {
        // One table that is locked, or belongs to somebody else, must not keep the others out.
        if let Err(error) = change(client, publication, verb, table, identity).await {
            let _ = client.batch_execute("rollback").await;
            let error = chain(&error);
            tracing::warn!(
                table,
                verb,
                error,
                "cannot change the publication; trying again"
            );
        }
    }
    Ok(())
}

async fn change(
    client: &Client,
    publication: &str,
    verb: &str,
    table: &str,
    identity: &str,
) -> Result<(), Error> {
    let publication = quoted(publication);
    // The notification is the one by which processes that write hear of a changed table.
    client
        .batch_execute(&format!(
            "begin; alter table {table} replica identity {identity};
             alter publication {publication} {verb} table {table};
             notify \"schema.change\", '{{\"senderId\":\"capture\"}}'; commit"
        ))
        .await?;
    tracing::info!(table, verb, "changed the publication");
    Ok(())
}

/// Quoted names of the published tables.
async fn published(client: &Client, publication: &str) -> Result<BTreeSet<String>, Error> {
    let rows = client
        .query(
            "select format('%I.%I', schemaname, tablename) from pg_publication_tables
              where pubname = $1",
            &[&publication],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The quoted name of the table behind a class or a `schema.table` name; None while it does not exist.
async fn table_of(client: &Client, class: &str) -> Result<Option<String>, Error> {
    let (schema, table) = class.split_once('.').unwrap_or(("public", class));
    if schema == OWN_SCHEMA {
        // Capturing the log would make an event of every event.
        tracing::warn!(class, "tables of Tidegate's own have no after-triggers");
        return Ok(None);
    }
    let row = client
        .query_opt(
            "select format('%I.%I', n.nspname, c.relname)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')",
            &[&schema, &table],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
