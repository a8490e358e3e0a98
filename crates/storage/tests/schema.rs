//! Classes and fields come into being once, in all processes.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;
use tidegate_parse_protocol::{ErrorCode, FieldType};
use tidegate_storage::{Captured, Error, SCHEMA_CHANNEL, Storage};

use crate::fixture::{Fixture, PUBLICATION, config};

fn fields<const N: usize>(fields: [(&str, FieldType); N]) -> BTreeMap<String, FieldType> {
    fields
        .map(|(name, field_type)| (name.to_owned(), field_type))
        .into()
}

#[tokio::test]
async fn fields_are_added_and_types_are_kept() {
    let fixture = Fixture::new().await;
    let storage = &fixture.storage;
    storage
        .ensure_fields(
            "Order",
            &fields([("total", FieldType::Number)]),
            Captured::No,
        )
        .await
        .unwrap();
    let class = storage
        .ensure_fields(
            "Order",
            &fields([("name", FieldType::String)]),
            Captured::No,
        )
        .await
        .unwrap();
    assert!(class.fields.contains_key("total") && class.fields.contains_key("name"));
    let clash = storage
        .ensure_fields(
            "Order",
            &fields([("total", FieldType::String)]),
            Captured::No,
        )
        .await
        .unwrap_err();
    assert_eq!(
        clash.to_string(),
        "schema mismatch for Order.total; expected Number but got String"
    );
    assert_eq!(clash.to_parse().code, ErrorCode::INCORRECT_TYPE);
    let every_type = fields([
        ("s", FieldType::String),
        ("b", FieldType::Boolean),
        ("d", FieldType::Date),
        ("o", FieldType::Object),
        ("a", FieldType::Array),
        ("by", FieldType::Bytes),
        ("g", FieldType::GeoPoint),
        ("p", FieldType::Polygon),
        ("f", FieldType::File),
        (
            "u",
            FieldType::Pointer {
                target: "_User".into(),
            },
        ),
        (
            "r",
            FieldType::Relation {
                target: "_User".into(),
            },
        ),
    ]);
    storage
        .ensure_fields("Order", &every_type, Captured::No)
        .await
        .unwrap();
    let client = fixture.database.connect().await;
    let stored = client.query_one(
        r#"select "schema"->'fields'->'u' from "_SCHEMA" where "className" = 'Order'"#,
        &[],
    );
    let stored: serde_json::Value = stored.await.unwrap().get(0);
    assert_eq!(stored, json!({"type": "Pointer", "targetClass": "_User"}));
}

#[tokio::test]
async fn names_that_are_not_ours_to_take_are_refused() {
    let fixture = Fixture::new().await;
    let client = fixture.database.connect().await;
    client
        .batch_execute("create table invoices (id int)")
        .await
        .unwrap();
    let code = async |class: &str, field: &str| match fixture
        .storage
        .ensure_fields(class, &fields([(field, FieldType::String)]), Captured::No)
        .await
    {
        Err(Error::Refused(error)) => error.code,
        other => panic!("{class}.{field}: {other:?}"),
    };
    assert_eq!(code("invoices", "x").await, ErrorCode::INVALID_CLASS_NAME);
    assert_eq!(code("_SCHEMA", "x").await, ErrorCode::INVALID_CLASS_NAME);
    assert_eq!(
        code("_Join:users:_Role", "x").await,
        ErrorCode::INVALID_CLASS_NAME
    );
    assert_eq!(
        code("Order", "a\" text; drop table").await,
        ErrorCode::INVALID_KEY_NAME
    );
    assert_eq!(
        code("Order", &"x".repeat(64)).await,
        ErrorCode::INVALID_KEY_NAME
    );
    assert_eq!(
        code("_JobStatus", "x").await,
        ErrorCode::OPERATION_FORBIDDEN
    );
    let relation = fields([(
        &"x".repeat(60),
        FieldType::Relation {
            target: "_User".into(),
        },
    )]);
    let refused = fixture
        .storage
        .ensure_fields("Order", &relation, Captured::No)
        .await
        .unwrap_err();
    assert_eq!(refused.to_parse().code, ErrorCode::INVALID_KEY_NAME);
    assert!(
        fixture.storage.schema().class("Order").is_none(),
        "nothing of it stays"
    );
}

#[tokio::test]
async fn many_processes_add_fields_at_once() {
    let fixture = Fixture::new().await;
    let others = join_all((0..4).map(|_| Storage::connect(config(fixture.database.url())))).await;
    let others: Vec<Storage> = others.into_iter().map(Result::unwrap).collect();
    let additions = others.iter().enumerate().flat_map(|(process, storage)| {
        (0..4).map(move |n| async move {
            let of_own = format!("f{process}x{n}");
            storage
                .ensure_fields(
                    "Race",
                    &fields([("shared", FieldType::Number), (&of_own, FieldType::String)]),
                    Captured::No,
                )
                .await
        })
    });
    for class in join_all(additions).await {
        assert!(class.unwrap().fields.contains_key("shared"));
    }
    let class = fixture
        .storage
        .reload_schema()
        .await
        .unwrap()
        .class("Race")
        .unwrap();
    assert_eq!(
        class
            .fields
            .keys()
            .filter(|name| name.starts_with('f'))
            .count(),
        16
    );
    // Two that want one field with two types: one of them gets it.
    let wants = [FieldType::Number, FieldType::String]
        .into_iter()
        .zip(&others);
    let wants = wants.map(|(field_type, storage)| async move {
        storage
            .ensure_fields("Race", &fields([("contested", field_type)]), Captured::No)
            .await
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(wants).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1));
    assert!(matches!(lost[0], Err(Error::FieldType { .. })));
}

#[tokio::test]
async fn a_change_is_heard_by_other_processes() {
    let fixture = Fixture::new().await;
    let other = Storage::connect(config(fixture.database.url()))
        .await
        .unwrap();
    let mut seen = other.watch_schema();
    fixture
        .storage
        .ensure_fields(
            "Order",
            &fields([("total", FieldType::Number)]),
            Captured::No,
        )
        .await
        .unwrap();
    seen.wait_for(|schema| schema.class("Order").is_some())
        .await
        .unwrap();
    // As Parse Server does it.
    let client = fixture.database.connect().await;
    client
        .batch_execute(&format!(
            r#"alter table "Order" add column "note" text;
               update "_SCHEMA" set "schema" = jsonb_set("schema", '{{fields,note}}', '{{"type":"String"}}')
               where "className" = 'Order';
               notify "{SCHEMA_CHANNEL}", '{{"senderId":"another"}}';"#
        ))
        .await
        .unwrap();
    seen.wait_for(|schema| {
        schema
            .class("Order")
            .is_some_and(|class| class.fields.contains_key("note"))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_captured_class_joins_the_publication_in_the_same_transaction() {
    let fixture = Fixture::new().await;
    let storage = &fixture.storage;
    let total = fields([("total", FieldType::Number)]);
    storage
        .ensure_fields("Before", &total, Captured::WholeRows)
        .await
        .unwrap();
    assert!(!storage.schema().has_publication());
    let client = fixture.database.connect().await;
    client
        .batch_execute(&format!("create publication {PUBLICATION}"))
        .await
        .unwrap();
    storage
        .ensure_fields("Before", &total, Captured::WholeRows)
        .await
        .unwrap();
    storage
        .ensure_fields("New", &total, Captured::WholeRows)
        .await
        .unwrap();
    storage
        .ensure_fields("Other", &total, Captured::No)
        .await
        .unwrap();
    let schema = storage.schema();
    assert!(
        schema.is_captured("Before") && schema.is_captured("New") && !schema.is_captured("Other")
    );
    let sql = "select array_agg(tablename::text order by 1) from pg_publication_tables where pubname = $1";
    let published: Vec<String> = client.query_one(sql, &[&PUBLICATION]).await.unwrap().get(0);
    assert_eq!(published, ["Before", "New"]);
    // Both again, from another process that has not heard of it.
    let other = Storage::connect(config(fixture.database.url()))
        .await
        .unwrap();
    other
        .ensure_fields("New", &total, Captured::WholeRows)
        .await
        .unwrap();
}

#[tokio::test]
async fn capture_may_publish_the_same_table_at_the_same_moment() {
    let fixture = Fixture::new().await;
    let mut client = fixture.database.connect().await;
    let create = format!("create publication {PUBLICATION}");
    client.batch_execute(&create).await.unwrap();
    let total = fields([("total", FieldType::Number)]);
    let storage = &fixture.storage;
    storage
        .ensure_fields("Order", &total, Captured::No)
        .await
        .unwrap();
    let capture = client.transaction().await.unwrap();
    let publish = format!(r#"alter publication {PUBLICATION} add table "Order""#);
    capture.batch_execute(&publish).await.unwrap();
    let release = async {
        let watcher = fixture.database.connect().await;
        let waiting = "select exists (select from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock')";
        while !watcher
            .query_one(waiting, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {}
        capture.commit().await.unwrap();
    };
    let ensure = storage.ensure_fields("Order", &total, Captured::WholeRows);
    let (ensured, ()) = futures_util::join!(ensure, release);
    ensured.unwrap();
    assert!(storage.schema().is_captured("Order"));
}

#[tokio::test]
async fn the_rows_of_plain_tables_are_shown_by_their_columns_types() {
    let fixture = Fixture::new().await;
    let client = fixture.database.connect().await;
    client
        .batch_execute(&format!(
            "create schema billing; create table billing.invoices (id int primary key, paid bool);
             create publication {PUBLICATION} for table billing.invoices"
        ))
        .await
        .unwrap();
    fixture.storage.reload_schema().await.unwrap();
    let row = BTreeMap::from([
        ("id".to_owned(), Some("7".to_owned())),
        ("paid".to_owned(), Some("t".to_owned())),
    ]);
    let object = fixture
        .storage
        .plain_row_to_object("billing", "invoices", &row)
        .await
        .unwrap();
    assert_eq!(
        serde_json::Value::Object(object),
        json!({"id": 7, "paid": true})
    );
}

#[tokio::test]
async fn whole_rows_are_published_only_where_asked_for_and_what_was_is_remembered() {
    let fixture = Fixture::new().await;
    let client = fixture.database.connect().await;
    client
        .batch_execute(&format!(
            "create schema tidegate; create table tidegate.table_identity (table_oid oid primary key, identity text);
             create publication {PUBLICATION}"
        ))
        .await
        .unwrap();
    let (storage, none) = (&fixture.storage, Default::default());
    let identity = async |class: &str| {
        let sql = "select c.relreplident::text, k.identity from pg_class c
                   left join tidegate.table_identity k on k.table_oid = c.oid where c.relname = $1";
        let row = client.query_one(sql, &[&class]).await.unwrap();
        (row.get::<_, String>(0), row.get::<_, Option<String>>(1))
    };
    storage
        .ensure_fields("Order", &none, Captured::Rows)
        .await
        .unwrap();
    assert_eq!(identity("Order").await, ("d".into(), None));
    storage
        .ensure_fields("Order", &none, Captured::WholeRows)
        .await
        .unwrap();
    assert_eq!(
        identity("Order").await,
        ("f".into(), Some("default".into()))
    );
    // A class whose owner took away its identity: its updates would fail.
    storage
        .ensure_fields("Bare", &none, Captured::No)
        .await
        .unwrap();
    client
        .batch_execute(r#"alter table "Bare" replica identity nothing"#)
        .await
        .unwrap();
    storage
        .ensure_fields("Bare", &none, Captured::Rows)
        .await
        .unwrap();
    assert_eq!(identity("Bare").await, ("f".into(), Some("nothing".into())));
    client
        .batch_execute(r#"update "Bare" set "createdAt" = now()"#)
        .await
        .unwrap();
}
