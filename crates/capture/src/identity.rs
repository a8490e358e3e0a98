//! How much of the old row Postgres writes into the WAL, table by table: its replica identity.
//!
//! ```text
//! what the table has ─┐
//! what it had before ─┼─▶ plan ─▶ what it gets, and what to remember
//! what handlers need ─┘
//! ```
//!
//! Invariants: a published table always has an identity with which UPDATE and DELETE work; REPLICA IDENTITY FULL stands
//! only where something needs it; whatever Tidegate changed, it gives back.

use tokio_postgres::Client;
use tokio_postgres::types::Oid;

use crate::Error;

/// Columns whose old value the WAL carries (`pg_class.relreplident`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The primary key.
    Default,
    Nothing,
    Full,
    /// A unique index, by its name.
    Index(String),
}

/// One table that holds rows: a plain table, or a partition.
#[derive(Debug)]
pub(crate) struct Table {
    pub oid: Oid,
    /// Schema and name, quoted.
    pub name: String,
    pub identity: Identity,
    /// Has a primary key that can serve as identity.
    pub has_key: bool,
    /// What it had before Tidegate changed it; the default for an index that is gone.
    remembered: Option<Identity>,
    /// Was once found to lack an unchanged large value, and therefore keeps FULL.
    lacked_values: bool,
}

/// What is to be done with one table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// None: it has what it should.
    pub set: Option<Identity>,
    pub memory: Memory,
}

/// What becomes of the table's row in `tidegate.table_identity`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Keep,
    Forget,
    Remember(Identity),
}

/// The tables that hold the rows of `$1`, and how they stand. A partitioned table's own identity is of no use: the WAL
/// has its partitions' rows.
const TABLES: &str = "
    select distinct on (c.oid) c.oid, format('%I.%I', n.nspname, c.relname), c.relreplident::text,
           (select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid
             where x.indrelid = c.oid and x.indisreplident and x.indisvalid and x.indimmediate),
           exists (select from pg_index x
                    where x.indrelid = c.oid and x.indisprimary and x.indisvalid and x.indimmediate),
           case when k.identity not like 'using index %' or exists (
                     select from pg_index x join pg_class i on i.oid = x.indexrelid
                      where x.indrelid = c.oid and 'using index ' || i.relname = k.identity
                        and x.indisunique and x.indimmediate and x.indisvalid)
                then k.identity when k.identity is not null then 'default' end,
           coalesce(k.lacked_values, false)
      from (select r.oid as root, p.relid
              from unnest($1::oid[]) as r (oid) cross join lateral pg_partition_tree(r.oid) as p
             union all select r.oid, r.oid from unnest($1::oid[]) as r (oid)) as tree
      join pg_class c on c.oid = tree.relid and c.relkind = 'r'
      join pg_namespace n on n.oid = c.relnamespace
      left join tidegate.table_identity k on k.table_oid = c.oid
     order by c.oid";

/// Looks at the tables behind `roots`: themselves, or their partitions.
pub(crate) async fn tables(client: &Client, roots: &[Oid]) -> Result<Vec<Table>, Error> {
    let rows = client.query(TABLES, &[&roots]).await?;
    let table = |row: &tokio_postgres::Row| Table {
        oid: row.get(0),
        name: row.get(1),
        identity: Identity::of_catalog(row.get(2), row.get(3)),
        has_key: row.get(4),
        remembered: row.get::<_, Option<&str>>(5).map(Identity::of_memory),
        lacked_values: row.get(6),
    };
    Ok(rows.iter().map(table).collect())
}

/// Tables whose identity Tidegate changed, whether they are published or not.
pub(crate) async fn changed(client: &Client) -> Result<Vec<Oid>, Error> {
    // Numbers are used again: what is remembered of a table that is gone must not be said of another.
    let forget = "delete from tidegate.table_identity k
                   where not exists (select from pg_class c where c.oid = k.table_oid)";
    client.execute(forget, &[]).await?;
    let rows = client
        .query("select table_oid from tidegate.table_identity", &[])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

impl Table {
    /// What the table gets while it is published.
    ///
    /// `whole`: something needs whole old rows.
    pub fn plan(&self, whole: bool) -> Plan {
        let base = self.base();
        let target = if whole || self.lacked_values {
            Identity::Full
        } else if self.is_usable(&base) {
            base.clone()
        } else if self.has_key {
            Identity::Default
        } else {
            Identity::Full
        };
        self.towards(target, base)
    }

    /// What the table gets back when it is not published any more.
    pub fn plan_of_return(&self) -> Plan {
        let base = self.base();
        self.towards(base.clone(), base)
    }

    fn towards(&self, target: Identity, base: Identity) -> Plan {
        let memory = if target != base {
            if self.remembered.as_ref() == Some(&base) {
                Memory::Keep
            } else {
                Memory::Remember(base)
            }
        } else if self.remembered.is_some() {
            Memory::Forget
        } else {
            Memory::Keep
        };
        Plan {
            set: (target != self.identity).then_some(target),
            memory,
        }
    }

    /// What the table's owner chose: what it has, unless Tidegate put that there.
    fn base(&self) -> Identity {
        match (&self.remembered, &self.identity) {
            (Some(before), Identity::Full) => before.clone(),
            (Some(Identity::Nothing), Identity::Default) => Identity::Nothing,
            // Somebody has changed it since.
            (_, current) => current.clone(),
        }
    }

    fn is_usable(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Full | Identity::Index(_) => true,
            Identity::Default => self.has_key,
            Identity::Nothing => false,
        }
    }
}

impl Plan {
    /// True when it takes whole old rows away.
    pub fn lowers(&self, table: &Table) -> bool {
        table.identity == Identity::Full && self.set.is_some()
    }

    pub fn is_nothing(&self) -> bool {
        self.set.is_none() && self.memory == Memory::Keep
    }

    /// The statements, each with its semicolon, to be run in one transaction.
    pub fn sql(&self, table: &Table) -> String {
        let Table { oid, name, .. } = table;
        let mut sql = String::new();
        if let Some(identity) = &self.set {
            sql += &format!("alter table {name} replica identity {};", identity.sql());
        }
        match &self.memory {
            Memory::Keep => {}
            Memory::Forget => {
                sql += &format!("delete from tidegate.table_identity where table_oid = {oid};");
            }
            Memory::Remember(identity) => {
                let identity = identity.memory().replace('\'', "''");
                sql += &format!(
                    "insert into tidegate.table_identity (table_oid, identity) values ({oid}, '{identity}')
                     on conflict (table_oid) do update set identity = excluded.identity;"
                );
            }
        }
        sql
    }
}

impl Identity {
    /// `index`: of the table, when it is fit; an identity by an index that is gone is none.
    fn of_catalog(kind: &str, index: Option<String>) -> Identity {
        match (kind, index) {
            ("d", _) => Identity::Default,
            ("f", _) => Identity::Full,
            ("i", Some(index)) => Identity::Index(index),
            _ => Identity::Nothing,
        }
    }

    fn of_memory(text: &str) -> Identity {
        match text.strip_prefix("using index ") {
            Some(index) => Identity::Index(index.to_owned()),
            None if text == "full" => Identity::Full,
            None if text == "nothing" => Identity::Nothing,
            None => Identity::Default,
        }
    }

    /// As `tidegate.table_identity` has it: the name as it is, without quotes.
    fn memory(&self) -> String {
        match self {
            Identity::Default => "default".into(),
            Identity::Nothing => "nothing".into(),
            Identity::Full => "full".into(),
            Identity::Index(name) => format!("using index {name}"),
        }
    }

    fn sql(&self) -> String {
        match self {
            Identity::Index(name) => format!("using index {}", crate::publication::quoted(name)),
            other => other.memory(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(identity: Identity, has_key: bool, remembered: Option<Identity>) -> Table {
        Table {
            oid: 1,
            name: "t".into(),
            identity,
            has_key,
            remembered,
            lacked_values: false,
        }
    }

    fn index() -> Identity {
        Identity::Index("one \"two\"".into())
    }

    #[test]
    fn whole_rows_are_asked_for_only_where_needed_and_what_was_is_remembered() {
        use Identity::{Default, Full, Nothing};
        let remember = Memory::Remember;
        let cases = [
            // identity, has key, remembered, whole → set, memory
            (Default, true, None, false, None, Memory::Keep),
            (Default, true, None, true, Some(Full), remember(Default)),
            (Default, false, None, false, Some(Full), remember(Default)),
            (Nothing, true, None, false, Some(Default), remember(Nothing)),
            (Nothing, false, None, false, Some(Full), remember(Nothing)),
            (Full, true, None, false, None, Memory::Keep),
            (Full, true, None, true, None, Memory::Keep),
            (index(), true, None, false, None, Memory::Keep),
            (index(), false, None, true, Some(Full), remember(index())),
            // No handler needs it any more.
            (
                Full,
                true,
                Some(Default),
                false,
                Some(Default),
                Memory::Forget,
            ),
            (Full, true, Some(Default), true, None, Memory::Keep),
            (Full, false, Some(Default), false, None, Memory::Keep),
            (
                Full,
                true,
                Some(index()),
                false,
                Some(index()),
                Memory::Forget,
            ),
            (Default, true, Some(Nothing), false, None, Memory::Keep),
            // Its owner has changed it since.
            (index(), true, Some(Default), false, None, Memory::Forget),
            (
                Nothing,
                true,
                Some(Default),
                true,
                Some(Full),
                remember(Nothing),
            ),
        ];
        for (identity, has_key, remembered, whole, set, memory) in cases {
            let table = table(identity, has_key, remembered);
            assert_eq!(table.plan(whole), Plan { set, memory }, "{table:?} {whole}");
        }
    }

    #[test]
    fn a_table_that_leaves_gets_back_what_it_had() {
        use Identity::{Default, Full, Nothing};
        let cases = [
            (Full, Some(Nothing), Some(Nothing), Memory::Forget),
            (Full, Some(index()), Some(index()), Memory::Forget),
            (Full, None, None, Memory::Keep),
            (Default, Some(Nothing), Some(Nothing), Memory::Forget),
        ];
        for (identity, remembered, set, memory) in cases {
            let table = table(identity, true, remembered);
            assert_eq!(table.plan_of_return(), Plan { set, memory }, "{table:?}");
        }
        let plan = table(Full, true, Some(index())).plan_of_return();
        let sql = plan.sql(&table(Full, true, None));
        assert!(
            sql.contains(r#"replica identity using index "one ""two""""#),
            "{sql}"
        );
    }
}
