//! Writes, on rows.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidegate_parse_protocol::{Access, ErrorCode, Object};
use tidegate_storage::{Error, Write};

use crate::fixture::{Fixture, delete, insert, object, pointer, update};

/// The object's own fields.
fn fields(object: &Object) -> Value {
    let own = |name: &&String| !matches!(name.as_str(), "objectId" | "createdAt" | "updatedAt");
    Value::Object(
        object
            .iter()
            .filter(|(name, _)| own(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

#[tokio::test]
async fn operations_do_what_they_do_to_an_object_in_memory() {
    let fixture = Fixture::new().await;
    let body = json!({
        "n": 5, "s": "x", "tags": [1, 2, 2, "a"], "o": {"a": {"x": 1}, "gone": 1, "n": 1, "list": [1]}, "none": [1],
        "u": pointer("_User", "u1"), "fresh": 1, "list": [1],
    });
    let class = fixture.create("Order", "start", body.clone()).await;
    let cases = [
        json!({"n": {"__op": "Increment", "amount": 2}}),
        json!({"n": {"__op": "Increment", "amount": -0.5}, "s": {"__op": "Delete"}}),
        json!({"s": null}),
        json!({"tags": {"__op": "Add", "objects": [2, "b", "b"]}}),
        json!({"tags": {"__op": "AddUnique", "objects": [3, 2, "c", 3, "a"]}}),
        json!({"tags": {"__op": "Remove", "objects": [2, "zz"]}}),
        json!({"tags": {"__op": "AddUnique", "objects": [{"k": 1}, {"k": 1}]}}),
        json!({"tags": {"__op": "Remove", "objects": [1, 2, "a"]}}),
        json!({"o.a": 7}),
        json!({"o.a.x": {"__op": "Increment", "amount": 1}, "o.a.y": "new", "o.gone": {"__op": "Delete"}, "o.n": {"__op": "Increment", "amount": 4}}),
        json!({"o.deep.er": [1], "o.list": {"__op": "Add", "objects": [2]}}),
        json!({"o": {"whole": true}, "o.part": 1}),
        json!({"o.a.y.z": 1}),
        json!({"u": pointer("_User", "u2"), "fresh": 2}),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let id = format!("o{number}");
        fixture
            .commit(insert(&class, &id, body.clone()))
            .await
            .unwrap();
        let expected = crate::fixture::changes(case.clone())
            .apply(&object(body.clone()))
            .unwrap();
        let committed = fixture
            .commit(update(&class, &id, case.clone()))
            .await
            .unwrap();
        let row = committed.rows[0].as_ref().unwrap();
        assert_eq!(fields(row), Value::Object(expected), "{case}");
        assert_eq!(row["updatedAt"], "2026-11-22T09:00:00.001Z");
        assert_eq!(row["createdAt"], "2026-11-22T09:00:00.000Z");
        assert_eq!(fixture.get(&class, &id).await.as_ref(), Some(row));
    }
}

#[tokio::test]
async fn operations_start_from_nothing() {
    let fixture = Fixture::new().await;
    let body = json!({
        "n": {"__op": "Increment", "amount": 2}, "tags": {"__op": "AddUnique", "objects": [1, 1, 2]},
        "others": {"__op": "Remove", "objects": [1]}, "o.a": 1,
    });
    let after = json!({"n": 2, "tags": [1, 2], "others": [], "o": {"a": 1}});
    let class = fixture.create("Order", "o1", body.clone()).await;
    assert_eq!(
        fields(&fixture.get(&class, "o1").await.unwrap()),
        after,
        "a create"
    );
    fixture
        .commit(insert(&class, "o2", json!({})))
        .await
        .unwrap();
    let committed = fixture.commit(update(&class, "o2", body)).await.unwrap();
    assert_eq!(
        fields(committed.rows[0].as_ref().unwrap()),
        after,
        "an update"
    );
}

#[tokio::test]
async fn increments_and_adds_of_many_writers_are_all_there() {
    let fixture = Fixture::new().await;
    let class = fixture
        .create("Counter", "c", json!({"n": 0, "tags": [], "o": {}}))
        .await;
    let step = |n: i32| {
        json!({
            "n": {"__op": "Increment", "amount": 1}, "tags": {"__op": "AddUnique", "objects": [n]},
            "o.n": {"__op": "Increment", "amount": 1},
        })
    };
    // With a message each: a row that waited for another writer is read again, its message is not.
    let with_message = |n| Write {
        message: Some(format!("m{n}")),
        ..update(&class, "c", step(n))
    };
    let commits = join_all((0..50).map(|n| fixture.commit(with_message(n)))).await;
    let xids: std::collections::HashSet<u32> = commits
        .into_iter()
        .map(|commit| commit.unwrap().xid)
        .collect();
    assert_eq!(xids.len(), 50);
    let counter = fixture.get(&class, "c").await.unwrap();
    assert_eq!(
        (
            &counter["n"],
            counter["tags"].as_array().unwrap().len(),
            &counter["o"]
        ),
        (&json!(50), 50, &json!({"n": 50}))
    );
}

#[tokio::test]
async fn writers_change_what_is_public_or_theirs() {
    let fixture = Fixture::new().await;
    let class = fixture
        .create(
            "Note",
            "n",
            json!({"t": 1, "ACL": {"u1": {"read": true, "write": true}}}),
        )
        .await;
    let as_user = |write: Write, user: &str| Write {
        access: Access::user(user, [""; 0]),
        ..write
    };
    for stranger in [
        as_user(update(&class, "n", json!({"t": 2})), "u2"),
        as_user(delete(&class, "n"), "u2"),
    ] {
        let committed = fixture.commit(stranger).await.unwrap();
        assert_eq!((committed.xid, committed.rows), (0, vec![None]));
    }
    let committed = fixture
        .commit(as_user(
            update(&class, "n", json!({"ACL": {"*": {"read": true}}})),
            "u1",
        ))
        .await
        .unwrap();
    assert_eq!(committed.rows[0].as_ref().unwrap()["_wperm"], json!([]));
    let locked_out = fixture
        .commit(as_user(delete(&class, "n"), "u1"))
        .await
        .unwrap();
    assert_eq!(locked_out.rows, [None]);
    let deleted = fixture.commit(delete(&class, "n")).await.unwrap();
    assert_eq!(deleted.rows[0].as_ref().unwrap()["t"], 1, "the row before");
    assert_eq!(fixture.get(&class, "n").await, None);
}

#[tokio::test]
async fn relations_are_written_with_their_object_or_not_at_all() {
    let fixture = Fixture::new().await;
    let op = |name: &str, ids: &[&str]| {
        let objects: Vec<_> = ids.iter().map(|id| pointer("Item", id)).collect();
        json!({"items": {"__op": name, "objects": objects}})
    };
    let class = fixture
        .create("Cart", "c", op("AddRelation", &["a", "b"]))
        .await;
    let members = async || {
        let mut ids = fixture
            .storage
            .related_ids(&class, "items", "c")
            .await
            .unwrap();
        ids.sort();
        ids.concat()
    };
    assert_eq!(members().await, "ab");
    fixture
        .commit(update(&class, "c", op("AddRelation", &["b", "c"])))
        .await
        .unwrap();
    fixture
        .commit(update(&class, "c", op("RemoveRelation", &["a", "zz"])))
        .await
        .unwrap();
    assert_eq!(members().await, "bc");
    let stranger = Write {
        access: Access::Principals(Vec::new()),
        ..update(&class, "c", op("AddRelation", &["x"]))
    };
    fixture
        .commit(update(&class, "c", json!({"ACL": {}})))
        .await
        .unwrap();
    assert_eq!(fixture.commit(stranger).await.unwrap().rows, [None]);
    assert_eq!(members().await, "bc");
}

#[tokio::test]
async fn several_writes_are_one_transaction() {
    let fixture = Fixture::new().await;
    let class = fixture.create("Order", "o1", json!({"n": 1})).await;
    let committed = fixture
        .storage
        .commit(vec![
            insert(&class, "o2", json!({"n": 2})),
            update(&class, "o2", json!({"n": 3})),
            delete(&class, "o1"),
        ])
        .await
        .unwrap();
    let shown: Vec<_> = committed
        .rows
        .iter()
        .map(|row| row.as_ref().unwrap()["n"].clone())
        .collect();
    assert_eq!(shown, [json!(2), json!(3), json!(1)]);
    assert_ne!(committed.xid, 0);
    assert_eq!(fixture.ids(&class, json!({})).await, ["o2"]);
    let missing = vec![
        insert(&class, "o4", json!({})),
        update(&class, "nope", json!({"n": 1})),
        delete(&class, "o2"),
    ];
    assert!(matches!(
        fixture.storage.commit(missing).await,
        Err(Error::NoRow { index: 1 })
    ));
    let duplicate = vec![
        insert(&class, "o4", json!({})),
        insert(&class, "o2", json!({})),
        delete(&class, "o2"),
    ];
    assert!(matches!(
        fixture.storage.commit(duplicate).await,
        Err(Error::Duplicate { .. })
    ));
    assert_eq!(
        fixture.ids(&class, json!({})).await,
        ["o2"],
        "neither did anything"
    );
    let many = (0..100)
        .map(|n| insert(&class, &format!("m{n}"), json!({"n": n})))
        .collect();
    assert_eq!(fixture.storage.commit(many).await.unwrap().rows.len(), 100);
    assert_eq!(fixture.storage.commit(Vec::new()).await.unwrap().xid, 0);
}

#[tokio::test]
async fn what_the_database_refuses_has_parse_s_words() {
    let fixture = Fixture::new().await;
    let user = fixture.storage.schema().class("_User").unwrap();
    let sign_up = |id: &str, name: &str, email: &str| {
        insert(&user, id, json!({"username": name, "email": email}))
    };
    fixture
        .commit(sign_up("u1", "ann", "ann@example.com"))
        .await
        .unwrap();
    let code = async |write| fixture.commit(write).await.unwrap_err().to_parse().code;
    assert_eq!(
        code(sign_up("u2", "ann", "other@example.com")).await,
        ErrorCode::USERNAME_TAKEN
    );
    assert_eq!(
        code(sign_up("u2", "bob", "ann@example.com")).await,
        ErrorCode::EMAIL_TAKEN
    );
    assert_eq!(
        code(sign_up("u1", "bob", "bob@example.com")).await,
        ErrorCode::DUPLICATE_VALUE
    );
    let anonymous = |id: &str| insert(&user, id, json!({"authData": {"anonymous": {"id": "7"}}}));
    fixture.commit(anonymous("u3")).await.unwrap();
    assert_eq!(code(anonymous("u4")).await, ErrorCode::DUPLICATE_VALUE);
    let class = fixture
        .create("Order", "o1", json!({"n": 1e308, "o": {"s": "text"}}))
        .await;
    let client = fixture.database.connect().await;
    client
        .batch_execute(r#"alter table "Order" add constraint positive check (n > 0)"#)
        .await
        .unwrap();
    assert_eq!(
        code(update(&class, "o1", json!({"n": -1}))).await,
        ErrorCode::VALIDATION_ERROR
    );
    let overflow = json!({"n": {"__op": "Increment", "amount": 1e308}});
    assert_eq!(
        code(update(&class, "o1", overflow)).await,
        ErrorCode::INCORRECT_TYPE
    );
    let text = json!({"o.s": {"__op": "Increment", "amount": 1}});
    assert_eq!(
        code(update(&class, "o1", text)).await,
        ErrorCode::INCORRECT_TYPE
    );
}

#[tokio::test]
async fn a_statement_that_takes_too_long_writes_nothing() {
    let fixture = Fixture::new().await;
    let class = fixture.create("Order", "o1", json!({"n": 1})).await;
    let hasty = tidegate_storage::Config {
        statement_timeout_ms: 50,
        ..crate::fixture::config(fixture.database.url())
    };
    let hasty = tidegate_storage::Storage::connect(hasty).await.unwrap();
    let mut client = fixture.database.connect().await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .execute(r#"select from "Order" for update"#, &[])
        .await
        .unwrap();
    let refused = hasty
        .commit(vec![update(&class, "o1", json!({"n": 2}))])
        .await;
    assert!(matches!(refused, Err(Error::Timeout)));
    transaction.rollback().await.unwrap();
    assert_eq!(fixture.get(&class, "o1").await.unwrap()["n"], 1);
}
