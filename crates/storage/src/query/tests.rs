//! The translator: what SQL each query becomes.

use serde_json::{Value, json};
use tidegate_parse_protocol::{Field, Object};

use super::*;

fn field(field_type: FieldType) -> Field {
    Field::new(field_type)
}

fn order_class() -> ClassSchema {
    let mut class = ClassSchema::new("Order");
    let target = || "Item".to_owned();
    for (name, field_type) in [
        ("name", FieldType::String),
        ("total", FieldType::Number),
        ("paid", FieldType::Boolean),
        ("due", FieldType::Date),
        ("tags", FieldType::Array),
        ("info", FieldType::Object),
        ("place", FieldType::GeoPoint),
        ("main", FieldType::Pointer { target: target() }),
        ("items", FieldType::Relation { target: target() }),
    ] {
        class.fields.insert(name.to_owned(), field(field_type));
    }
    class
}

fn schema() -> Schema {
    let mut shop = ClassSchema::new("Shop");
    shop.fields.insert(
        "orders".into(),
        field(FieldType::Relation {
            target: "Order".into(),
        }),
    );
    Schema::of_classes([order_class(), shop])
}

fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap()
}

/// The condition that a `where` becomes, and its parameters.
fn translate(conditions: Value) -> (String, Vec<Param>) {
    let class = order_class();
    let filter = Filter::from_rest(&object(conditions)).unwrap();
    let statement = count(&schema(), &class, &filter, &Access::Master);
    let condition = statement
        .text
        .strip_prefix("SELECT count(*) FROM \"Order\"")
        .unwrap();
    (
        condition.strip_prefix(" WHERE ").unwrap_or("").to_owned(),
        statement.params,
    )
}

#[track_caller]
fn check(conditions: Value, sql: &str, params: impl IntoIterator<Item = Param>) {
    assert_eq!(
        translate(conditions),
        (sql.to_owned(), params.into_iter().collect())
    );
}

fn text(text: &str) -> Param {
    Param::Text(text.to_owned())
}

fn texts(texts: &[&str]) -> Param {
    Param::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn json_text(text: &str) -> Param {
    Param::Json(text.to_owned())
}

fn pointer(class: &str, id: &str) -> Value {
    json!({"__type": "Pointer", "className": class, "objectId": id})
}

#[test]
fn scalars_are_compared_in_the_type_of_their_column() {
    let due = json!({"__type": "Date", "iso": "1970-01-01T00:00:01.000Z"});
    check(json!({}), "", []);
    check(json!({"name": "x"}), "\"name\" = $1::text", [text("x")]);
    check(
        json!({"objectId": "a"}),
        "\"objectId\" = $1::text",
        [text("a")],
    );
    check(
        json!({"total": {"$gte": 3}}),
        "\"total\" >= $1::double precision",
        [Param::Number(3.0)],
    );
    check(
        json!({"paid": true}),
        "\"paid\" = $1::boolean",
        [Param::Boolean(true)],
    );
    check(
        json!({"due": {"$lt": due}}),
        "\"due\" < $1::timestamptz",
        [Param::Timestamp(1000)],
    );
    check(
        json!({"createdAt": {"$gt": "1970-01-01T00:00:01Z"}}),
        "\"createdAt\" > $1::timestamptz",
        [Param::Timestamp(1000)],
    );
    check(
        json!({"main": pointer("Item", "i")}),
        "\"main\" = $1::text",
        [text("i")],
    );
    check(
        json!({"total": {"$gt": 1, "$lt": 5}}),
        "(\"total\" > $1::double precision AND \"total\" < $2::double precision)",
        [Param::Number(1.0), Param::Number(5.0)],
    );
    let place = json!({"__type": "GeoPoint", "latitude": 1, "longitude": 2});
    check(
        json!({"place": place}),
        "\"place\" ~= $1::point",
        [Param::Point(crate::param::Point { x: 2.0, y: 1.0 })],
    );
}

#[test]
fn a_value_of_another_type_matches_nothing() {
    for conditions in [
        json!({"total": "5"}),
        json!({"name": 5}),
        json!({"name": {"$gt": 5}}),
        json!({"main": pointer("Other", "i")}),
        json!({"info": {"$gt": 1}}),
        json!({"place": {"$lt": 1}}),
        json!({"total": {"$all": []}}),
    ] {
        check(conditions, "FALSE", []);
    }
    check(json!({"total": {"$ne": "5"}}), "(FALSE) IS NOT TRUE", []);
}

#[test]
fn null_is_a_missing_value_and_a_missing_value_is_not_equal() {
    check(json!({"name": null}), "\"name\" IS NULL", []);
    check(
        json!({"name": {"$exists": true}}),
        "\"name\" IS NOT NULL",
        [],
    );
    check(
        json!({"name": {"$ne": "x"}}),
        "(\"name\" = $1::text) IS NOT TRUE",
        [text("x")],
    );
    check(
        json!({"name": {"$nin": ["x"]}}),
        "(\"name\" = ANY($1::text[])) IS NOT TRUE",
        [texts(&["x"])],
    );
    check(
        json!({"name": {"$in": ["x", null]}}),
        "(\"name\" IS NULL OR \"name\" = ANY($1::text[]))",
        [texts(&["x"])],
    );
    check(
        json!({"$nor": [{"name": "x"}, {"total": 1}]}),
        "((\"name\" = $1::text OR \"total\" = $2::double precision)) IS NOT TRUE",
        [text("x"), Param::Number(1.0)],
    );
}

#[test]
fn a_field_that_does_not_exist_is_missing_in_every_object() {
    check(json!({"nope": 1}), "FALSE", []);
    check(json!({"nope": null}), "", []);
    check(json!({"nope": {"$ne": 1}}), "", []);
    check(json!({"nope": {"$exists": true}}), "FALSE", []);
    check(json!({"name.inside": 1}), "FALSE", []);
}

#[test]
fn lists_are_one_parameter() {
    check(
        json!({"total": {"$in": [1, "x", 2]}}),
        "\"total\" = ANY($1::double precision[])",
        [Param::Numbers(vec![1.0, 2.0])],
    );
    check(
        json!({"main": {"$in": [pointer("Item", "a"), pointer("Item", "b")]}}),
        "\"main\" = ANY($1::text[])",
        [texts(&["a", "b"])],
    );
    check(
        json!({"_rperm": {"$in": ["*", null]}}),
        "(\"_rperm\" IS NULL OR \"_rperm\" && $1::text[])",
        [texts(&["*"])],
    );
}

#[test]
fn an_array_equals_what_it_holds() {
    let elements = "jsonb_array_elements(CASE jsonb_typeof(\"tags\") WHEN 'array' THEN \"tags\" ELSE '[]'::jsonb END)";
    check(
        json!({"tags": "x"}),
        "\"tags\" @> $1::jsonb",
        [json_text("[\"x\"]")],
    );
    check(
        json!({"tags": ["x"]}),
        "\"tags\" = $1::jsonb",
        [json_text("[\"x\"]")],
    );
    check(
        json!({"tags": {"$ne": "x"}}),
        "(\"tags\" @> $1::jsonb) IS NOT TRUE",
        [json_text("[\"x\"]")],
    );
    check(
        json!({"tags": {"$eq": {"a": 1}}}),
        &format!("EXISTS (SELECT 1 FROM {elements} _e WHERE _e = $1::jsonb)"),
        [json_text("{\"a\":1}")],
    );
    check(
        json!({"tags": {"$in": ["x", "y"]}}),
        "\"tags\" ?| $1::text[]",
        [texts(&["x", "y"])],
    );
    check(
        json!({"tags": {"$in": [1, "y"]}}),
        &format!(
            "EXISTS (SELECT 1 FROM jsonb_array_elements($1::jsonb) _v WHERE _v IN (SELECT {elements}))"
        ),
        [json_text("[1,\"y\"]")],
    );
    check(
        json!({"tags": {"$all": ["x", 1]}}),
        "\"tags\" @> $1::jsonb",
        [json_text("[\"x\",1]")],
    );
    check(json!({"tags": {"$all": []}}), "FALSE", []);
    check(
        json!({"tags": {"$gt": 1}}),
        &format!(
            "EXISTS (SELECT 1 FROM {elements} _e WHERE (jsonb_typeof(_e) = 'number' AND _e > $1::jsonb))"
        ),
        [json_text("1")],
    );
}

#[test]
fn paths_reach_into_objects() {
    let inside = "(\"info\"->'a'->'b')";
    check(
        json!({"info.a.b": "x"}),
        &format!("({inside} = $1::jsonb OR {inside} @> $2::jsonb)"),
        [json_text("\"x\""), json_text("[\"x\"]")],
    );
    check(
        json!({"info.a": {"$exists": false}}),
        "COALESCE((\"info\"->'a'), 'null'::jsonb) = 'null'::jsonb",
        [],
    );
    check(
        json!({"info.a": {"$gt": 5}}),
        "(jsonb_typeof((\"info\"->'a')) = 'number' AND (\"info\"->'a') > $1::jsonb)",
        [json_text("5")],
    );
    check(
        json!({"tags.0": {"$regex": "^x"}}),
        "(\"tags\" #>> $1::text[]) ~ $2::text",
        [texts(&["0"]), text("(?p)^x")],
    );
    check(
        json!({"info.it's": null}),
        "COALESCE((\"info\"->'it''s'), 'null'::jsonb) = 'null'::jsonb",
        [],
    );
}

#[test]
fn a_provider_s_user_id_is_compared_as_its_unique_index_has_it() {
    let class = ClassSchema::new("_User");
    let filter = Filter::from_rest(&object(json!({"authData.github.id": "7"}))).unwrap();
    let statement = count(&schema(), &class, &filter, &Access::Master);
    assert_eq!(
        statement.text,
        "SELECT count(*) FROM \"_User\" WHERE (\"authData\"->'github'->>'id') = $1::text"
    );
}

#[test]
fn relations_are_looked_up_in_their_join_table() {
    check(
        json!({"items": pointer("Item", "i")}),
        "\"objectId\" IN (SELECT \"owningId\" FROM \"_Join:items:Order\" WHERE \"relatedId\" = ANY($1::text[]))",
        [texts(&["i"])],
    );
    let members = "\"objectId\" IN (SELECT \"relatedId\" FROM \"_Join:orders:Shop\" WHERE \"owningId\" = $1::text)";
    check(
        json!({"$relatedTo": {"object": pointer("Shop", "s"), "key": "orders"}}),
        members,
        [text("s")],
    );
    check(
        json!({"$relatedTo": {"object": pointer("Shop", "s"), "key": "x\" or"}}),
        "FALSE",
        [],
    );
}

#[test]
fn readers_see_what_is_public_or_theirs() {
    let class = order_class();
    let access = Access::Principals(vec!["*".into(), "u1".into()]);
    let filter = Filter::equal("name", "x");
    let statement = count(&schema(), &class, &filter, &access);
    assert_eq!(
        statement.text,
        "SELECT count(*) FROM \"Order\" WHERE \"name\" = $1::text AND (\"_rperm\" IS NULL OR \"_rperm\" && $2::text[])"
    );
    let hooks = ClassSchema::new("_Hooks");
    let statement = count(&schema(), &hooks, &Filter::all(), &access);
    assert_eq!(
        statement.text,
        "SELECT count(*) FROM \"_Hooks\" WHERE FALSE"
    );
}

#[test]
fn alternatives_do_not_widen_what_a_reader_sees() {
    let class = order_class();
    let filter = Filter::from_rest(&object(json!({"$or": [{"name": "x"}, {"total": 1}]}))).unwrap();
    let statement = count(&schema(), &class, &filter, &Access::public());
    assert_eq!(
        statement.text,
        "SELECT count(*) FROM \"Order\" WHERE (\"name\" = $1::text OR \"total\" = $2::double precision) \
         AND (\"_rperm\" IS NULL OR \"_rperm\" && $3::text[])"
    );
}

#[test]
fn a_find_has_columns_order_and_limits() {
    let class = order_class();
    let params = object(
        json!({"order": "-total,name,info.a,place,nope", "limit": 10, "skip": 5, "keys": "name,info.a"}),
    );
    let query = Query::from_rest(&params).unwrap();
    let (statement, columns) = select(&schema(), &class, &query, &Access::Master, Secrets::Hidden);
    assert_eq!(
        statement.text,
        "SELECT \"_rperm\",\"_wperm\",\"createdAt\",\"info\",\"name\",\"objectId\",\"updatedAt\" FROM \"Order\" \
         ORDER BY \"total\" DESC,\"name\",(\"info\"->'a') LIMIT $1::bigint OFFSET $2::bigint"
    );
    assert_eq!(statement.params, [Param::Integer(10), Param::Integer(5)]);
    assert_eq!(columns.len(), 7);
}

#[test]
fn secrets_are_not_even_selected() {
    let class = ClassSchema::new("_User");
    let names = |secrets| {
        columns(&class, None, secrets)
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    assert!(!names(Secrets::Hidden).contains(&"_hashed_password"));
    assert!(names(Secrets::Shown).contains(&"_hashed_password"));
}
