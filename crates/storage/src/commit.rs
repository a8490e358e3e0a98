//! The writes of one transaction, into the database.
//!
//! ```text
//! one write:     statement ─▶ its row                      one round trip, its own transaction
//! several:       BEGIN, statements ─▶ rows, then COMMIT    two round trips; all of them or none
//! ```

use deadpool_postgres::Client;
use futures_util::future::maybe_done;
use futures_util::poll;
use tidegate_parse_protocol::Object;
use tokio_postgres::Row;

use crate::error::Phase;
use crate::query::Column;
use crate::sql::Statement;
use crate::write::{Write, statement};
use crate::{Error, Storage, pool, row};

/// What a commit did.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The low 32 bits of the transaction's id, as logical replication names it; 0 when nothing was written.
    pub xid: u32,
    /// For each write the object after it (before it, for a delete), without secrets. `None` only for a single write:
    /// no object has this id and lets this access write it.
    pub rows: Vec<Option<Object>>,
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
            [] => Ok(Committed {
                xid: 0,
                rows: Vec::new(),
            }),
            [write] => self.commit_one(write).await,
            writes => self.commit_all(writes).await,
        };
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
                xid: 0,
                rows: vec![None],
            }),
            Some(row) => {
                let (object, xid) = written(write, &columns, row)?;
                Ok(Committed {
                    xid,
                    rows: vec![Some(object)],
                })
            }
        }
    }

    async fn commit_all(&self, writes: &[Write]) -> Result<Committed, Error> {
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
                transaction.finish("COMMIT", Phase::Commit).await?;
                Ok(committed)
            }
            Err(error) => {
                // If this fails too the connection is closed, which rolls back as well.
                let _ = transaction.finish("ROLLBACK", Phase::BeforeCommit).await;
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

    /// Ends the transaction and gives the connection back to the pool.
    async fn finish(mut self, command: &str, phase: Phase) -> Result<(), Error> {
        let ended = self.client().batch_execute(command).await;
        ended.map_err(|source| Error::from_postgres(source, phase))?;
        self.client = None;
        Ok(())
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
    let mut committed = Committed {
        xid: 0,
        rows: Vec::with_capacity(writes.len()),
    };
    for (index, ((write, (_, columns)), rows)) in
        writes.iter().zip(statements).zip(rows).enumerate()
    {
        let row = rows.first().ok_or(Error::NoRow { index })?;
        let (object, xid) = written(write, columns, row)?;
        committed.xid = xid;
        committed.rows.push(Some(object));
    }
    Ok(committed)
}

/// The object that a write's row shows, and the transaction's id behind it.
fn written(write: &Write, columns: &[Column<'_>], row: &Row) -> Result<(Object, u32), Error> {
    let object = row::from_query(&write.class, columns, None, row)?;
    let xid: &str = row
        .try_get(columns.len())
        .map_err(|source| Error::Database { source })?;
    let xid: u64 = xid.parse().expect("xid8 prints as a decimal number");
    Ok((object, (xid & u64::from(u32::MAX)) as u32))
}
