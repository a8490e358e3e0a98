//! Queries, on rows.

use serde_json::{Value, json};
use tidegate_parse_protocol::{Access, ErrorCode, Filter, Query, ReadOptions};
use tidegate_storage::{Captured, Error, Secrets};

use crate::fixture::{Fixture, insert, object, pointer};

/// A class with one object for each kind of value, and one without any.
async fn assorted() -> (
    Fixture,
    std::sync::Arc<tidegate_parse_protocol::ClassSchema>,
) {
    let fixture = Fixture::new().await;
    let a = json!({
        "s": "apple", "n": 1, "b": true, "d": {"__type": "Date", "iso": "2026-01-01T00:00:00.000Z"},
        "tags": ["x", 1, {"k": 1}, pointer("_User", "u1")], "o": {"a": {"b": "deep"}, "n": 5, "list": ["p", 2]},
        "by": {"__type": "Bytes", "base64": "AQI="}, "g": {"__type": "GeoPoint", "latitude": 1.5, "longitude": -2},
        "f": {"__type": "File", "name": "a.png"}, "u": pointer("_User", "u1"),
        "p": {"__type": "Polygon", "coordinates": [[0, 0], [0, 1], [1, 1]]},
        "r": {"__op": "AddRelation", "objects": [pointer("_User", "u1")]},
    });
    let class = fixture.create("Thing", "a", a).await;
    let b = json!({
        "s": "banana", "n": 2.5, "b": false, "d": {"__type": "Date", "iso": "2026-06-01T00:00:00.000Z"},
        "tags": ["y"], "o": {"a": {"b": "other"}, "n": 10, "list": []}, "u": pointer("_User", "u2"),
    });
    fixture.commit(insert(&class, "b", b)).await.unwrap();
    fixture
        .commit(insert(&class, "c", json!({})))
        .await
        .unwrap();
    (fixture, class)
}

#[tokio::test]
async fn every_constraint_finds_what_it_says() {
    let (fixture, class) = assorted().await;
    let date = |iso: &str| json!({"__type": "Date", "iso": iso});
    let cases = [
        (json!({}), "abc"),
        (json!({"s": "apple"}), "a"),
        (json!({"s": {"$ne": "apple"}}), "bc"),
        (json!({"s": {"$in": ["apple", "banana"]}}), "ab"),
        (json!({"s": {"$in": ["apple", null]}}), "ac"),
        (json!({"s": {"$nin": ["apple"]}}), "bc"),
        (json!({"s": {"$exists": false}}), "c"),
        (json!({"s": null}), "c"),
        (json!({"s": {"$gt": "apple"}}), "b"),
        (json!({"n": {"$gte": 1, "$lt": 2.5}}), "a"),
        (json!({"n": {"$in": [1, 2.5, "x"]}}), "ab"),
        (json!({"n": "1"}), ""),
        (json!({"b": false}), "b"),
        (json!({"b": {"$in": [true]}}), "a"),
        (json!({"d": date("2026-01-01T00:00:00.000Z")}), "a"),
        (
            json!({"d": {"$in": [date("2026-01-01T00:00:00Z"), date("2020-01-01T00:00:00Z")]}}),
            "a",
        ),
        (json!({"d": {"$gt": date("2026-01-01T00:00:00.000Z")}}), "b"),
        (json!({"tags": "x"}), "a"),
        (json!({"tags": 1}), "a"),
        (json!({"tags": {"$eq": {"k": 1}}}), "a"),
        (json!({"tags": {"$ne": "x"}}), "bc"),
        (json!({"tags": ["y"]}), "b"),
        (json!({"tags": pointer("_User", "u1")}), "a"),
        (json!({"tags": {"$in": ["x", "y"]}}), "ab"),
        (json!({"tags": {"$in": [1, {"k": 1}]}}), "a"),
        (json!({"tags": {"$all": ["x", 1]}}), "a"),
        (json!({"tags": {"$all": ["x", {"k": 1}]}}), "a"),
        (json!({"tags": {"$all": ["x", "y"]}}), ""),
        (json!({"tags": {"$gt": 0}}), "a"),
        (json!({"tags": {"$regex": "^[xy]$"}}), "ab"),
        (json!({"o.a.b": "deep"}), "a"),
        (json!({"o.a.b": {"$ne": "deep"}}), "bc"),
        (json!({"o.a.b": {"$in": ["deep", "other"]}}), "ab"),
        (json!({"o.n": {"$gt": 5}}), "b"),
        (json!({"o.n": {"$exists": true}}), "ab"),
        (json!({"o.list": "p"}), "a"),
        (json!({"o.list": []}), "b"),
        (json!({"o.list.0": "p"}), "a"),
        (json!({"o.a.b": {"$regex": "EE", "$options": "i"}}), "a"),
        (
            json!({"o": {"a": {"b": "deep"}, "n": 5, "list": ["p", 2]}}),
            "a",
        ),
        (json!({"u": pointer("_User", "u1")}), "a"),
        (
            json!({"u": {"$in": [pointer("_User", "u1"), pointer("_User", "u2")]}}),
            "ab",
        ),
        (json!({"f": {"__type": "File", "name": "a.png"}}), "a"),
        (
            json!({"g": {"__type": "GeoPoint", "latitude": 1.5, "longitude": -2}}),
            "a",
        ),
        (json!({"r": pointer("_User", "u1")}), "a"),
        (json!({"r": {"$ne": pointer("_User", "u1")}}), "bc"),
        (json!({"s": {"$regex": "^\\Qapp\\E"}}), "a"),
        (json!({"s": {"$regex": "AN", "$options": "i"}}), "b"),
        (json!({"$or": [{"s": "apple"}, {"n": 2.5}]}), "ab"),
        (json!({"$and": [{"s": "apple"}, {"n": 2.5}]}), ""),
        (json!({"$nor": [{"s": "apple"}]}), "bc"),
        (json!({"objectId": {"$in": ["a", "c"]}}), "ac"),
        (json!({"nope": {"$ne": 1}}), "abc"),
        (json!({"nope": 1}), ""),
    ];
    for (conditions, expected) in cases {
        let found = fixture
            .ids(&class, json!({"where": conditions, "order": "objectId"}))
            .await
            .concat();
        assert_eq!(found, expected, "{conditions}");
        let filter = Filter::from_rest(&object(conditions.clone())).unwrap();
        let count = fixture
            .storage
            .count(&class, &filter, &Access::Master)
            .await
            .unwrap();
        assert_eq!(count, expected.len() as u64, "{conditions}");
    }
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_sent() {
    let (fixture, class) = assorted().await;
    let expected = json!({
        "objectId": "a", "createdAt": "2026-11-22T09:00:00.000Z", "updatedAt": "2026-11-22T09:00:00.000Z",
        "s": "apple", "n": 1, "b": true, "d": {"__type": "Date", "iso": "2026-01-01T00:00:00.000Z"},
        "tags": ["x", 1, {"k": 1}, pointer("_User", "u1")], "o": {"a": {"b": "deep"}, "n": 5, "list": ["p", 2]},
        "by": {"__type": "Bytes", "base64": "AQI="}, "g": {"__type": "GeoPoint", "latitude": 1.5, "longitude": -2},
        "f": {"__type": "File", "name": "a.png"}, "u": pointer("_User", "u1"),
        "p": {"__type": "Polygon", "coordinates": [[0, 0], [0, 1], [1, 1], [0, 0]]},
        "r": {"__type": "Relation", "className": "_User"},
    });
    assert_eq!(
        Value::Object(fixture.get(&class, "a").await.unwrap()),
        expected
    );
    let empty = fixture.get(&class, "c").await.unwrap();
    assert_eq!(
        empty.keys().collect::<Vec<_>>(),
        ["createdAt", "objectId", "r", "updatedAt"]
    );
}

#[tokio::test]
async fn order_limit_skip_and_keys() {
    let (fixture, class) = assorted().await;
    let ids = async |params| fixture.ids(&class, params).await.concat();
    assert_eq!(ids(json!({"order": "n"})).await, "abc");
    assert_eq!(
        ids(json!({"order": "-n"})).await,
        "cba",
        "as Postgres and Parse Server on it: nothing comes last"
    );
    assert_eq!(
        ids(json!({"order": "-o.n", "where": {"n": {"$exists": true}}})).await,
        "ba",
        "10 is more than 5"
    );
    assert_eq!(
        ids(json!({"order": "objectId", "skip": 1, "limit": 1})).await,
        "b"
    );
    assert_eq!(ids(json!({"limit": 0})).await, "");
    let read = ReadOptions {
        keys: Some(vec!["s".into(), "o.n".into()]),
        ..ReadOptions::default()
    };
    let query = Query {
        read,
        ..Query::filtered(Filter::equal("objectId", "a"))
    };
    let found = fixture
        .storage
        .find(&class, &query, &Access::Master, Secrets::Hidden)
        .await
        .unwrap();
    assert_eq!(
        found[0].keys().collect::<Vec<_>>(),
        ["createdAt", "o", "objectId", "s", "updatedAt"]
    );
}

#[tokio::test]
async fn readers_see_what_is_public_or_theirs() {
    let fixture = Fixture::new().await;
    let class = fixture.create("Note", "public", json!({"t": "x"})).await;
    for (id, acl) in [
        ("mine", json!({"u1": {"read": true}})),
        ("team", json!({"role:Team": {"read": true}})),
        ("all", json!({"*": {"read": true}})),
        ("master", json!({})),
    ] {
        fixture
            .commit(insert(&class, id, json!({"t": "x", "ACL": acl})))
            .await
            .unwrap();
    }
    let seen = async |access: Access| {
        fixture
            .ids_for(
                &class,
                json!({"order": "objectId", "where": {"$or": [{"t": "x"}, {"t": "y"}]}}),
                &access,
            )
            .await
    };
    assert_eq!(seen(Access::public()).await, ["all", "public"]);
    assert_eq!(
        seen(Access::user("u1", ["Team"])).await,
        ["all", "mine", "public", "team"]
    );
    assert_eq!(seen(Access::Master).await.len(), 5);
    let master_only = fixture.get(&class, "master").await.unwrap();
    assert_eq!(
        (&master_only["_rperm"], &master_only["_wperm"]),
        (&json!([]), &json!([]))
    );
}

#[tokio::test]
async fn secrets_are_shown_only_when_asked_for() {
    let fixture = Fixture::new().await;
    let mut changes =
        crate::fixture::changes(json!({"sessionToken": "r:1", "user": pointer("_User", "u1")}));
    changes.set("installationId", "i");
    let class = fixture
        .storage
        .ensure_fields("_Session", &Default::default(), Captured::No)
        .await
        .unwrap();
    fixture
        .commit(insert(
            &class,
            "s1",
            json!({"sessionToken": "r:1", "installationId": "i"}),
        ))
        .await
        .unwrap();
    let query = Query::filtered(Filter::equal("sessionToken", "r:1"));
    for (secrets, shown) in [(Secrets::Hidden, false), (Secrets::Shown, true)] {
        let found = fixture
            .storage
            .find(&class, &query, &Access::Master, secrets)
            .await
            .unwrap();
        assert_eq!(found[0].contains_key("sessionToken"), shown);
        assert_eq!(found[0]["installationId"], "i");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_never_breaks_a_connection() {
    let (fixture, class) = assorted().await;
    let code = async |filter: Filter| {
        let result = fixture
            .storage
            .count(&class, &filter, &Access::Master)
            .await;
        match result {
            Err(Error::Refused(error)) => error.code,
            other => panic!("{other:?}"),
        }
    };
    let regex = Filter::from_rest(&object(json!({"s": {"$regex": "("}}))).unwrap();
    assert_eq!(code(regex).await, ErrorCode::INVALID_QUERY);
    assert_eq!(
        code(Filter::equal("s", "a\0b")).await,
        ErrorCode::INVALID_JSON
    );
    assert_eq!(
        code(Filter::equal(
            "d",
            json!({"__type": "Date", "iso": "-009000-01-01T00:00:00Z"})
        ))
        .await,
        ErrorCode::INCORRECT_TYPE
    );
    let hostile = object(json!({"o.a'; drop table \"Thing\"; --": 1, "o.\\": 1, "o.\"": 1}));
    let count = fixture
        .storage
        .count(
            &class,
            &Filter::from_rest(&hostile).unwrap(),
            &Access::Master,
        )
        .await;
    assert_eq!(count.unwrap(), 0);
    assert_eq!(fixture.ids(&class, json!({})).await.len(), 3);
}

#[tokio::test]
async fn values_that_only_sql_can_store_do_not_hide_a_row() {
    let (fixture, class) = assorted().await;
    let client = fixture.database.connect().await;
    client
        .batch_execute(
            r#"update "Thing" set n = 'NaN', d = 'infinity', o = '{"big": 1e1000}', tags = 'null', "updatedAt" = '20000-01-01'
               where "objectId" = 'a'"#,
        )
        .await
        .unwrap();
    let thing = fixture.get(&class, "a").await.unwrap();
    for field in ["n", "d", "o", "updatedAt"] {
        assert_eq!(thing[field], Value::Null, "{field}");
    }
    assert!(!thing.contains_key("tags"));
    // Arrays that are none.
    client
        .batch_execute(r#"update "Thing" set tags = '"x"' where "objectId" = 'b'"#)
        .await
        .unwrap();
    assert_eq!(
        fixture
            .ids(&class, json!({"where": {"tags": {"$eq": {"k": 1}}}}))
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn a_class_that_was_dropped_or_changed_meanwhile_is_stale_once() {
    let (fixture, class) = assorted().await;
    let client = fixture.database.connect().await;
    // Nobody is told.
    client
        .batch_execute(r#"alter table "Thing" drop column "s""#)
        .await
        .unwrap();
    let query = Query::all();
    let stale = fixture
        .storage
        .find(&class, &query, &Access::Master, Secrets::Hidden)
        .await;
    assert!(matches!(stale, Err(Error::StaleSchema)));
    let class = fixture.storage.schema().class("Thing").unwrap();
    let find = || {
        fixture
            .storage
            .find(&class, &query, &Access::Master, Secrets::Hidden)
    };
    assert_eq!(find().await.unwrap().len(), 3);
    // The statement is prepared; its result would have another type.
    client
        .batch_execute(r#"alter table "Thing" alter column "n" type text using n::text"#)
        .await
        .unwrap();
    assert!(matches!(find().await, Err(Error::StaleSchema)));
    assert_eq!(find().await.unwrap().len(), 3);
}
