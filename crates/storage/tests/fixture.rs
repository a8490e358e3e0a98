//! A database of the test's own, with a storage on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_parse_protocol::{
    Access, Changes, ClassSchema, FieldOp, FieldType, Filter, Object, Query,
};
use tidegate_storage::{Action, Captured, Committed, Config, Error, Secrets, Storage, Write};
use tidegate_testkit::{Database, Postgres};

pub const PUBLICATION: &str = "tidegate";
pub const PREFIX: &str = "tidegate";
/// 2026-11-22T09:00:00Z
pub const NOW_MS: i64 = 1_795_338_000_000;

pub struct Fixture {
    // Dropped first: the database's drop would otherwise cut its connections.
    pub storage: Storage,
    pub database: Database,
}

pub fn config(url: &str) -> Config {
    Config {
        database_url: url.to_owned(),
        max_connections: 8,
        statement_timeout_ms: 30_000,
        publication: PUBLICATION.to_owned(),
        message_prefix: PREFIX.to_owned(),
    }
}

pub fn object(value: Value) -> Object {
    value.as_object().cloned().expect("an object")
}

pub fn changes(value: Value) -> Changes {
    Changes::from_rest(&object(value)).expect("valid changes")
}

pub fn pointer(class: &str, id: &str) -> Value {
    json!({"__type": "Pointer", "className": class, "objectId": id})
}

/// The types that these changes need.
pub fn types(changes: &Changes) -> BTreeMap<String, FieldType> {
    let types =
        changes
            .iter()
            .filter(|(name, _)| *name != "ACL")
            .map(|(name, op): (&str, &FieldOp)| {
                let root = name.split('.').next().expect("a first part");
                let nested = root != name;
                let field_type = if nested {
                    Some(FieldType::Object)
                } else {
                    op.field_type().expect("a known type")
                };
                Some((root.to_owned(), field_type?))
            });
    types.flatten().collect()
}

pub fn insert(class: &Arc<ClassSchema>, id: &str, value: Value) -> Write {
    write(
        class,
        id,
        Action::Insert {
            changes: changes(value),
            created_at_ms: NOW_MS,
        },
    )
}

pub fn update(class: &Arc<ClassSchema>, id: &str, value: Value) -> Write {
    write(
        class,
        id,
        Action::Update {
            changes: changes(value),
            updated_at_ms: NOW_MS + 1,
        },
    )
}

pub fn delete(class: &Arc<ClassSchema>, id: &str) -> Write {
    write(class, id, Action::Delete)
}

fn write(class: &Arc<ClassSchema>, id: &str, action: Action) -> Write {
    Write {
        class: class.clone(),
        object_id: id.to_owned(),
        action,
        access: Access::Master,
        message: None,
    }
}

impl Fixture {
    pub async fn new() -> Fixture {
        let database = Postgres::shared().create_database().await;
        Fixture::on(database).await
    }

    pub async fn on(database: Database) -> Fixture {
        let storage = Storage::connect(config(database.url()))
            .await
            .expect("a storage");
        Fixture { storage, database }
    }

    /// The class, with the fields that a create with this body needs.
    pub async fn class(&self, name: &str, body: Value) -> Arc<ClassSchema> {
        self.storage
            .ensure_fields(name, &types(&changes(body)), Captured::No)
            .await
            .expect("the class")
    }

    /// Creates class, fields and object.
    pub async fn create(&self, class: &str, id: &str, body: Value) -> Arc<ClassSchema> {
        let class = self.class(class, body.clone()).await;
        self.commit(insert(&class, id, body))
            .await
            .expect("an insert");
        class
    }

    pub async fn commit(&self, write: Write) -> Result<Committed, Error> {
        self.storage.commit(vec![write]).await
    }

    pub async fn get(&self, class: &ClassSchema, id: &str) -> Option<Object> {
        let query = Query::filtered(Filter::equal("objectId", id));
        self.storage
            .find(class, &query, &Access::Master, Secrets::Hidden)
            .await
            .expect("a find")
            .pop()
    }

    /// The ids that match, in order.
    pub async fn ids(&self, class: &ClassSchema, params: Value) -> Vec<String> {
        self.ids_for(class, params, &Access::Master).await
    }

    pub async fn ids_for(
        &self,
        class: &ClassSchema,
        params: Value,
        access: &Access,
    ) -> Vec<String> {
        let query = Query::from_rest(&object(params)).expect("a valid query");
        let found = self
            .storage
            .find(class, &query, access, Secrets::Hidden)
            .await
            .expect("a find");
        found
            .iter()
            .map(|object| object["objectId"].as_str().expect("an id").to_owned())
            .collect()
    }
}
