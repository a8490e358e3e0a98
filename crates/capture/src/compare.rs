//! What the captured tables hold against what the log last knew of each row: in SQL, page by page.
//!
//! One session, one snapshot: tables and log as they were at one position of the WAL.

use tidegate_event::ChangeEvent;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::Error;
use crate::difference::{Difference, Found, difference};
use crate::publication::quoted;
use crate::row::MAX_VALUE_BYTES;
use crate::secret::is_secret;

/// A page of rows has about this many bytes.
const PAGE_BYTES: usize = 1024 * 1024;
const MAX_PAGE_ROWS: usize = 2_000;

/// The last place in the log of each key, by its columns as JSON. Redeliveries are not news of a row. An update that
/// changed the key ends the old one; a TRUNCATE, under the empty key, ends all before it. NUL, which JSON can write and
/// `jsonb` cannot hold, occurs in no column, only in a request's context, which does not matter here.
const KNOWN: &str = r"
create temp table tidegate_known on commit drop as
with event as (
    select log_offset, replace(body, '\u0000', '\ufffd')::jsonb as body
      from tidegate.event where redelivery is null
), seen as (
    select body->>'schema' as schema, body->>'table' as name, log_offset,
           case body->>'operation' when 'truncate' then '' else (body->'key')::text end as key,
           body->>'operation' in ('delete', 'truncate') as is_gone
      from event where body->>'operation' = 'truncate' or body->'key' <> '{}'
    union all
    select body->>'schema', body->>'table', log_offset,
           (select jsonb_object_agg(name, body->'old'->name) from jsonb_object_keys(body->'key') name)::text, true
      from event
     where body->>'operation' = 'update' and body->'key' <> '{}' and not body->'old' @> (body->'key')
       and body->'old' ?& array(select jsonb_object_keys(body->'key'))
)
select distinct on (schema, name, key) schema, name, key, log_offset, is_gone
  from seen order by schema, name, key, log_offset desc";

const TABLES: &str = "
select n.nspname::text, c.relname::text, format('%I.%I', n.nspname, c.relname),
       array(select a.attname::text from pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
              order by a.attnum),
       coalesce((select array(select a.attname::text from pg_attribute a
                               where a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                               order by array_position(i.indkey, a.attnum))
                   from pg_index i where i.indrelid = c.oid and (i.indisprimary or i.indisreplident)
                  order by i.indisprimary desc limit 1), '{}')
  from pg_publication_tables p
  join pg_namespace n on n.nspname = p.schemaname
  join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
 where p.pubname = $1 order by 3";

/// A captured table.
pub(crate) struct Table {
    pub schema: String,
    pub name: String,
    pub quoted: String,
    /// That events have.
    pub columns: Vec<String>,
    pub key: Vec<String>,
}

/// The two sides, ready to be compared.
pub(crate) struct Comparison<'a> {
    sql: &'a Client,
    publication: &'a str,
    /// Rows that this transaction or a later one wrote may be unknown to the log because it missed them.
    known_from: Option<u64>,
    oldest_xid: u64,
    next_xid: u64,
}

impl<'a> Comparison<'a> {
    /// Reads what the log last knew of each key. To be called in the transaction that has the snapshot.
    pub async fn prepare(
        sql: &'a Client,
        publication: &'a str,
        known_from: Option<u64>,
    ) -> Result<Comparison<'a>, Error> {
        // Values are printed as the stream prints them.
        for (name, value) in postgres_replication::PRINT_SETTINGS {
            sql.batch_execute(&format!("set local {name} = '{value}'"))
                .await?;
        }
        sql.batch_execute(KNOWN).await?;
        sql.batch_execute("create index on tidegate_known (schema, name); analyze tidegate_known")
            .await?;
        let snapshot = sql
            .query_one(
                "select pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint
                   from pg_current_snapshot() s",
                &[],
            )
            .await?;
        Ok(Comparison {
            sql,
            publication,
            known_from,
            oldest_xid: snapshot.get::<_, i64>(0) as u64,
            next_xid: snapshot.get::<_, i64>(1) as u64,
        })
    }

    /// Transactions older than this one had ended at the snapshot.
    pub fn oldest_xid(&self) -> u64 {
        self.oldest_xid
    }

    /// The captured tables, by name.
    pub async fn tables(&self) -> Result<Vec<Table>, Error> {
        let rows = self.sql.query(TABLES, &[&self.publication]).await?;
        let table = |row: &tokio_postgres::Row| {
            let (schema, name): (String, String) = (row.get(0), row.get(1));
            let columns: Vec<String> = row.get(3);
            let open = columns
                .into_iter()
                .filter(|column| !is_secret(&name, column));
            Table {
                columns: open.collect(),
                schema,
                quoted: row.get(2),
                key: row.get(4),
                name,
            }
        };
        Ok(rows.iter().map(table).collect())
    }

    /// Starts to compare a table that has a key.
    pub async fn open<'b>(&'b self, table: &'b Table) -> Result<Pages<'b>, Error> {
        let query = self.query(table);
        self.sql
            .batch_execute(&format!(
                "declare tidegate_differences no scroll cursor for {query}"
            ))
            .await?;
        Ok(Pages {
            sql: self.sql,
            table,
            page_rows: 16,
        })
    }

    /// Rows of `is_there, is_recent, xmin, body of the log's latest`, then for each column its text and its bytes.
    fn query(&self, table: &Table) -> String {
        // Not a cast to text, which prints some types otherwise than the stream does; nor `is null`, which is true of a
        // composite value whose fields are.
        let printed = |column: &String| {
            let column = quoted(column);
            format!(
                "case when not t.{column} is not distinct from null then format('%s', t.{column}) end"
            )
        };
        let values: Vec<String> = table.columns.iter().map(printed).collect();
        let key: Vec<String> = table
            .key
            .iter()
            .map(|column| format!("{}, format('%s', t.{})", literal(column), quoted(column)))
            .collect();
        let columns: Vec<String> = (1..=table.columns.len())
            .map(|at| {
                format!(
                    ", case when octet_length(r.v[{at}]) <= {MAX_VALUE_BYTES} then r.v[{at}] end, octet_length(r.v[{at}])"
                )
            })
            .collect();
        let of_table = format!(
            "schema = {} and name = {}",
            literal(&table.schema),
            literal(&table.name)
        );
        format!(
            "select r.key is not null, r.is_recent, r.xid, case when not k.is_gone then e.body end{columns}
               from (select t.xmin::text as xid, {recent} as is_recent, array[{values}]::text[] as v,
                            jsonb_build_object({key})::text as key
                       from {quoted} t offset 0) r
               full join (select key, log_offset,
                                 is_gone or log_offset < coalesce((select log_offset from tidegate_known
                                                                    where {of_table} and key = ''), 0) as is_gone
                            from tidegate_known where {of_table} and key <> '' offset 0) k
                 on k.key = r.key
               left join tidegate.event e on e.log_offset = k.log_offset
              where case when r.key is null then not k.is_gone else k.key is not null or r.is_recent end",
            columns = columns.concat(),
            recent = self.recent(),
            values = values.join(", "),
            key = key.join(", "),
            quoted = table.quoted,
        )
    }

    /// Whether a row was written at or after `known_from`: `xmin` is the low half of a transaction's number.
    fn recent(&self) -> String {
        let Some(from) = self.known_from else {
            return "false".to_owned();
        };
        let (low, span) = (from & 0xFFFF_FFFF, self.next_xid.saturating_sub(from));
        format!("(t.xmin::text::bigint - {low} + 4294967296) % 4294967296 < {span}")
    }
}

/// A comparison under way.
pub(crate) struct Pages<'a> {
    sql: &'a Client,
    table: &'a Table,
    page_rows: usize,
}

impl Pages<'_> {
    /// The differences among the next rows, which may be none; None after the last row.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Difference>>, Error> {
        let fetch = format!("fetch {} from tidegate_differences", self.page_rows);
        // The simple protocol: every value comes as its type prints it.
        let messages = self.sql.simple_query(&fetch).await?;
        let mut bytes = 0;
        let mut rows = 0;
        let mut differences = Vec::new();
        for message in messages {
            let SimpleQueryMessage::Row(row) = message else {
                continue;
            };
            rows += 1;
            bytes += (0..row.len())
                .filter_map(|at| row.get(at))
                .map(str::len)
                .sum::<usize>();
            differences.extend(compare(self.table, &row)?);
        }
        if rows == 0 {
            self.sql.batch_execute("close tidegate_differences").await?;
            return Ok(None);
        }
        let row_bytes = (bytes / rows).max(1);
        self.page_rows = (PAGE_BYTES / row_bytes).clamp(1, MAX_PAGE_ROWS);
        Ok(Some(differences))
    }
}

fn compare(table: &Table, row: &SimpleQueryRow) -> Result<Option<Difference>, Error> {
    let known = row.get(3).map(serde_json::from_str::<ChangeEvent>);
    let known = known
        .transpose()
        .map_err(|source| tidegate_event_log::Error::Decode {
            log_offset: 0,
            source,
        })?;
    let found = (row.get(0) == Some("t")).then(|| {
        let mut found = Found {
            xid: row.get(2).and_then(|xid| xid.parse().ok()).unwrap_or(0),
            is_recent: row.get(1) == Some("t"),
            ..Found::default()
        };
        for (at, column) in table.columns.iter().enumerate() {
            let bytes = row.get(5 + 2 * at).and_then(|bytes| bytes.parse().ok());
            match (row.get(4 + 2 * at), bytes) {
                (None, Some(bytes)) => {
                    found.truncated.insert(column.clone(), bytes);
                }
                (text, _) => {
                    found.row.insert(column.clone(), text.map(str::to_owned));
                }
            }
        }
        found
    });
    Ok(difference(&table.key, known, found))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
