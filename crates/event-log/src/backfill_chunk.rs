//! Reading existing rows a chunk at a time, each value as the WAL would have carried it.

use std::collections::BTreeMap;

use tidegate_event::change::MAX_VALUE_BYTES;
use tidegate_event::secret::is_secret;
use tidegate_event::{Lsn, Row};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow, Transaction};

use crate::Error;
use crate::backfill::Backfill;
use crate::backfill_live::Snapshot;

/// Values of one row that an event carries, in bytes; the largest are left in the table until it fits.
const MAX_ROW_BYTES: usize = 2 * MAX_VALUE_BYTES;

/// Rows in the order of their primary key.
pub(crate) struct Chunk {
    pub rows: Vec<ReadRow>,
    /// Primary key, in its own order.
    pub key_columns: Vec<String>,
    /// What the read saw.
    pub snapshot: Snapshot,
    /// Names the chunk: no transaction commits there.
    pub lsn: Lsn,
    /// Microseconds since 1970-01-01 UTC.
    pub time_us: i64,
}

pub(crate) struct ReadRow {
    pub key: Row,
    pub key_in_order: Vec<String>,
    pub values: Row,
    pub truncated: BTreeMap<String, u64>,
}

/// One column that capture would send.
struct Column {
    name: String,
    quoted: String,
    sql_type: String,
    /// May hold a value of any length.
    is_long: bool,
    /// Place in the primary key, from 1.
    key_place: Option<i16>,
}

/// Reads up to `limit` rows after the primary key `after`, as one statement with one snapshot.
///
/// # Errors
/// [`Error::Operation`]: the table is gone, or has no primary key.
pub(crate) async fn read(
    tx: &Transaction<'_>,
    backfill: &Backfill,
    after: Option<&[String]>,
    limit: usize,
) -> Result<Chunk, Error> {
    let columns = columns(tx, backfill).await?;
    let mut key: Vec<&Column> = columns
        .iter()
        .filter(|column| column.key_place.is_some())
        .collect();
    key.sort_by_key(|column| column.key_place);
    if key.is_empty() {
        return Err(no_primary_key(backfill));
    }
    print_as_a_walsender(tx).await?;
    let point = tx
        .query_one(
            "select pg_logical_emit_message(false, 'tidegate.backfill', ''),
                    (extract(epoch from clock_timestamp()) * 1000000)::bigint,
                    (pg_current_xact_id()::text::numeric % 4294967296)::bigint",
            &[],
        )
        .await?;
    let end: tokio_postgres::types::PgLsn = point.get(0);
    let query = query(backfill, &columns, &key, after, limit);
    let mut rows = Vec::new();
    let mut snapshot = None;
    for message in tx.simple_query(&query).await? {
        let SimpleQueryMessage::Row(row) = message else {
            continue;
        };
        snapshot = row.get(0).map(str::to_owned).or(snapshot);
        // The one row of an empty chunk says the snapshot alone.
        if row.get(1).is_some() {
            rows.push(read_row(&row, &columns, &key));
        }
    }
    let xid = point.get::<_, i64>(2) as u32;
    Ok(Chunk {
        rows,
        key_columns: key.iter().map(|column| column.name.clone()).collect(),
        snapshot: Snapshot::parse(snapshot.as_deref().unwrap_or_default(), xid),
        // The end of our own message's record, less one byte: within the record, where no commit begins.
        lsn: Lsn(u64::from(end) - 1),
        time_us: point.get(1),
    })
}

/// Sets the session as a walsender's is, so that values are printed the same.
async fn print_as_a_walsender(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.batch_execute(
        "set local datestyle = 'ISO'; set local intervalstyle = 'postgres'; set local timezone = 'UTC';
         set local extra_float_digits = 3; set local bytea_output = 'hex'; set local standard_conforming_strings = on",
    )
    .await?;
    Ok(())
}

fn no_primary_key(backfill: &Backfill) -> Error {
    let Backfill { schema, table, .. } = backfill;
    let reason = format!(
        "table {schema}.{table} has no primary key, by which its rows are read: add one, for example \
         `alter table \"{schema}\".\"{table}\" add column id bigint generated always as identity primary key`"
    );
    Error::Operation { reason }
}

async fn columns(tx: &Transaction<'_>, backfill: &Backfill) -> Result<Vec<Column>, Error> {
    let rows = tx
        .query(
            "select a.attname::text, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attlen = -1,
                    array_position(i.indkey::smallint[], a.attnum)
               from pg_publication_tables p
               join pg_namespace n on n.nspname = p.schemaname
               join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
               join pg_attribute a on a.attrelid = c.oid and a.attname = any(p.attnames) and not a.attisdropped
               left join pg_index i on i.indrelid = c.oid and i.indisprimary
              where p.pubname = $1 and p.schemaname = $2 and p.tablename = $3
              order by a.attnum",
            &[&backfill.publication, &backfill.schema, &backfill.table],
        )
        .await?;
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        quoted: row.get(1),
        sql_type: row.get(2),
        is_long: row.get(3),
        // An int2vector counts from 0.
        key_place: row.get::<_, Option<i32>>(4).map(|place| place as i16),
    };
    let columns = rows.iter().map(column);
    Ok(columns
        .filter(|column| !is_secret(&backfill.table, &column.name))
        .collect())
}

/// One statement for the snapshot and the rows: they belong together. Its first column is the snapshot, its second is
/// null in the one row of an empty chunk; then each column's value, and each long column's bytes when it is too long.
fn query(
    backfill: &Backfill,
    columns: &[Column],
    key: &[&Column],
    after: Option<&[String]>,
    limit: usize,
) -> String {
    let mut shown = String::new();
    for column in columns {
        let Column { quoted, .. } = column;
        if column.is_long && column.key_place.is_none() {
            // What is small as it is stored is small enough; only others are worth printing to be measured.
            let is_large = format!(
                "pg_column_size(t.{quoted}) > 2048 and octet_length(t.{quoted}::text) > {MAX_VALUE_BYTES}"
            );
            shown.push_str(&format!(
                ", case when {is_large} then null else t.{quoted} end,
                   case when {is_large} then octet_length(t.{quoted}::text) end"
            ));
        } else {
            shown.push_str(&format!(", t.{quoted}, null"));
        }
    }
    let list = |of: &dyn Fn(&Column) -> String| {
        key.iter()
            .map(|column| of(column))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let order = list(&|column| format!("t.{}", column.quoted));
    let wanted = match after {
        Some(values) => {
            let bound = key.iter().zip(values);
            let bound: Vec<String> = bound
                .map(|(column, value)| format!("{}::{}", literal(value), column.sql_type))
                .collect();
            format!("where ({order}) > ({})", bound.join(", "))
        }
        None => String::new(),
    };
    let table = format!("{}.{}", quoted(&backfill.schema), quoted(&backfill.table));
    format!(
        "select pg_current_snapshot(), chunk.* from (select) as one left join lateral (
             select true as is_row{shown} from {table} as t {wanted} order by {order} limit {limit}) as chunk on true"
    )
}

fn read_row(row: &SimpleQueryRow, columns: &[Column], key: &[&Column]) -> ReadRow {
    let mut values = Row::new();
    let mut truncated = BTreeMap::new();
    for (place, column) in columns.iter().enumerate() {
        let at = 2 + 2 * place;
        match row.get(at + 1).and_then(|bytes| bytes.parse().ok()) {
            Some(bytes) => {
                truncated.insert(column.name.clone(), bytes);
            }
            None => {
                values.insert(column.name.clone(), row.get(at).map(str::to_owned));
            }
        }
    }
    let of_key = |column: &&Column| (column.name.clone(), values[&column.name].clone());
    let key_row: Row = key.iter().map(of_key).collect();
    let key_in_order = key
        .iter()
        .map(|column| key_row[&column.name].clone().unwrap_or_default())
        .collect();
    leave_largest(&mut values, &key_row, &mut truncated);
    ReadRow {
        key: key_row,
        key_in_order,
        values,
        truncated,
    }
}

fn leave_largest(values: &mut Row, key: &Row, truncated: &mut BTreeMap<String, u64>) {
    let bytes = |value: &Option<String>| value.as_ref().map_or(0, String::len);
    while values.values().map(bytes).sum::<usize>() > MAX_ROW_BYTES {
        let others = values.iter().filter(|(name, _)| !key.contains_key(*name));
        let Some((name, size)) = others
            .map(|(name, value)| (name.clone(), bytes(value)))
            .max_by_key(|(_, size)| *size)
        else {
            return;
        };
        values.remove(&name);
        truncated.insert(name, size as u64);
    }
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// With `standard_conforming_strings`, a quote is all that needs care.
fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
