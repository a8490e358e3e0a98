//! The tables that Parse Server makes at its start, so that either server finds what it expects.

use deadpool_postgres::Client;
use tidegate_parse_protocol::ClassSchema;

use crate::Error;
use crate::ensure::SchemaChange;
use crate::error::Phase;
use crate::schema::{VOLATILE_CLASSES, unlisted_fields};

/// Listed in `_SCHEMA` from the start.
const LISTED_CLASSES: [&str; 2] = ["_User", "_Role"];

/// Makes the system tables that are missing; on a database that has them all, only looks.
pub(crate) async fn ensure(client: &mut Client, sender_id: &str) -> Result<(), Error> {
    if is_complete(client).await? {
        return Ok(());
    }
    let change = SchemaChange::begin(client).await?;
    change
        .run(
            r#"create table if not exists "_SCHEMA" (
                 "className" varchar(120) primary key, "schema" jsonb, "isParseClass" bool)"#,
        )
        .await?;
    for class in LISTED_CLASSES {
        let class = ClassSchema::new(class);
        change.create_table(&class).await?;
        change.add_unlisted_fields(&class.name).await?;
        change.list(&class).await?;
    }
    for class in VOLATILE_CLASSES {
        change.create_table(&ClassSchema::new(class)).await?;
    }
    change.commit(sender_id).await
}

/// Capture reads logical messages with pgoutput, which came with version 14.
const MIN_SERVER_VERSION: i32 = 140_000;

/// Checks that this is a database we can use, and returns a name for this process that no other has.
pub(crate) async fn introduce(client: &Client) -> Result<String, Error> {
    let sql = "select current_setting('server_encoding'), to_regnamespace('public') is not null,
                      current_setting('server_version_num')::int, gen_random_uuid()::text";
    let row = client.query_one(sql, &[]).await.map_err(read)?;
    let (encoding, has_public, version): (String, bool, i32) = (row.get(0), row.get(1), row.get(2));
    let reason = if encoding != "UTF8" {
        format!("the database's encoding is {encoding}; Parse objects need UTF8")
    } else if !has_public {
        "the database has no schema named public, where the classes' tables are".to_owned()
    } else if version < MIN_SERVER_VERSION {
        format!(
            "Postgres {} is too old; 14 is the oldest that works",
            version / 10_000
        )
    } else {
        return Ok(row.get(3));
    };
    Err(Error::unusable(reason))
}

async fn is_complete(client: &Client) -> Result<bool, Error> {
    let tables: Vec<&str> = ["_SCHEMA"]
        .into_iter()
        .chain(LISTED_CLASSES)
        .chain(VOLATILE_CLASSES)
        .collect();
    let columns: Vec<&str> = unlisted_fields("_User")
        .iter()
        .map(|(name, _)| *name)
        .collect();
    let sql = "select (select count(*) from pg_class c where c.relnamespace = current_schema()::regnamespace
                       and c.relkind in ('r', 'p') and c.relname = any($1::text[])) = cardinality($1::text[])
                  and (select count(*) from pg_attribute a where a.attrelid = to_regclass('\"_User\"')
                       and a.attname = any($2::text[]) and not a.attisdropped) = cardinality($2::text[])";
    if !client
        .query_one(sql, &[&tables, &columns])
        .await
        .map_err(read)?
        .get::<_, bool>(0)
    {
        return Ok(false);
    }
    let sql = r#"select count(*) = 2 from "_SCHEMA" where "className" = any($1)"#;
    Ok(client
        .query_one(sql, &[&LISTED_CLASSES.as_slice()])
        .await
        .map_err(read)?
        .get(0))
}

fn read(source: tokio_postgres::Error) -> Error {
    Error::from_postgres(source, Phase::BeforeCommit)
}
