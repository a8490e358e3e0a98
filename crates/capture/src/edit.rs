//! One change of a table that an application uses meanwhile.
//!
//! Invariant: no wait for a lock of a table while one is held, so the application never finds itself in a deadlock with
//! capture; and no long wait, because everybody who comes later waits behind it.

use tokio_postgres::Client;
use tokio_postgres::types::Oid;

use crate::Error;
use crate::identity::{Plan, Table};
use crate::publication::{CHANNEL, PAYLOAD};

/// What is to be done to a table, and to its partitions, in one transaction.
pub(crate) struct Edit<'a> {
    oid: Oid,
    /// Schema and name, quoted.
    name: &'a str,
    /// Tables that get another replica identity, quoted.
    altered: Vec<String>,
    sql: String,
}

impl<'a> Edit<'a> {
    pub fn of(oid: Oid, name: &'a str) -> Edit<'a> {
        Edit {
            oid,
            name,
            altered: Vec::new(),
            sql: String::new(),
        }
    }

    pub fn is_nothing(&self) -> bool {
        self.sql.is_empty()
    }

    /// Adds a statement without its semicolon.
    pub fn add(&mut self, statement: &str) {
        self.sql += statement;
        self.sql.push(';');
    }

    pub fn carry_out(&mut self, plan: &Plan, table: &Table) {
        if plan.set.is_some() {
            self.altered.push(table.name.clone());
        }
        self.sql += &plan.sql(table);
    }

    /// Does it, if the table still has its name: one that was dropped and made again is another.
    ///
    /// # Errors
    /// A table is in use for longer; to be tried again, after a rollback.
    pub async fn commit(self, client: &Client) -> Result<(), Error> {
        client.batch_execute(&self.locks()).await?;
        let now = client
            .query_one("select $1::text::regclass::oid", &[&self.name])
            .await?;
        if now.get::<_, Oid>(0) != self.oid {
            client.batch_execute("rollback").await?;
            return Ok(());
        }
        // The notification is the one by which processes that write hear of a changed table.
        let rest = format!("{} notify \"{CHANNEL}\", '{PAYLOAD}'; commit", self.sql);
        Ok(client.batch_execute(&rest).await?)
    }

    /// The table itself is waited for, with nothing in hand; its partitions must then be free.
    fn locks(&self) -> String {
        let (name, altered) = (self.name, &self.altered);
        let is_altered = altered.iter().any(|table| table == name);
        let mode = if is_altered {
            "access exclusive"
        } else {
            "share update exclusive"
        };
        let mut sql =
            format!("begin; set local lock_timeout = '2s'; lock table only {name} in {mode} mode;");
        for table in altered.iter().filter(|table| *table != name) {
            sql += &format!("lock table only {table} in access exclusive mode nowait;");
        }
        sql
    }
}
