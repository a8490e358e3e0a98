//! One write as one SQL statement: message, row and relations in one round trip.
//!
//! ```text
//! WITH _message AS MATERIALIZED (SELECT pg_logical_emit_message(…)),   the row's context, into the WAL
//!      _row  AS (UPDATE … FROM _message … RETURNING …),                 the row
//!      _add  AS (INSERT INTO "_Join:…" SELECT … FROM _row …)            its relations
//! SELECT * FROM _row
//! ```
//!
//! Invariant: the message precedes its row in the WAL. The row's change reads `_message`, and a row can only be
//! changed after what it is joined with was read: the order is one of data, not of the planner's choice. Relations
//! read `_row` and so follow it, and a row that is not matched changes nothing.

mod operation;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use tidegate_parse_protocol::{Access, Changes, ClassSchema, FieldOp, Pointer};

use crate::Error;
use crate::column::{ColumnType, stored_param};
use crate::param::Param;
use crate::query::{Column, access_condition, column_list, columns};
use crate::secret::Secrets;
use crate::sql::{Binds, Statement, identifier, join_table};

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Write {
    pub class: Arc<ClassSchema>,
    pub object_id: String,
    pub action: Action,
    /// Whose write access an update or delete needs. An insert is the caller's to judge.
    pub access: Access,
    /// What goes into the WAL just before the row, under [`crate::Config::message_prefix`]. In a transaction of
    /// several writes all have one or none has: a message describes every row up to the next message.
    pub message: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Action {
    Insert {
        changes: Changes,
        created_at_ms: i64,
    },
    Update {
        changes: Changes,
        updated_at_ms: i64,
    },
    Delete,
}

/// The statement of a write. It returns `columns`, then the transaction's id as text and a position of the WAL just
/// behind the row; no row when nothing matched.
pub(crate) fn statement<'a>(
    write: &'a Write,
    message_prefix: &str,
) -> Result<(Statement, Vec<Column<'a>>), Error> {
    let columns = columns(&write.class, None, Secrets::Hidden);
    let mut builder = Builder {
        write,
        binds: Binds::default(),
        with: Vec::new(),
        source: "",
    };
    builder.message(message_prefix);
    let row = builder.row()?;
    let returning = format!(
        "{row} RETURNING {},pg_current_xact_id()::text AS _xid,pg_current_wal_insert_lsn() AS _lsn",
        column_list(&columns)
    );
    let main = match builder.relations() {
        relations if relations.is_empty() => returning,
        relations => {
            builder.with.push(format!("_row AS ({returning})"));
            builder.with.extend(relations);
            "SELECT * FROM _row".to_owned()
        }
    };
    let with = if builder.with.is_empty() {
        String::new()
    } else {
        format!("WITH {} ", builder.with.join(", "))
    };
    Ok((
        Statement {
            text: with + &main,
            params: builder.binds.0,
        },
        columns,
    ))
}

struct Builder<'a> {
    write: &'a Write,
    binds: Binds,
    /// The parts of `WITH`.
    with: Vec<String>,
    /// The table expression that the row's change reads, if there is a message.
    source: &'static str,
}

impl Builder<'_> {
    fn message(&mut self, prefix: &str) {
        let Some(message) = &self.write.message else {
            return;
        };
        let (prefix, message) = (self.binds.text(prefix), self.binds.text(message));
        let emit = format!("SELECT pg_logical_emit_message(true, {prefix}, {message})");
        self.with
            .push(format!("_message(_lsn) AS MATERIALIZED ({emit})"));
        self.source = "_message";
    }

    fn row(&mut self) -> Result<String, Error> {
        match &self.write.action {
            Action::Insert {
                changes,
                created_at_ms,
            } => self.insert(changes, *created_at_ms),
            Action::Update {
                changes,
                updated_at_ms,
            } => self.update(changes, *updated_at_ms),
            Action::Delete => Ok(format!(
                "DELETE FROM {}{}{}",
                self.table(),
                self.reading("USING"),
                self.matching()
            )),
        }
    }

    fn insert(&mut self, changes: &Changes, created_at_ms: i64) -> Result<String, Error> {
        let class = &self.write.class;
        let mut row = vec![(
            "objectId".to_owned(),
            self.binds.text(&self.write.object_id),
        )];
        let now = self.binds.bind(Param::Timestamp(created_at_ms));
        let times = ["createdAt", "updatedAt"]
            .into_iter()
            .filter(|name| class.fields.contains_key(*name));
        row.extend(times.map(|name| (name.to_owned(), now.clone())));
        row.extend(self.permissions(changes)?);
        for (name, value) in changes.apply(&Default::default())? {
            let is_value = !value.is_null() && !is_set_elsewhere(&name);
            if is_value && let Some(value) = self.inserted(&name, &value)? {
                row.push((name, value));
            }
        }
        let (names, values): (Vec<_>, Vec<_>) = row
            .into_iter()
            .map(|(name, value)| (identifier(&name), value))
            .unzip();
        let (table, source) = (self.table(), self.reading("FROM"));
        Ok(format!(
            "INSERT INTO {table} ({}) SELECT {}{source}",
            names.join(","),
            values.join(",")
        ))
    }

    /// A value of a new row; `None` for a relation, which has no column.
    fn inserted(&mut self, name: &str, value: &Value) -> Result<Option<String>, Error> {
        let class = &self.write.class;
        let field = class.fields.get(name).ok_or(Error::StaleSchema)?;
        if ColumnType::of(field).is_none() {
            return Ok(None);
        }
        Ok(Some(self.binds.bind(stored_param(
            &class.name,
            name,
            field,
            value,
        )?)))
    }

    fn update(&mut self, changes: &Changes, updated_at_ms: i64) -> Result<String, Error> {
        let mut assignments = self.permissions(changes)?;
        if self.write.class.fields.contains_key("updatedAt") {
            assignments.push((
                "updatedAt".to_owned(),
                self.binds.bind(Param::Timestamp(updated_at_ms)),
            ));
        }
        let own = changes.iter().filter(|(name, _)| !is_set_elsewhere(name));
        assignments.extend(operation::assignments(
            &self.write.class,
            own,
            &mut self.binds,
        )?);
        let set: Vec<String> = assignments
            .into_iter()
            .map(|(name, value)| format!("{} = {value}", identifier(&name)))
            .collect();
        let (table, source, matching) = (self.table(), self.reading("FROM"), self.matching());
        Ok(format!(
            "UPDATE {table} SET {}{source}{matching}",
            set.join(",")
        ))
    }

    /// `_rperm` and `_wperm`, when the write sets the access list.
    fn permissions(&mut self, changes: &Changes) -> Result<Vec<(String, String)>, Error> {
        let Some(acl) = changes.acl()? else {
            return Ok(Vec::new());
        };
        let (readers, writers) = acl.permissions();
        let mut column =
            |name: &str, principals| (name.to_owned(), self.binds.bind(Param::Texts(principals)));
        Ok(vec![column("_rperm", readers), column("_wperm", writers)])
    }

    fn table(&self) -> String {
        identifier(&self.write.class.name)
    }

    fn reading(&self, keyword: &str) -> String {
        if self.source.is_empty() {
            String::new()
        } else {
            format!(" {keyword} {}", self.source)
        }
    }

    /// The object, if its access list lets the caller write it.
    fn matching(&mut self) -> String {
        let id = self.binds.text(&self.write.object_id);
        let access = access_condition(
            &self.write.class,
            "_wperm",
            &self.write.access,
            &mut self.binds,
        );
        let access = access.map_or_else(String::new, |access| format!(" AND {access}"));
        format!(" WHERE \"objectId\" = {id}{access}")
    }

    /// What the write does to join tables, each as a part of `WITH` that reads `_row`.
    fn relations(&mut self) -> Vec<String> {
        let changes = match &self.write.action {
            Action::Insert { changes, .. } | Action::Update { changes, .. } => changes,
            Action::Delete => return Vec::new(),
        };
        let mut parts = Vec::new();
        for (number, (field, op)) in changes.iter().enumerate() {
            let FieldOp::Relation { add, remove } = op else {
                continue;
            };
            let table = join_table(&self.write.class.name, field);
            if !add.is_empty() {
                let members = self.binds.bind(ids(add));
                parts.push(format!(
                    "_add{number} AS (INSERT INTO {table} (\"relatedId\",\"owningId\") \
                     SELECT _member, _row.\"objectId\" FROM _row, unnest({members}) _member ON CONFLICT DO NOTHING)"
                ));
            }
            if !remove.is_empty() {
                let members = self.binds.bind(ids(remove));
                parts.push(format!(
                    "_remove{number} AS (DELETE FROM {table} _join USING _row \
                     WHERE _join.\"owningId\" = _row.\"objectId\" AND _join.\"relatedId\" = ANY({members}))"
                ));
            }
        }
        parts
    }
}

fn ids(pointers: &[Pointer]) -> Param {
    Param::Texts(pointers.iter().map(|pointer| pointer.id.clone()).collect())
}

/// What a write takes from elsewhere than its changes.
fn is_set_elsewhere(name: &str) -> bool {
    matches!(name, "objectId" | "createdAt" | "updatedAt" | "ACL")
}
