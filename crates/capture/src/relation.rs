//! What the catalog says of a table that the stream describes: its key, above all.

use std::collections::HashMap;
use std::sync::Arc;

use postgres_replication::{OldTuple, Relation, ReplicaIdentity, Value};
use tokio_postgres::Client;

use crate::Error;
use crate::secret::is_secret;

/// A table as the last Relation message described it, and what the catalog adds to that.
#[derive(Debug)]
pub(crate) struct Table {
    pub relation: Arc<Relation>,
    /// Places of the key's columns.
    pub key: Vec<usize>,
    /// Places of the columns that events have, by the columns' names: rows are built in the order that they keep.
    pub open: Vec<usize>,
    kind: Kind,
    /// How the catalog writes the columns' types, by the columns' names.
    pub types: HashMap<String, String>,
}

/// How to tell a whole old row from one that has only its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As the message says.
    Plain,
    /// The message tells of the root, the row comes from a partition with an identity of its own.
    Partitioned,
    /// Such a one with a partition whose identity is another index than the root's key.
    PartitionedByIndex,
}

/// A column as the catalog has it now.
struct Column {
    name: String,
    type_oid: u32,
    type_name: String,
    /// pgoutput of Postgres 15 does not send it.
    is_generated: bool,
    in_key: bool,
}

/// A connection for looking things up.
pub(crate) struct Catalog {
    pub client: Client,
}

const COLUMNS: &str = "
    select a.attname::text, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '',
           coalesce(a.attnum = any(i.indkey), false)
      from pg_attribute a left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum";

const KIND: &str = "
    select exists (select from pg_partition_tree($1::oid) t join pg_class p on p.oid = t.relid
                    where p.relkind = 'r' and p.relreplident = 'i')
      from pg_class c where c.oid = $1 and c.relkind = 'p'";

impl Table {
    /// What the message alone says.
    pub fn new(relation: Arc<Relation>) -> Table {
        let columns = &relation.columns;
        let is_open = |at: &usize| !is_secret(&relation.table, &columns[*at].name);
        let mut open: Vec<usize> = (0..columns.len()).filter(is_open).collect();
        open.sort_unstable_by_key(|at| columns[*at].name.as_str());
        Table {
            key: flagged(&relation),
            open,
            kind: Kind::Plain,
            types: HashMap::new(),
            relation,
        }
    }

    /// True when an old tuple is the whole row.
    ///
    /// Of a partition's row the message says how the root's identity is: it may have more than that, or less.
    pub fn is_whole(&self, old: &OldTuple) -> bool {
        match (self.kind, old) {
            (Kind::Plain, OldTuple::Full(_)) => true,
            (Kind::Plain, OldTuple::Key(_)) | (Kind::PartitionedByIndex, _) => false,
            (Kind::Partitioned, OldTuple::Full(values) | OldTuple::Key(values)) => {
                let has_more = |at: usize| !self.key.contains(&at) && values[at] != Value::Null;
                (0..values.len()).any(has_more)
            }
        }
    }

    /// True for a column that an old tuple has when it is not whole.
    pub fn is_in_old_key(&self, at: usize) -> bool {
        match self.kind {
            Kind::Plain => self.relation.columns[at].is_key,
            Kind::Partitioned | Kind::PartitionedByIndex => self.key.contains(&at),
        }
    }

    fn names_of_key(&self) -> Vec<&str> {
        let columns = &self.relation.columns;
        self.key
            .iter()
            .map(|at| columns[*at].name.as_str())
            .collect()
    }
}

impl Catalog {
    /// Learns what there is to know of a relation.
    ///
    /// The message is as old as its place in the WAL, the catalog is of now: the table may have been changed, renamed
    /// or dropped since. `known`: what was known of the table so far.
    pub async fn learn(
        &self,
        relation: Arc<Relation>,
        known: Option<&Table>,
    ) -> Result<Table, Error> {
        let columns = self.columns(relation.id).await?;
        let kind = self.client.query_opt(KIND, &[&relation.id]).await?;
        let key = key(&relation, &columns, known);
        let types = columns.into_iter();
        Ok(Table {
            key,
            kind: match kind.map(|row| row.get::<_, bool>(0)) {
                None => Kind::Plain,
                Some(false) => Kind::Partitioned,
                Some(true) => Kind::PartitionedByIndex,
            },
            types: types
                .map(|column| (column.name, column.type_name))
                .collect(),
            ..Table::new(relation)
        })
    }

    async fn columns(&self, oid: u32) -> Result<Vec<Column>, Error> {
        let rows = self.client.query(COLUMNS, &[&oid]).await?;
        let column = |row: &tokio_postgres::Row| Column {
            name: row.get(0),
            type_oid: row.get(1),
            type_name: row.get(2),
            is_generated: row.get(3),
            in_key: row.get(4),
        };
        Ok(rows.iter().map(column).collect())
    }
}

/// Places of the key's columns in `relation`.
///
/// With the default identity, and one by an index, the message itself says what was the key at its place in the WAL.
/// With the others the catalog must be asked, which is of now: a table that has the same types in the same order is
/// taken to be the same, whatever its columns are called; else the names must be there.
fn key(relation: &Relation, catalog: &[Column], known: Option<&Table>) -> Vec<usize> {
    if matches!(
        relation.replica_identity,
        ReplicaIdentity::Default | ReplicaIdentity::Index
    ) {
        return flagged(relation);
    }
    let sent: Vec<&Column> = catalog
        .iter()
        .filter(|column| !column.is_generated)
        .collect();
    let is_same = sent.len() == relation.columns.len()
        && sent
            .iter()
            .zip(&relation.columns)
            .all(|(now, then)| now.type_oid == then.type_oid);
    let by_place = || {
        let key = sent.iter().enumerate().filter(|(_, column)| column.in_key);
        let key: Vec<usize> = key.map(|(at, _)| at).collect();
        (is_same && !key.is_empty()).then_some(key)
    };
    let in_key = catalog.iter().filter(|column| column.in_key);
    let names: Vec<&str> = in_key.map(|column| column.name.as_str()).collect();
    let before = known.map(Table::names_of_key).unwrap_or_default();
    by_place()
        .or_else(|| places(relation, &names))
        .or_else(|| places(relation, &before))
        // A class whose table is gone.
        .or_else(|| places(relation, &["objectId"]))
        .unwrap_or_default()
}

/// Where these columns are; None when one of them is missing, or there are none.
fn places(relation: &Relation, names: &[&str]) -> Option<Vec<usize>> {
    let place = |name: &&str| {
        relation
            .columns
            .iter()
            .position(|column| column.name == *name)
    };
    let places: Vec<usize> = names.iter().map(place).collect::<Option<_>>()?;
    (!places.is_empty()).then_some(places)
}

/// The columns that the message calls key, unless it calls all so because all are sent.
fn flagged(relation: &Relation) -> Vec<usize> {
    if relation.replica_identity == ReplicaIdentity::Full {
        return Vec::new();
    }
    let columns = relation.columns.iter().enumerate();
    columns
        .filter(|(_, column)| column.is_key)
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use postgres_replication::RelationColumn;

    use super::*;

    fn relation(identity: ReplicaIdentity, columns: &[(&str, u32, bool)]) -> Arc<Relation> {
        let columns = columns
            .iter()
            .map(|(name, type_oid, is_key)| RelationColumn {
                name: (*name).to_owned(),
                type_oid: *type_oid,
                type_modifier: -1,
                is_key: *is_key,
            });
        Arc::new(Relation {
            id: 1,
            schema: "s".into(),
            table: "t".into(),
            replica_identity: identity,
            columns: columns.collect(),
        })
    }

    fn column(name: &str, type_oid: u32, in_key: bool) -> Column {
        Column {
            name: name.into(),
            type_oid,
            type_name: String::new(),
            is_generated: false,
            in_key,
        }
    }

    #[test]
    fn the_key_is_found_though_the_table_has_changed_since() {
        use ReplicaIdentity::{Default, Full};
        let whole = relation(Full, &[("id", 23, true), ("name", 25, true)]);
        let catalog = [column("id", 23, true), column("name", 25, false)];
        assert_eq!(key(&whole, &catalog, None), [0]);
        let renamed = [column("number", 23, true), column("name", 25, false)];
        assert_eq!(key(&whole, &renamed, None), [0], "by its place");
        let moved = [column("extra", 20, false), column("id", 23, true)];
        assert_eq!(key(&whole, &moved, None), [0], "by its name");
        assert!(key(&whole, &[], None).is_empty(), "gone, and never seen");
        let known = Table {
            key: vec![0],
            ..Table::new(Arc::clone(&whole))
        };
        let later = relation(Full, &[("name", 25, true), ("id", 23, true)]);
        assert_eq!(key(&later, &[], Some(&known)), [1], "gone, and seen before");
        let by_key = relation(Default, &[("id", 23, false), ("uid", 2950, true)]);
        assert_eq!(
            key(&by_key, &catalog, None),
            [1],
            "the message knows better"
        );
        let class = relation(Full, &[("objectId", 25, true), ("n", 701, true)]);
        assert_eq!(key(&class, &[], None), [0]);
    }

    #[test]
    fn a_partitions_old_row_is_whole_when_it_has_more_than_its_key() {
        let root = relation(
            ReplicaIdentity::Default,
            &[("id", 23, true), ("name", 25, false)],
        );
        let mut table = Table::new(root);
        let text = |value: &'static str| Value::Text(value.as_bytes().into());
        let whole = OldTuple::Key(vec![text("1"), text("a")]);
        let key = OldTuple::Full(vec![text("1"), Value::Null]);
        assert!(
            !table.is_whole(&whole) && table.is_whole(&key),
            "a plain table is as it says"
        );
        table.kind = Kind::Partitioned;
        assert!(table.is_whole(&whole) && !table.is_whole(&key));
        table.kind = Kind::PartitionedByIndex;
        assert!(!table.is_whole(&whole));
    }
}
