//! The tables are the ones that Parse Server makes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_parse_protocol::FieldType;
use tidegate_storage::{Captured, Error, Storage};
use tidegate_testkit::Postgres;

use crate::fixture::{Fixture, config};

async fn columns(fixture: &Fixture, table: &str) -> Vec<String> {
    let client = fixture.database.connect().await;
    let sql = "select column_name || ' ' || case when data_type = 'ARRAY' then udt_name::text else data_type end
               from information_schema.columns where table_schema = 'public' and table_name = $1
               order by ordinal_position";
    client
        .query(sql, &[&table])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[tokio::test]
async fn an_empty_database_gets_the_system_tables() {
    let fixture = Fixture::new().await;
    let client = fixture.database.connect().await;
    let sql = "select tablename::text from pg_tables where schemaname = 'public' order by tablename::text collate \"C\"";
    let tables: Vec<String> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        tables,
        [
            "_Audience",
            "_GlobalConfig",
            "_GraphQLConfig",
            "_Hooks",
            "_Idempotency",
            "_JobSchedule",
            "_JobStatus",
            "_Join:roles:_Role",
            "_Join:users:_Role",
            "_PushStatus",
            "_Role",
            "_SCHEMA",
            "_User",
        ]
    );
    assert_eq!(
        columns(&fixture, "_User").await,
        [
            "objectId text",
            "createdAt timestamp with time zone",
            "updatedAt timestamp with time zone",
            "authData jsonb",
            "email text",
            "emailVerified boolean",
            "username text",
            "_hashed_password text",
            "_email_verify_token_expires_at timestamp with time zone",
            "_email_verify_token text",
            "_account_lockout_expires_at timestamp with time zone",
            "_failed_login_count double precision",
            "_perishable_token text",
            "_perishable_token_expires_at timestamp with time zone",
            "_password_changed_at timestamp with time zone",
            "_password_history jsonb",
            "_rperm _text",
            "_wperm _text",
        ]
    );
    assert_eq!(
        columns(&fixture, "_Join:users:_Role").await,
        ["relatedId character varying", "owningId character varying"]
    );
    assert_eq!(
        columns(&fixture, "_Hooks").await,
        [
            "className text",
            "functionName text",
            "triggerName text",
            "url text"
        ]
    );
    let listed: Vec<(String, Value)> = client
        .query(
            r#"select "className", "schema" from "_SCHEMA" order by 1"#,
            &[],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(
        listed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["_Role", "_User"]
    );
    assert_eq!(
        listed[0].1["fields"]["users"],
        json!({"type": "Relation", "targetClass": "_User"})
    );
    assert_eq!(
        listed[0].1["fields"]["_rperm"],
        json!({"type": "Array", "contents": {"type": "String"}})
    );
    assert_eq!(
        listed[1].1["fields"]["_hashed_password"],
        json!({"type": "String"})
    );
    assert!(
        listed[1].1["fields"].get("_perishable_token").is_none(),
        "Parse Server lists no such field"
    );
}

#[tokio::test]
async fn a_second_start_changes_nothing_and_many_can_start_at_once() {
    let database = Postgres::shared().create_database().await;
    let starts = (0..6).map(|_| Storage::connect(config(database.url())));
    for storage in futures_util::future::join_all(starts).await {
        assert!(storage.unwrap().schema().class("_User").is_some());
    }
    let client = database.connect().await;
    let catalog = "select max(xmin::text::bigint) from pg_class";
    let before: i64 = client.query_one(catalog, &[]).await.unwrap().get(0);
    Storage::connect(config(database.url())).await.unwrap();
    let after: i64 = client.query_one(catalog, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_database_that_parse_server_made_is_taken_as_it_is() {
    let database = Postgres::shared().create_database().await;
    let client = database.connect().await;
    // An old one: without newer system columns and classes, with a column that is listed nowhere.
    client
        .batch_execute(
            r#"create table "_SCHEMA" ("className" varchar(120), "schema" jsonb, "isParseClass" bool, primary key ("className"));
               create table "_User" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                 "username" text, "email" text, "emailVerified" boolean, "_hashed_password" text, "_rperm" text[], "_wperm" text[]);
               create table "Game" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                 "score" double precision, "extra" text, "_rperm" text[], "_wperm" text[]);
               insert into "_SCHEMA" values
                 ('_User', '{"className":"_User","fields":{"objectId":{"type":"String"},"username":{"type":"String"}}}', true),
                 ('Game', '{"className":"Game","fields":{"objectId":{"type":"String"},"createdAt":{"type":"Date"},
                   "updatedAt":{"type":"Date"},"score":{"type":"Number"},"_rperm":{"type":"Array","contents":{"type":"String"}},
                   "_wperm":{"type":"Array","contents":{"type":"String"}}},"classLevelPermissions":{"find":{"*":true}}}', true);
               insert into "Game" values ('g1', '2020-01-01', '2020-01-01', 7, 'x', null, null);"#,
        )
        .await
        .unwrap();
    let fixture = Fixture::on(database).await;
    let game = fixture.storage.schema().class("Game").unwrap();
    assert!(game.class_level_permissions.is_some());
    assert_eq!(fixture.get(&game, "g1").await.unwrap()["score"], 7);
    let user = fixture.storage.schema().class("_User").unwrap();
    assert!(
        !user.fields.contains_key("authData"),
        "its column is not there"
    );
    assert!(
        user.fields.contains_key("_perishable_token"),
        "it was added"
    );
    let fields = BTreeMap::from([("authData".to_owned(), FieldType::Object)]);
    let user = fixture
        .storage
        .ensure_fields("_User", &fields, Captured::No)
        .await
        .unwrap();
    assert!(user.fields.contains_key("authData"));
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let postgres = Postgres::shared();
    let database = postgres.create_database().await;
    let client = database.connect_as_superuser().await;
    let name = format!("{}_latin1", database.name());
    client
        .batch_execute(&format!(
            "create database {name} encoding 'LATIN1' locale 'C' template template0"
        ))
        .await
        .unwrap();
    let url = database.superuser_url().replace(database.name(), &name);
    let refused = Storage::connect(config(&url)).await.err();
    client
        .batch_execute(&format!("drop database {name} with (force)"))
        .await
        .unwrap();
    assert!(matches!(refused, Some(Error::Unusable { reason }) if reason.contains("LATIN1")));
}
