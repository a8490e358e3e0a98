//! The writes of one transaction, into the database.
//!
//! ```text
//! one write:     statement ─▶ its row                      one round trip, its own transaction
//! several:       BEGIN, statements ─▶ rows, then COMMIT    two round trips; all of them or none
//! with companions: BEGIN, statements ─▶ rows, then companions, COMMIT    two round trips as well
//! ```

use deadpool_postgres::Client;
use futures_util::future::maybe_done;
use futures_util::poll;
use tidegate_parse_protocol::Object;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Error as PostgresError, Row};

use crate::error::Phase;
use crate::param::Param;
use crate::query::Column;
use crate::sql::Statement;
use crate::write::{Write, statement};
use crate::{Error, Storage, pool, row};

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// The low 32 bits of the transaction's id, as logical replication names it; 0 when nothing was written.
    pub xid: u32,
    /// A position of the WAL, in bytes, before that of the transaction's commit; 0 when nothing was written.
    pub lsn: u64,
    /// For each write the object after it (before it, for a delete), without secrets. `None` only for a single write:
    /// no object has this id and lets this access write it.
    pub rows: Vec<Option<Object>>,
}

/// A statement that goes with writes, in their transaction. Its text and its tables are the caller's affair.
#[derive(Clone, Debug)]
pub struct Companion {
    pub text: &'static str,
    /// All of type text: the statement casts.
    pub params: Vec<String>,
}

impl Storage {
    /// Carries out the writes in order, in one transaction: all of them or none.
    ///
    /// The future may be dropped: a single write then still happens or not as it would have, several are rolled back.
    ///
    /// # Errors
    /// [`Error::NoRow`]: one of several writes matched nothing. [`Error::Duplicate`], [`Error::Constraint`],
    /// [`Error::Refused`]: what the database refuses, for the client. [`Error::StaleSchema`], [`Error::Unavailable`]:
    /// nothing was written, retry. [`Error::Unknown`]: ask by request id before writing again.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<Committed, Error> {
        let result = match writes.as_slice() {
            [] => Ok(Committed::default()),
            [write] => self.commit_one(write).await,
            writes => self.commit_all(writes, |_| Vec::new()).await,
        };
        self.or_reload(result).await
    }

    /// As [`Storage::commit`], with statements of the caller's in the same transaction. They are made of the rows that
    /// the writes left, and sent together with the COMMIT: two round trips in all.
    ///
    /// # Errors
    /// As [`Storage::commit`]; [`Error::NoRow`] also for a single write. [`Error::Conflict`]: a companion met a row that
    /// is there already, and nothing was written.
    pub async fn commit_with(
        &self,
        writes: Vec<Write>,
        companions: impl FnOnce(&[Option<Object>]) -> Vec<Companion>,
    ) -> Result<Committed, Error> {
        let result = self.commit_all(&writes, companions).await;
        self.or_reload(result).await
    }

    async fn commit_one(&self, write: &Write) -> Result<Committed, Error> {
        let (statement, columns) = statement(write, &self.inner.message_prefix)?;
        let client = pool::acquire(&self.inner.pool).await?;
        let prepared = pool::prepare(&client, &statement).await?;
        let rows = pool::rows(&client, &prepared, &statement).await;
        let rows = rows.map_err(|source| Error::from_postgres(source, Phase::Commit))?;
        match rows.first() {
            None => Ok(Committed {
                rows: vec![None],
                ..Committed::default()
            }),
            Some(row) => {
                let mut committed = Committed::default();
                committed.add(write, &columns, row)?;
                Ok(committed)
            }
        }
    }

    async fn commit_all(
        &self,
        writes: &[Write],
        companions: impl FnOnce(&[Option<Object>]) -> Vec<Companion>,
    ) -> Result<Committed, Error> {
        let prefix = &self.inner.message_prefix;
        let statements = writes
            .iter()
            .map(|write| statement(write, prefix))
            .collect::<Result<Vec<_>, _>>()?;
        let transaction = OpenTransaction {
            client: Some(pool::acquire(&self.inner.pool).await?),
        };
        let rows = transaction.run(&statements).await;
        match rows.and_then(|rows| all_written(writes, &statements, &rows)) {
            Ok(committed) => {
                transaction.commit(companions(&committed.rows)).await?;
                Ok(committed)
            }
            Err(error) => {
                transaction.roll_back().await;
                Err(error)
            }
        }
    }
}

/// A connection on which BEGIN may have been sent. Dropped unfinished, it is closed: Postgres then rolls back, and
/// nobody gets a connection from the pool that is in somebody else's transaction.
struct OpenTransaction {
    client: Option<Client>,
}

impl OpenTransaction {
    fn client(&self) -> &Client {
        self.client
            .as_ref()
            .expect("only finish takes the client, and it takes the transaction too")
    }

    /// BEGIN and all statements in one round trip; the rows of each statement.
    async fn run(
        &self,
        statements: &[(Statement, Vec<Column<'_>>)],
    ) -> Result<Vec<Vec<Row>>, Error> {
        let client = self.client();
        let mut prepared = Vec::with_capacity(statements.len());
        for (statement, _) in statements {
            prepared.push(pool::prepare(client, statement).await?);
        }
        let begin = maybe_done(client.batch_execute("BEGIN"));
        let mut begin = std::pin::pin!(begin);
        let mut answers: Vec<_> = statements
            .iter()
            .zip(&prepared)
            .map(|((statement, _), prepared)| {
                Box::pin(maybe_done(pool::rows(client, prepared, statement)))
            })
            .collect();
        // A request is sent when its future is first polled: once around, in order, sends them all.
        let _ = poll!(begin.as_mut());
        for answer in &mut answers {
            let _ = poll!(answer.as_mut());
        }
        begin.as_mut().await;
        let began = begin.take_output().expect("it was awaited");
        began.map_err(|source| Error::from_postgres(source, Phase::BeforeCommit))?;
        let mut rows = Vec::with_capacity(answers.len());
        for mut answer in answers {
            answer.as_mut().await;
            let answer = answer.as_mut().take_output().expect("it was awaited");
            // The first error is the cause; Postgres answers the rest with "transaction is aborted".
            rows.push(answer.map_err(|source| Error::from_postgres(source, Phase::BeforeCommit))?);
        }
        Ok(rows)
    }

    /// The companions and COMMIT in one round trip; then the connection goes back to the pool.
    async fn commit(mut self, companions: Vec<Companion>) -> Result<(), Error> {
        let statements: Vec<Statement> = companions.into_iter().map(Statement::from).collect();
        let (failed, ended) = self.finish(&statements).await?;
        // After a companion that failed, Postgres takes COMMIT for ROLLBACK: the connection is free either way.
        if ended.is_ok() {
            self.client = None;
        }
        match failed {
            Some(source) => Err(Error::from_companion(source)),
            None => ended.map_err(|source| Error::from_postgres(source, Phase::Commit)),
        }
    }

    /// The first companion's error, and what COMMIT came to.
    async fn finish(
        &self,
        companions: &[Statement],
    ) -> Result<(Option<PostgresError>, Result<(), PostgresError>), Error> {
        let client = self.client();
        let mut prepared = Vec::with_capacity(companions.len());
        for companion in companions {
            prepared.push(pool::prepare(client, companion).await?);
        }
        let mut answers: Vec<_> = companions
            .iter()
            .zip(&prepared)
            .map(|(companion, prepared)| {
                Box::pin(maybe_done(pool::rows(client, prepared, companion)))
            })
            .collect();
        for answer in &mut answers {
            let _ = poll!(answer.as_mut());
        }
        let ended = client.batch_execute("COMMIT").await;
        let mut failed = None;
        for mut answer in answers {
            answer.as_mut().await;
            let answer = answer.as_mut().take_output().expect("it was awaited");
            failed = failed.or(answer.err());
        }
        Ok((failed, ended))
    }

    /// Undoes everything. If that fails the connection is closed, which undoes it as well.
    async fn roll_back(mut self) {
        if self.client().batch_execute("ROLLBACK").await.is_ok() {
            self.client = None;
        }
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Client::take(client));
        }
    }
}

fn all_written(
    writes: &[Write],
    statements: &[(Statement, Vec<Column<'_>>)],
    rows: &[Vec<Row>],
) -> Result<Committed, Error> {
    let mut committed = Committed::default();
    for (index, ((write, (_, columns)), rows)) in
        writes.iter().zip(statements).zip(rows).enumerate()
    {
        let row = rows.first().ok_or(Error::NoRow { index })?;
        committed.add(write, columns, row)?;
    }
    Ok(committed)
}

impl Committed {
    /// Takes in what a write's statement returned: its object, then the transaction's id and the WAL's position.
    fn add(&mut self, write: &Write, columns: &[Column<'_>], row: &Row) -> Result<(), Error> {
        let object = row::from_query(&write.class, columns, None, row)?;
        let failed = |source| Error::Database { source };
        let xid: &str = row.try_get(columns.len()).map_err(failed)?;
        let lsn: PgLsn = row.try_get(columns.len() + 1).map_err(failed)?;
        let xid: u64 = xid.parse().expect("xid8 prints as a decimal number");
        self.xid = (xid & u64::from(u32::MAX)) as u32;
        self.lsn = lsn.into();
        self.rows.push(Some(object));
        Ok(())
    }
}

impl From<Companion> for Statement {
    fn from(companion: Companion) -> Statement {
        Statement {
            text: companion.text.to_owned(),
            params: companion.params.into_iter().map(Param::Text).collect(),
        }
    }
}
