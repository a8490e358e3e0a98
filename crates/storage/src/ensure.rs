//! Schema changes: classes and fields come into being when they are first used.
//!
//! Invariant: table, `_SCHEMA` and publication membership change in one transaction, under one lock for all Tidegate
//! processes and under the `_SCHEMA` row's lock against Parse Server. Whoever gets the lock second sees what the first
//! one did. NOTIFY belongs to the same transaction: nobody is told of what is not there.

use std::collections::{BTreeMap, HashSet};

use deadpool_postgres::{Client, Transaction};
use serde_json::{Value, json};
use tidegate_parse_protocol::{ClassSchema, ErrorCode, Field, FieldType, ParseError, name};

use crate::error::Phase;
use crate::listen::SCHEMA_CHANNEL;
use crate::schema::{VOLATILE_CLASSES, unlisted_fields};
use crate::sql::{identifier, join_table_name};
use crate::storage::Captured;
use crate::{Error, ddl};

/// An ALTER TABLE that waits for a long transaction makes every later query on the table wait behind it. After this
/// long it gives up instead, as [`Error::Unavailable`].
const LOCK_TIMEOUT_MS: u32 = 3000;

/// Postgres cuts longer names (NAMEDATALEN).
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The advisory lock of schema changes; any number that only Tidegate uses.
const SCHEMA_LOCK: i64 = 0x7469_6465_5343_4845;

/// The fields that the class lacks.
///
/// # Errors
/// [`Error::FieldType`] for one that it has with another type.
pub(crate) fn missing<'a>(
    class: &ClassSchema,
    fields: &'a BTreeMap<String, FieldType>,
) -> Result<Vec<(&'a str, &'a FieldType)>, Error> {
    let mut missing = Vec::new();
    for (field, got) in fields {
        match class.field_type(field) {
            Some(expected) if expected == got => {}
            Some(expected) => {
                let (class, field) = (class.name.clone(), field.clone());
                return Err(Error::FieldType {
                    class,
                    field,
                    expected: expected.clone(),
                    got: got.clone(),
                });
            }
            None => missing.push((field.as_str(), got)),
        }
    }
    Ok(missing)
}

/// One change of the schema, from lock to commit.
pub(crate) struct SchemaChange<'a> {
    pub(crate) transaction: Transaction<'a>,
}

impl<'a> SchemaChange<'a> {
    pub(crate) async fn begin(client: &'a mut Client) -> Result<SchemaChange<'a>, Error> {
        let transaction = client.transaction().await.map_err(read)?;
        let change = SchemaChange { transaction };
        change
            .run(&format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            .await?;
        change
            .run(&format!("SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"))
            .await?;
        Ok(change)
    }

    /// Tells all processes, and commits. A commit of unknown fate may be tried again: everything here is idempotent.
    pub(crate) async fn commit(self, sender_id: &str) -> Result<(), Error> {
        let payload = json!({"senderId": sender_id}).to_string();
        let notify = "SELECT pg_notify($1::text, $2::text)";
        self.transaction
            .execute(notify, &[&SCHEMA_CHANNEL, &payload])
            .await
            .map_err(read)?;
        self.transaction.commit().await.map_err(read)
    }

    /// Makes sure that class and fields exist.
    pub(crate) async fn ensure(
        &self,
        class: &str,
        fields: &BTreeMap<String, FieldType>,
    ) -> Result<(), Error> {
        match self.stored_class(class).await? {
            Some(stored) => self.add_fields(&stored, fields).await,
            None => self.create(class, fields).await,
        }
    }

    /// Makes sure that the changes of the class are published, if the publication exists.
    ///
    /// Capture does the same for all tables, and more thoroughly; this one is for the first write of a new class.
    pub(crate) async fn capture(
        &self,
        publication: &str,
        class: &str,
        captured: Captured,
    ) -> Result<(), Error> {
        if captured == Captured::No {
            return Ok(());
        }
        let sql = "select exists (select from pg_publication_tables t where t.pubname = p.pubname
                                  and t.schemaname = current_schema() and t.tablename = $2::text),
                          c.oid, c.relreplident = 'f',
                          c.relreplident = 'i' or c.relreplident = 'd' and exists (
                              select from pg_index i where i.indrelid = c.oid and i.indisprimary),
                          case c.relreplident when 'd' then 'default' when 'n' then 'nothing' else (
                              select 'using index ' || n.relname from pg_index i join pg_class n on n.oid = i.indexrelid
                              where i.indrelid = c.oid and i.indisreplident) end,
                          to_regclass('tidegate.table_identity') is not null
                   from pg_publication p, pg_class c
                   where p.pubname = $1::text and c.oid = to_regclass($3::text)";
        let row = self
            .transaction
            .query_opt(sql, &[&publication, &class, &identifier(class)])
            .await
            .map_err(read)?;
        let Some(row) = row else { return Ok(()) };
        let (is_whole, has_identity): (bool, bool) = (row.get(2), row.get(3));
        // Without an identity, updates of a published table fail.
        let must_be_whole = captured == Captured::WholeRows || !has_identity;
        if must_be_whole && !is_whole {
            if row.get(5) {
                let remember = "insert into tidegate.table_identity (table_oid, identity)
                                values ($1, coalesce($2, 'default')) on conflict (table_oid) do nothing";
                let before: (u32, Option<String>) = (row.get(1), row.get(4));
                self.transaction
                    .execute(remember, &[&before.0, &before.1])
                    .await
                    .map_err(read)?;
            }
            self.run(&ddl::replica_identity_full(class)).await?;
        }
        if !row.get::<_, bool>(0) {
            self.run(&ddl::publish(publication, class)).await?;
        }
        Ok(())
    }

    /// Makes the table of a class, its join tables and indexes, unless the table is there.
    pub(crate) async fn create_table(&self, class: &ClassSchema) -> Result<(), Error> {
        if self.columns(&class.name).await?.is_some() {
            return Ok(());
        }
        self.run_all(ddl::create_class(class)).await
    }

    /// Lists a class in `_SCHEMA`, unless it is.
    pub(crate) async fn list(&self, class: &ClassSchema) -> Result<(), Error> {
        let sql = r#"insert into "_SCHEMA" ("className", "schema", "isParseClass") values ($1, $2, true)
                     on conflict do nothing"#;
        self.transaction
            .execute(sql, &[&class.name, &class.to_stored()])
            .await
            .map_err(read)?;
        Ok(())
    }

    /// Adds the columns of `_User` that are listed nowhere and that an older Parse Server did not make.
    pub(crate) async fn add_unlisted_fields(&self, class: &str) -> Result<(), Error> {
        let Some(columns) = self.columns(class).await? else {
            return Ok(());
        };
        for (name, field_type) in unlisted_fields(class) {
            if !columns.contains(*name) {
                self.run_all(ddl::add_field(class, name, &Field::new(field_type.clone())))
                    .await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.transaction.batch_execute(sql).await.map_err(read)
    }

    async fn run_all(&self, statements: Vec<String>) -> Result<(), Error> {
        match statements.as_slice() {
            [] => Ok(()),
            statements => self.run(&statements.join(";\n")).await,
        }
    }

    /// The class as listed, its row locked; the fields of a volatile class are listed nowhere.
    async fn stored_class(&self, class: &str) -> Result<Option<ClassSchema>, Error> {
        if VOLATILE_CLASSES.contains(&class) {
            return Ok(Some(ClassSchema::new(class)));
        }
        let sql = r#"select "schema" from "_SCHEMA" where "className" = $1 for update"#;
        let Some(row) = self
            .transaction
            .query_opt(sql, &[&class])
            .await
            .map_err(read)?
        else {
            return Ok(None);
        };
        let mut stored: Value = row.try_get(0).map_err(read)?;
        stored["className"] = class.into();
        Ok(Some(ClassSchema::from_stored(&stored)?))
    }

    /// The table's columns; `None`: there is no such table.
    async fn columns(&self, class: &str) -> Result<Option<HashSet<String>>, Error> {
        let sql = "select c.oid is not null, a.attname::text
                   from (select to_regclass($1::text)::oid as oid) c
                   left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped";
        let rows = self
            .transaction
            .query(sql, &[&identifier(class)])
            .await
            .map_err(read)?;
        let exists = rows.first().is_some_and(|row| row.get(0));
        Ok(exists.then(|| rows.iter().filter_map(|row| row.get(1)).collect()))
    }

    async fn create(&self, class: &str, fields: &BTreeMap<String, FieldType>) -> Result<(), Error> {
        if !name::is_valid_class_name(class) {
            let message = name::invalid_class_name_message(class);
            return Err(ParseError::new(ErrorCode::INVALID_CLASS_NAME, message).into());
        }
        let mut schema = ClassSchema::new(class);
        for (field, field_type) in missing(&schema, fields)? {
            check_new_field(class, field, field_type)?;
            schema
                .fields
                .insert(field.to_owned(), Field::new(field_type.clone()));
        }
        // A table that belongs to another program must not become a class because a client names it.
        if self.columns(class).await?.is_some() && !name::is_system_class(class) {
            let message = format!("A table named {class} exists and is not a class.");
            return Err(ParseError::new(ErrorCode::INVALID_CLASS_NAME, message).into());
        }
        self.create_table(&schema).await?;
        self.list(&schema).await
    }

    async fn add_fields(
        &self,
        stored: &ClassSchema,
        fields: &BTreeMap<String, FieldType>,
    ) -> Result<(), Error> {
        let missing_fields = missing(stored, fields)?;
        if !missing_fields.is_empty() && VOLATILE_CLASSES.contains(&stored.name.as_str()) {
            let message = format!("The fields of {} are fixed.", stored.name);
            return Err(ParseError::new(ErrorCode::OPERATION_FORBIDDEN, message).into());
        }
        let Some(columns) = self.columns(&stored.name).await? else {
            self.create_table(stored).await?;
            return Box::pin(self.add_fields(stored, fields)).await;
        };
        let mut statements = Vec::new();
        for (field, field_type) in fields {
            let is_new = missing_fields.iter().any(|(missing, _)| missing == field);
            let is_relation = matches!(field_type, FieldType::Relation { .. });
            // Listed, but its column is gone or was never made: `password` and `ACL` have none.
            let is_lost =
                stored.fields.contains_key(field) && !columns.contains(field) && !is_relation;
            if is_new {
                check_new_field(&stored.name, field, field_type)?;
            }
            if is_new || is_lost {
                statements.extend(ddl::add_field(
                    &stored.name,
                    field,
                    &Field::new(field_type.clone()),
                ));
            }
        }
        self.run_all(statements).await?;
        self.list_fields(&stored.name, &missing_fields).await
    }

    async fn list_fields(&self, class: &str, fields: &[(&str, &FieldType)]) -> Result<(), Error> {
        let sql = r#"update "_SCHEMA" set "schema" = jsonb_set("schema", array['fields', $2::text], $3::jsonb)
                     where "className" = $1"#;
        for (name, field_type) in fields {
            let stored = Field::new((*field_type).clone()).to_stored();
            self.transaction
                .execute(sql, &[&class, name, &stored])
                .await
                .map_err(read)?;
        }
        Ok(())
    }
}

fn check_new_field(class: &str, field: &str, field_type: &FieldType) -> Result<(), Error> {
    let refused = |message| Err(ParseError::new(ErrorCode::INVALID_KEY_NAME, message).into());
    if !name::is_valid_field_name(field) {
        return refused(format!("Invalid field name: {field}."));
    }
    // Postgres cuts a longer name, and two relations would share one table.
    let is_relation = matches!(field_type, FieldType::Relation { .. });
    if is_relation && join_table_name(class, field).len() > MAX_IDENTIFIER_BYTES {
        return refused(format!(
            "The names of relation {field} and class {class} are too long together."
        ));
    }
    Ok(())
}

fn read(source: tokio_postgres::Error) -> Error {
    Error::from_postgres(source, Phase::BeforeCommit)
}
