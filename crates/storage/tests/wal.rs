//! What the writes leave in the WAL, read from a real slot.

use serde_json::json;
use tidegate_parse_protocol::Access;
use tidegate_storage::{Captured, Write};
use tokio_postgres::Client;

use crate::fixture::{
    Fixture, PREFIX, PUBLICATION, changes, delete, insert, object, pointer, types, update,
};
use crate::pgoutput::{Change, Row, changes_of};

/// A storage whose captured classes are read through a slot.
async fn captured() -> (Fixture, Client) {
    let database = tidegate_testkit::Postgres::shared().create_database().await;
    let client = database.connect().await;
    client
        .batch_execute(&format!("create publication {PUBLICATION}"))
        .await
        .unwrap();
    let fixture = Fixture::on(database).await;
    (fixture, client)
}

/// Makes the slot; its name is the database's, for slots belong to the whole server.
async fn follow(client: &Client) {
    client
        .execute(
            "select pg_create_logical_replication_slot(current_database(), 'pgoutput')",
            &[],
        )
        .await
        .unwrap();
}

fn with_message(write: Write, message: &str) -> Write {
    Write {
        message: Some(message.to_owned()),
        ..write
    }
}

/// `begin message:m1 insert:Order commit`.
fn shape(changes: &[Change]) -> String {
    let words = changes.iter().map(|change| match change {
        Change::Begin { .. } => "begin".to_owned(),
        Change::Message { prefix, content } => {
            assert_eq!(prefix, PREFIX);
            format!("message:{content}")
        }
        Change::Insert(table, _) => format!("insert:{table}"),
        Change::Update(table, _) => format!("update:{table}"),
        Change::Delete(table) => format!("delete:{table}"),
        Change::Commit => "commit".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_message_precedes_its_row() {
    let (fixture, client) = captured().await;
    let body = json!({"n": 1, "ACL": {"u1": {"write": true}}});
    let class = fixture
        .storage
        .ensure_fields("Order", &types(&changes(body.clone())), Captured::WholeRows)
        .await
        .unwrap();
    // Many rows: the plans are those of a table in use.
    let rows = r#"insert into "Order" ("objectId", n) select 'x' || i, i from generate_series(1, 20000) i"#;
    client
        .batch_execute(&format!("{rows}; analyze \"Order\""))
        .await
        .unwrap();
    follow(&client).await;
    let user = |write: Write| Write {
        access: Access::user("u1", ["R"]),
        ..write
    };
    // Often enough that Postgres takes its generic plan too.
    for round in 0..8 {
        let id = format!("o{round}");
        let writes = [
            (
                with_message(insert(&class, &id, body.clone()), "m1"),
                "insert",
            ),
            (
                with_message(
                    update(
                        &class,
                        &id,
                        json!({"n": {"__op": "Increment", "amount": 1}}),
                    ),
                    "m2",
                ),
                "update",
            ),
            (
                with_message(user(update(&class, &id, json!({"n": 2}))), "m3"),
                "update",
            ),
            (with_message(user(delete(&class, &id)), "m4"), "delete"),
        ];
        for (write, operation) in writes {
            let message = write.message.clone().unwrap();
            let committed = fixture.commit(write).await.unwrap();
            let changes = changes_of(&client).await;
            assert_eq!(
                shape(&changes),
                format!("begin message:{message} {operation}:Order commit")
            );
            assert!(matches!(changes[0], Change::Begin { xid } if xid == committed.xid));
        }
    }
}

#[tokio::test]
async fn each_write_of_a_transaction_follows_its_own_message() {
    let (fixture, client) = captured().await;
    let class = fixture
        .storage
        .ensure_fields(
            "Order",
            &types(&changes(json!({"n": 1}))),
            Captured::WholeRows,
        )
        .await
        .unwrap();
    follow(&client).await;
    let committed = fixture
        .storage
        .commit(vec![
            with_message(insert(&class, "o1", json!({"n": 1})), "m1"),
            with_message(update(&class, "o1", json!({"n": 2})), "m2"),
            with_message(insert(&class, "o2", json!({"n": 1})), "m3"),
            with_message(delete(&class, "o1"), "m4"),
        ])
        .await
        .unwrap();
    let changes = changes_of(&client).await;
    assert_eq!(
        shape(&changes),
        "begin message:m1 insert:Order message:m2 update:Order message:m3 insert:Order message:m4 delete:Order commit"
    );
    assert!(matches!(changes[0], Change::Begin { xid } if xid == committed.xid));
    let nothing = vec![
        with_message(insert(&class, "o3", json!({"n": 1})), "m1"),
        with_message(delete(&class, "nope"), "m2"),
    ];
    fixture.storage.commit(nothing).await.unwrap_err();
    assert_eq!(
        shape(&changes_of(&client).await),
        "",
        "what was rolled back is not in the stream"
    );
}

#[tokio::test]
async fn members_of_a_relation_follow_the_row() {
    let (fixture, client) = captured().await;
    let body = json!({"items": {"__op": "AddRelation", "objects": [pointer("Item", "i1")]}});
    let class = fixture
        .storage
        .ensure_fields("Cart", &types(&changes(body.clone())), Captured::WholeRows)
        .await
        .unwrap();
    client
        .batch_execute(&format!(
            "alter publication {PUBLICATION} add table \"_Join:items:Cart\""
        ))
        .await
        .unwrap();
    follow(&client).await;
    fixture
        .commit(with_message(insert(&class, "c1", body), "m1"))
        .await
        .unwrap();
    assert_eq!(
        shape(&changes_of(&client).await),
        "begin message:m1 insert:Cart insert:_Join:items:Cart commit"
    );
    let remove = json!({"items": {"__op": "RemoveRelation", "objects": [pointer("Item", "i1")]}});
    fixture
        .commit(with_message(update(&class, "c1", remove), "m2"))
        .await
        .unwrap();
    assert_eq!(
        shape(&changes_of(&client).await),
        "begin message:m2 update:Cart delete:_Join:items:Cart commit"
    );
}

#[tokio::test]
async fn a_row_from_the_wal_is_the_object_that_a_query_finds() {
    let (fixture, client) = captured().await;
    let body = json!({
        "s": "it's \"\\ \n é", "n": 0.1, "whole": 7, "big": 1e300, "b": true, "off": false,
        "d": {"__type": "Date", "iso": "1969-12-31T23:59:59.999Z"}, "tags": ["x", null, {"k": [1]}], "o": {"a": 1.5},
        "by": {"__type": "Bytes", "base64": "AQI="}, "g": {"__type": "GeoPoint", "latitude": 1.25, "longitude": -0.1},
        "p": {"__type": "Polygon", "coordinates": [[0, 0.5], [0, 1], [1, 1e-7]]}, "f": {"__type": "File", "name": "a b.png"},
        "u": pointer("_User", "u1"), "r": {"__op": "AddRelation", "objects": [pointer("_User", "u1")]},
        "ACL": {"*": {"read": true}, "role:Big \"Team\", {x}": {"read": true, "write": true}},
    });
    let class = fixture
        .storage
        .ensure_fields("Thing", &types(&changes(body.clone())), Captured::WholeRows)
        .await
        .unwrap();
    follow(&client).await;
    let mut compared = 0;
    let mut compare = async |id: &str| {
        for change in changes_of(&client).await {
            if let Change::Insert(table, row) | Change::Update(table, row) = change {
                let class = fixture
                    .storage
                    .class_of_row(&table, &row)
                    .await
                    .unwrap()
                    .unwrap();
                let from_wal = fixture.storage.row_to_object(&class, &row).unwrap();
                assert_eq!(Some(from_wal), fixture.get(&class, id).await);
                compared += 1;
            }
        }
    };
    fixture.commit(insert(&class, "t1", body)).await.unwrap();
    compare("t1").await;
    fixture
        .commit(insert(&class, "t2", json!({})))
        .await
        .unwrap();
    compare("t2").await;
    client
        .batch_execute(
            r#"update "Thing" set n = 'NaN', big = '-Infinity', d = 'infinity', "createdAt" = '0044-03-15 BC',
                 "updatedAt" = '294276-01-01', o = '{"n": 1e1000}', tags = 'null', "_rperm" = '{NULL,"NULL",""}'
               where "objectId" = 't1'"#,
        )
        .await
        .unwrap();
    compare("t1").await;
    assert_eq!(compared, 3);
}

#[tokio::test]
async fn a_row_ahead_of_the_schema_makes_it_be_read_once() {
    let (fixture, client) = captured().await;
    fixture.create("Order", "o1", json!({"n": 1})).await;
    let row = |columns: &[&str]| -> Row {
        columns
            .iter()
            .map(|name| ((*name).to_owned(), Some("5".to_owned())))
            .collect()
    };
    // Nobody is told.
    client
        .batch_execute(
            r#"alter table "Order" add column "later" double precision;
               update "_SCHEMA" set "schema" = jsonb_set("schema", '{fields,later}', '{"type":"Number"}')
               where "className" = 'Order'"#,
        )
        .await
        .unwrap();
    let class = fixture
        .storage
        .class_of_row("Order", &row(&["n", "later"]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        fixture
            .storage
            .row_to_object(&class, &row(&["n", "later"]))
            .unwrap(),
        object(json!({"n": 5, "later": 5}))
    );
    let watch = fixture.storage.watch_schema();
    let read_for = |columns: &'static [&'static str]| {
        let mut watch = watch.clone();
        let storage = fixture.storage.clone();
        async move {
            watch.mark_unchanged();
            let class = storage.class_of_row("Order", &row(columns)).await.unwrap();
            assert!(class.is_some());
            watch.has_changed().unwrap()
        }
    };
    assert!(!read_for(&["n", "later"]).await, "all are known");
    assert!(read_for(&["n", "dropped"]).await, "one is not");
    assert!(
        !read_for(&["n", "dropped"]).await,
        "and it is no use to look again"
    );
}
