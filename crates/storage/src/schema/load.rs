//! Reads a [`Schema`] from the database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use deadpool_postgres::Client;
use futures_util::try_join;
use serde_json::Value;
use tidegate_parse_protocol::{ClassSchema, Field, FieldType};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use super::{Publication, Schema, VOLATILE_CLASSES, unlisted_fields};
use crate::Error;
use crate::error::Phase;
use crate::plain::{PlainTable, Types, UserType};

const CLASSES: &str = r#"select "className", "schema" from "_SCHEMA""#;

/// The columns of all tables that are or could be classes, and of all published ones.
const COLUMNS: &str = "
    select n.nspname::text, c.relname::text, n.nspname = current_schema(), a.attname::text, a.atttypid
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
      and (n.nspname = current_schema()
           or exists (select from pg_publication_tables t
                      where t.pubname = $1::text and t.schemaname = n.nspname and t.tablename = c.relname))";

/// One row for the publication itself, and one for every table in it.
const PUBLISHED: &str = "
    select null::text, null::text, false, false from pg_publication where pubname = $1::text
    union all
    select n.nspname::text, c.relname::text, n.nspname = current_schema(), c.relreplident = 'f'
    from pg_publication_tables t
    join pg_namespace n on n.nspname = t.schemaname
    join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
    where t.pubname = $1::text";

/// Domains and arrays among the types of published tables' columns, and what those are made of.
const TYPES: &str = "
    with recursive needed (oid) as (
        select a.atttypid from pg_publication_tables t
        join pg_namespace n on n.nspname = t.schemaname
        join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where t.pubname = $1::text
        union
        select case t.typtype when 'd' then t.typbasetype else t.typelem end
        from needed n join pg_type t on t.oid = n.oid where t.typtype = 'd' or t.typcategory = 'A'
    )
    select t.oid, t.typtype = 'd', t.typbasetype, t.typelem, e.typdelim::text
    from needed n join pg_type t on t.oid = n.oid left join pg_type e on e.oid = t.typelem
    where t.oid >= 16384 and (t.typtype = 'd' or t.typcategory = 'A')";

/// Reads everything in one round trip.
///
/// The statements run in this order, so the columns are never older than the fields: a field whose column is not
/// there was dropped, or is one that an older Parse Server does not have.
pub(crate) async fn load(client: &Client, publication: &str) -> Result<Schema, Error> {
    let read = |source| Error::from_postgres(source, Phase::BeforeCommit);
    let (classes, columns, published, types) = try_join!(
        client.prepare_cached(CLASSES),
        client.prepare_cached(COLUMNS),
        client.prepare_cached(PUBLISHED),
        client.prepare_cached(TYPES)
    )
    .map_err(read)?;
    let of_publication: [&(dyn ToSql + Sync); 1] = [&publication];
    let (classes, columns, published, types) = try_join!(
        client.query(&classes, &[]),
        client.query(&columns, &of_publication),
        client.query(&published, &of_publication),
        client.query(&types, &of_publication)
    )
    .map_err(read)?;
    let tables = Tables::from_rows(&columns)?;
    let publication = Published::from_rows(&published)?;
    Ok(Schema {
        classes: read_classes(&classes, &tables)?,
        plain_tables: plain_tables(&publication, &tables, &read_types(&types)?),
        columns: tables.columns_of_classes(),
        publication: publication.publication,
    })
}

type TableName = (String, String);

/// Column names and type oids, by table.
struct Tables {
    columns: HashMap<TableName, Vec<(String, u32)>>,
    /// The schema where classes live.
    class_schema: Option<String>,
}

impl Tables {
    fn from_rows(rows: &[Row]) -> Result<Tables, Error> {
        let mut tables = Tables {
            columns: HashMap::new(),
            class_schema: None,
        };
        for row in rows {
            let (schema, table, is_class_schema): (String, String, bool) =
                (get(row, 0)?, get(row, 1)?, get(row, 2)?);
            if is_class_schema {
                tables.class_schema.get_or_insert_with(|| schema.clone());
            }
            tables
                .columns
                .entry((schema, table))
                .or_default()
                .push((get(row, 3)?, get(row, 4)?));
        }
        Ok(tables)
    }

    fn class_columns(&self, class: &str) -> Option<HashSet<&str>> {
        let columns = self
            .columns
            .get(&(self.class_schema.clone()?, class.to_owned()))?;
        Some(columns.iter().map(|(name, _)| name.as_str()).collect())
    }

    fn columns_of_classes(self) -> HashMap<String, HashSet<String>> {
        let class_schema = self.class_schema;
        let tables = self
            .columns
            .into_iter()
            .filter(|((schema, _), _)| Some(schema) == class_schema.as_ref());
        tables
            .map(|((_, table), columns)| {
                (table, columns.into_iter().map(|(name, _)| name).collect())
            })
            .collect()
    }
}

struct Published {
    publication: Publication,
    tables: Vec<TableName>,
}

impl Published {
    fn from_rows(rows: &[Row]) -> Result<Published, Error> {
        let mut published = Published {
            publication: Publication::default(),
            tables: Vec::new(),
        };
        for row in rows {
            published.publication.exists = true;
            let (Some(schema), Some(table)) = (get(row, 0)?, get::<Option<String>>(row, 1)?) else {
                continue;
            };
            if get(row, 2)? {
                let is_whole = get(row, 3)?;
                published
                    .publication
                    .captured
                    .insert(table.clone(), is_whole);
            }
            published.tables.push((schema, table));
        }
        Ok(published)
    }
}

fn read_classes(rows: &[Row], tables: &Tables) -> Result<HashMap<String, Arc<ClassSchema>>, Error> {
    let mut classes = HashMap::new();
    let volatile = VOLATILE_CLASSES.map(ClassSchema::new);
    let listed = rows
        .iter()
        .map(|row| -> Result<_, Error> { listed_class(get(row, 0)?, get(row, 1)?) });
    for class in volatile.into_iter().map(Ok).chain(listed) {
        let mut class = class?;
        match tables.class_columns(&class.name) {
            Some(columns) => keep_existing_fields(&mut class, &columns),
            // Not made yet by either server.
            None => continue,
        }
        classes.insert(class.name.clone(), Arc::new(class));
    }
    Ok(classes)
}

fn listed_class(name: String, stored: Option<Value>) -> Result<ClassSchema, Error> {
    let mut stored = stored.unwrap_or_default();
    // Parse Server takes the name from the column.
    stored["className"] = Value::String(name);
    Ok(ClassSchema::from_stored(&stored)?)
}

fn keep_existing_fields(class: &mut ClassSchema, columns: &HashSet<&str>) {
    for (name, field_type) in unlisted_fields(&class.name) {
        class
            .fields
            .entry((*name).to_owned())
            .or_insert_with(|| Field::new(field_type.clone()));
    }
    class.fields.retain(|name, field| {
        matches!(field.field_type, FieldType::Relation { .. }) || columns.contains(name.as_str())
    });
}

fn read_types(rows: &[Row]) -> Result<Types, Error> {
    let mut types = Types::default();
    for row in rows {
        let delimiter: Option<String> = get(row, 4)?;
        let user_type = if get(row, 1)? {
            UserType::Domain { base: get(row, 2)? }
        } else {
            UserType::Array {
                element: get(row, 3)?,
                delimiter: delimiter
                    .and_then(|text| text.chars().next())
                    .unwrap_or(','),
            }
        };
        types.0.insert(get(row, 0)?, user_type);
    }
    Ok(types)
}

fn plain_tables(
    published: &Published,
    tables: &Tables,
    types: &Types,
) -> HashMap<TableName, PlainTable> {
    let columns = published
        .tables
        .iter()
        .filter_map(|table| Some((table.clone(), tables.columns.get(table)?)));
    columns
        .map(|(table, columns)| (table, PlainTable::new(columns, types)))
        .collect()
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Error> {
    row.try_get(column)
        .map_err(|source| Error::Database { source })
}
