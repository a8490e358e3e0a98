//! The handle that everything else goes through.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use deadpool_postgres::Pool;
use tidegate_parse_protocol::{Access, ClassSchema, FieldType, Filter, Object, Query};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::ensure::{SchemaChange, missing};
use crate::listen::Listener;
use crate::param::Param;
use crate::query;
use crate::schema::Schema;
use crate::secret::Secrets;
use crate::sql::Statement;
use crate::{Error, listen, plain, pool, row, schema, system};

/// How often a schema change is tried while others, who do not take our lock, change the same table or publication.
const SCHEMA_CHANGE_ATTEMPTS: u32 = 4;

/// Dropped columns that are remembered; at this many all are forgotten, which costs a look at the schema for each.
const MAX_GONE_COLUMNS: usize = 10_000;

/// How to reach the database, and what of it is ours.
#[derive(Clone)]
pub struct Config {
    /// `postgres://user:password@host:port/database`. No TLS yet: `sslmode=require` is refused by the connection.
    pub database_url: String,
    /// Of the pool; one more connection listens for schema changes.
    pub max_connections: usize,
    /// Postgres ends a statement that runs longer: [`Error::Timeout`]. 0: never.
    pub statement_timeout_ms: u64,
    /// The publication that capture follows; classes that must be captured join it if it exists.
    pub publication: String,
    /// The prefix of the logical messages in front of rows.
    pub message_prefix: String,
}

/// What of a class's changes must be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    No,
    /// New rows, and the keys of old ones.
    Rows,
    /// Old rows too: the table has REPLICA IDENTITY FULL.
    WholeRows,
}

/// Tables as classes. Cheap to clone; all clones share one pool and one schema.
#[derive(Clone)]
pub struct Storage {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: Pool,
    schema: watch::Sender<Arc<Schema>>,
    /// One reload at a time: an older one must not overwrite a newer one.
    reloading: tokio::sync::Mutex<()>,
    publication: String,
    pub(crate) message_prefix: String,
    /// This process's name in notifications.
    sender_id: String,
    /// Columns, with their tables, of old rows that the schema no longer has: they must not cause a reload for each row.
    gone_columns: Mutex<HashSet<(String, String)>>,
    listener: OnceLock<AbortHandle>,
}

impl Storage {
    /// Connects, makes Parse's system tables where they are missing, reads the schema, and starts to listen for its
    /// changes. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Unusable`]: the URL or the database is not fit; stop.
    pub async fn connect(config: Config) -> Result<Storage, Error> {
        let connection =
            pool::connection_config(&config.database_url, config.statement_timeout_ms)?;
        let pool = pool::open(connection.clone(), config.max_connections)?;
        let mut client = pool::acquire(&pool).await?;
        let sender_id = system::introduce(&client).await?;
        system::ensure(&mut client, &sender_id).await?;
        let listener = Listener::open(&connection).await?;
        let schema = schema::load(&client, &config.publication).await?;
        drop(client);
        let inner = Arc::new(Inner {
            pool,
            schema: watch::Sender::new(Arc::new(schema)),
            reloading: tokio::sync::Mutex::default(),
            publication: config.publication,
            message_prefix: config.message_prefix,
            sender_id: sender_id.clone(),
            gone_columns: Mutex::default(),
            listener: OnceLock::new(),
        });
        let task = tokio::spawn(listen::run(
            listener,
            Arc::downgrade(&inner),
            connection,
            sender_id,
        ));
        let _ = inner.listener.set(task.abort_handle());
        Ok(Storage { inner })
    }

    /// The schema as this process knows it now. Other processes' changes arrive within moments.
    pub fn schema(&self) -> Arc<Schema> {
        self.inner.schema.borrow().clone()
    }

    /// The schema, and a wake-up whenever it was read again.
    pub fn watch_schema(&self) -> watch::Receiver<Arc<Schema>> {
        self.inner.schema.subscribe()
    }

    /// Reads the schema from the database.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn reload_schema(&self) -> Result<Arc<Schema>, Error> {
        self.inner.reload_after_change().await
    }

    /// Makes sure that a class exists and has these fields, and returns it as it then is.
    ///
    /// `captured`: also that its changes are published, if the publication exists. Without anything to do there
    /// is no SQL (one look while a publication is missed). Fields named `ACL`, and `password` of `_User`, every class has.
    ///
    /// # Errors
    /// [`Error::FieldType`]: a field has another type. [`Error::Refused`]: a name is not allowed, or is a table that is
    /// no class. [`Error::Unavailable`]: retry; also when a long transaction holds the table.
    pub async fn ensure_fields(
        &self,
        class: &str,
        fields: &BTreeMap<String, FieldType>,
        captured: Captured,
    ) -> Result<Arc<ClassSchema>, Error> {
        for _ in 1..SCHEMA_CHANGE_ATTEMPTS {
            match self.ensure_once(class, fields, captured).await {
                Err(Error::StaleSchema) => self.reload_schema().await?,
                result => return result,
            };
        }
        self.ensure_once(class, fields, captured).await
    }

    async fn ensure_once(
        &self,
        class: &str,
        fields: &BTreeMap<String, FieldType>,
        captured: Captured,
    ) -> Result<Arc<ClassSchema>, Error> {
        if let Some(known) = self.schema().class(class)
            && missing(&known, fields)?.is_empty()
            && !self.lacks(captured, class).await?
        {
            return Ok(known);
        }
        let mut client = pool::acquire(&self.inner.pool).await?;
        let change = SchemaChange::begin(&mut client).await?;
        change.ensure(class, fields).await?;
        change
            .capture(&self.inner.publication, class, captured)
            .await?;
        change.commit(&self.inner.sender_id).await?;
        drop(client);
        let schema = self.reload_schema().await?;
        schema.class(class).ok_or(Error::StaleSchema)
    }

    /// True when the class could be captured and is not. While there is no publication each call looks for it: capture
    /// makes it in its own time, and the first change after that must not be missed.
    async fn lacks(&self, captured: Captured, class: &str) -> Result<bool, Error> {
        let schema = self.schema();
        let has = match captured {
            Captured::No => true,
            Captured::Rows => schema.is_captured(class),
            Captured::WholeRows => schema.is_captured_whole(class),
        };
        if has || schema.has_publication() {
            return Ok(!has);
        }
        let statement = Statement {
            text: "select from pg_publication where pubname = $1::text".to_owned(),
            params: vec![Param::Text(self.inner.publication.clone())],
        };
        Ok(!pool::read(&self.inner.pool, &statement).await?.is_empty())
    }

    /// Finds objects: REST JSON, with the access list as `_rperm` and `_wperm`.
    ///
    /// Fields that `query.read` does not ask for are left out where they are columns; what is inside an Object and
    /// what is included is the caller's to shape. One round trip.
    ///
    /// # Errors
    /// [`Error::Refused`]: a `$regex` that is none. [`Error::StaleSchema`]: take the class again and retry.
    /// [`Error::Timeout`], [`Error::Unavailable`].
    pub async fn find(
        &self,
        class: &ClassSchema,
        query: &Query,
        access: &Access,
        secrets: Secrets,
    ) -> Result<Vec<Object>, Error> {
        if query.limit == Some(0) {
            return Ok(Vec::new());
        }
        let (statement, columns) = query::select(&self.schema(), class, query, access, secrets);
        let rows = self
            .or_reload(pool::read(&self.inner.pool, &statement).await)
            .await?;
        rows.iter()
            .map(|row| row::from_query(class, &columns, Some(&query.read), row))
            .collect()
    }

    /// Counts objects, exactly. Errors as [`Storage::find`].
    pub async fn count(
        &self,
        class: &ClassSchema,
        filter: &Filter,
        access: &Access,
    ) -> Result<u64, Error> {
        let statement = query::count(&self.schema(), class, filter, access);
        let rows = self
            .or_reload(pool::read(&self.inner.pool, &statement).await)
            .await?;
        let count: i64 = rows
            .first()
            .map_or(Ok(0), |row| row.try_get(0))
            .map_err(|source| Error::Database { source })?;
        Ok(count.unsigned_abs())
    }

    /// The object of a row as logical replication sends it: column → text, `None` for NULL. Equal to what
    /// [`Storage::find`] gives, without secrets; columns that are not in `row` are absent.
    ///
    /// Take the class from [`Storage::class_of_row`]: a row can be ahead of the schema.
    ///
    /// # Errors
    /// [`Error::StaleSchema`]: a text is not of its field's type.
    pub fn row_to_object(
        &self,
        class: &ClassSchema,
        row: &BTreeMap<String, Option<String>>,
    ) -> Result<Object, Error> {
        row::from_texts(class, row)
    }

    /// The object of a row of a table that is no class: every column an attribute.
    ///
    /// By the types that the columns have now: see this crate's README. A column that is not there any more is a text.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn plain_row_to_object(
        &self,
        schema: &str,
        table: &str,
        row: &BTreeMap<String, Option<String>>,
    ) -> Result<Object, Error> {
        let qualified = format!("{schema}.{table}");
        let mut known = self.schema();
        let has = |known: &Schema, column: &str| {
            let plain = known.plain_table(schema, table);
            plain.is_some_and(|plain| plain.has_column(column))
        };
        let is_new =
            |column: &&String| !has(&known, column) && !self.inner.is_gone(&qualified, column);
        if row.keys().any(|column| is_new(&column)) {
            known = self.inner.reload().await?;
            for column in row.keys().filter(|column| !has(&known, column)) {
                self.inner.remember_gone(&qualified, column);
            }
        }
        Ok(plain::to_object(known.plain_table(schema, table), row))
    }

    /// The class that a captured row of the classes' schema belongs to; `None`: its table is no class.
    ///
    /// Reads the schema first when the row has a column, or comes from a table, that it does not know.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn class_of_row(
        &self,
        table: &str,
        row: &BTreeMap<String, Option<String>>,
    ) -> Result<Option<Arc<ClassSchema>>, Error> {
        let schema = self.schema();
        let is_new = |column: &&String| {
            !schema.has_column(table, column) && !self.inner.is_gone(table, column)
        };
        let Some(column) = row.keys().find(is_new) else {
            return Ok(schema.class(table));
        };
        let schema = self.inner.reload().await?;
        if !schema.has_column(table, column) {
            self.inner.remember_gone(table, column);
        }
        Ok(schema.class(table))
    }

    /// Asks Postgres for a sign of life.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn ping(&self) -> Result<(), Error> {
        let client = pool::acquire(&self.inner.pool).await?;
        client.batch_execute("").await.map_err(Error::unavailable)
    }

    /// When a statement met a table that is not as the schema says, reads the schema before the caller tries again.
    pub(crate) async fn or_reload<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::StaleSchema) = &result {
            self.inner.pool.manager().statement_caches.clear();
            self.reload_schema().await?;
        }
        result
    }
}

impl Inner {
    pub(crate) async fn reload(&self) -> Result<Arc<Schema>, Error> {
        let _one_at_a_time = self.reloading.lock().await;
        let client = pool::acquire(&self.pool).await?;
        let schema = Arc::new(schema::load(&client, &self.publication).await?);
        self.schema.send_replace(schema.clone());
        Ok(schema)
    }

    /// A column that was dropped may be back.
    pub(crate) async fn reload_after_change(&self) -> Result<Arc<Schema>, Error> {
        self.gone_columns().clear();
        self.reload().await
    }

    fn is_gone(&self, table: &str, column: &str) -> bool {
        self.gone_columns()
            .contains(&(table.to_owned(), column.to_owned()))
    }

    fn remember_gone(&self, table: &str, column: &str) {
        let mut gone = self.gone_columns();
        if gone.len() >= MAX_GONE_COLUMNS {
            gone.clear();
        }
        gone.insert((table.to_owned(), column.to_owned()));
    }

    fn gone_columns(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.gone_columns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}
