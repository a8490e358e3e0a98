//! Large values that the stream left out, read from their table.

use tidegate_event::report::chain;
use tidegate_event::{ChangeEvent, Row};
use tokio_postgres::error::SqlState;

use crate::Error;
use crate::publication::quoted;
use crate::relation::{Catalog, Table};
use crate::row::MAX_VALUE_BYTES;

impl Catalog {
    /// Fills large values that an UPDATE did not touch, and that no old row had, with what the table has now.
    ///
    /// A column stays in `unchanged_toast` when its row is not there any more, or the table is not as it was.
    ///
    /// # Errors
    /// The connection is gone, or a lock on the table was not had in time; to be tried again.
    pub async fn fill(&self, table: &Table, event: &mut ChangeEvent) -> Result<(), Error> {
        match self.large_values(table, event).await {
            Ok(Some(values)) => put(event, values),
            Ok(None) => {}
            Err(error) => {
                let is_passing = |state: &SqlState| *state == SqlState::LOCK_NOT_AVAILABLE;
                if error.code().is_none_or(is_passing) {
                    return Err(error.into());
                }
                let (schema, table) = (&event.schema, &event.table);
                let error = chain(&error);
                tracing::debug!(schema, table, error, "cannot read an unchanged value");
            }
        }
        Ok(())
    }

    /// For each column of `unchanged_toast` its bytes and, unless those are too many, its text.
    async fn large_values(
        &self,
        table: &Table,
        event: &ChangeEvent,
    ) -> Result<Option<Vec<LargeValue>>, tokio_postgres::Error> {
        let Some(condition) = condition(table, &event.key) else {
            return Ok(None);
        };
        let name = "select format('%I.%I', n.nspname, c.relname)
                      from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1";
        let Some(row) = self.client.query_opt(name, &[&table.relation.id]).await? else {
            return Ok(None);
        };
        let name: &str = row.get(0);
        // `format` prints as the stream does; a cast to text may not (char(n) would lose its blanks).
        let columns = event.unchanged_toast.iter().map(|name| {
            let name = quoted(name);
            format!("case when {name} is not null then format('%s', {name}) end")
        });
        let values = (0..event.unchanged_toast.len()).map(|n| {
            format!(
                "octet_length(v.values[{at}]),
                 case when octet_length(v.values[{at}]) <= {MAX_VALUE_BYTES} then v.values[{at}] end",
                at = n + 1
            )
        });
        let sql = format!(
            "select {} from (select array[{}] as values from {name} where {condition} offset 0) as v",
            values.collect::<Vec<_>>().join(", "),
            columns.collect::<Vec<_>>().join(", "),
        );
        let key: Vec<&str> = event.key.values().flatten().map(String::as_str).collect();
        let parameters = key
            .iter()
            .map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync));
        let parameters: Vec<_> = parameters.collect();
        let Some(row) = self.client.query_opt(&sql, &parameters).await? else {
            return Ok(None);
        };
        let value = |at: usize| LargeValue {
            bytes: row.get::<_, Option<i32>>(2 * at).map(|bytes| bytes as u64),
            text: row.get(2 * at + 1),
        };
        Ok(Some((0..event.unchanged_toast.len()).map(value).collect()))
    }
}

struct LargeValue {
    /// None for SQL NULL.
    bytes: Option<u64>,
    /// None also when it is too long.
    text: Option<String>,
}

fn put(event: &mut ChangeEvent, values: Vec<LargeValue>) {
    let row = event.new.get_or_insert_default();
    for (name, value) in std::mem::take(&mut event.unchanged_toast)
        .into_iter()
        .zip(values)
    {
        match value {
            LargeValue {
                bytes: Some(bytes),
                text: None,
            } => {
                event.truncated.insert(name, bytes);
            }
            LargeValue { text, .. } => {
                row.insert(name, text);
            }
        }
    }
}

/// `"id" = $1::text::integer and …`, parameters in the order of the columns' names; None without a whole key.
fn condition(table: &Table, key: &Row) -> Option<String> {
    if key.is_empty() || key.len() != table.key.len() || key.values().any(Option::is_none) {
        return None;
    }
    let terms = key.keys().enumerate().map(|(at, name)| {
        let type_name = table.types.get(name)?;
        Some(format!("{} = ${}::text::{type_name}", quoted(name), at + 1))
    });
    Some(terms.collect::<Option<Vec<_>>>()?.join(" and "))
}
