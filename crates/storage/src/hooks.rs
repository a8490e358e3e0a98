//! Parse Server's `_Hooks`: triggers that are HTTP endpoints, as people set them through the API.
//!
//! The table is no class like others: it has neither an objectId nor a primary key.

use deadpool_postgres::Client;

use crate::error::Phase;
use crate::{Error, Storage, pool};

/// One trigger's endpoint. Functions' endpoints, which the table holds too, are passed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hook {
    pub class: String,
    /// As Parse writes it: `afterSave`.
    pub trigger: String,
    pub url: String,
}

impl Storage {
    /// Every trigger's endpoint, sorted.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn hooks(&self) -> Result<Vec<Hook>, Error> {
        let sql = r#"select "className", "triggerName", "url" from "_Hooks"
             where "className" is not null and "triggerName" is not null and "url" is not null
             order by 1, 2, 3"#;
        let client = self.hooks_client().await?;
        let rows = client.query(sql, &[]).await.map_err(failed)?;
        let hook = |row: &tokio_postgres::Row| Hook {
            class: row.get(0),
            trigger: row.get(1),
            url: row.get(2),
        };
        Ok(rows.iter().map(hook).collect())
    }

    /// Sets a trigger's endpoint, in place of the one that it had.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn put_hook(&self, hook: &Hook) -> Result<(), Error> {
        let mut client = self.hooks_client().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        // The table has no key that could tell two who do this at once from one another.
        let sql = r#"lock table "_Hooks" in share row exclusive mode"#;
        transaction.batch_execute(sql).await.map_err(failed)?;
        let sql = r#"delete from "_Hooks" where "className" = $1 and "triggerName" = $2"#;
        let of = [&hook.class as _, &hook.trigger as _];
        transaction.execute(sql, &of).await.map_err(failed)?;
        let sql = r#"insert into "_Hooks" ("className", "triggerName", "url") values ($1, $2, $3)"#;
        let values = [&hook.class as _, &hook.trigger as _, &hook.url as _];
        transaction.execute(sql, &values).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Removes a trigger's endpoint; one that is not there is removed already.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn delete_hook(&self, class: &str, trigger: &str) -> Result<(), Error> {
        let sql = r#"delete from "_Hooks" where "className" = $1 and "triggerName" = $2"#;
        let client = self.hooks_client().await?;
        let deleted = client.execute(sql, &[&class, &trigger]).await;
        deleted.map(|_| ()).map_err(failed)
    }

    async fn hooks_client(&self) -> Result<Client, Error> {
        pool::acquire(&self.inner.pool).await
    }
}

fn failed(source: tokio_postgres::Error) -> Error {
    Error::from_postgres(source, Phase::BeforeCommit)
}
