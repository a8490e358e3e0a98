//! The statement of a write: what SQL each action and operation becomes.

use serde_json::{Value, json};
use tidegate_parse_protocol::{ErrorCode, Field, FieldType, Object};

use super::*;

fn class() -> Arc<ClassSchema> {
    let mut class = ClassSchema::new("Order");
    for (name, field_type) in [
        ("n", FieldType::Number),
        ("tags", FieldType::Array),
        ("info", FieldType::Object),
        (
            "items",
            FieldType::Relation {
                target: "Item".into(),
            },
        ),
    ] {
        class.fields.insert(name.to_owned(), Field::new(field_type));
    }
    Arc::new(class)
}

fn changes(value: Value) -> Changes {
    let body: Object = value.as_object().cloned().unwrap();
    Changes::from_rest(&body).unwrap()
}

fn write(action: Action) -> Write {
    Write {
        class: class(),
        object_id: "o1".into(),
        action,
        access: Access::Master,
        message: None,
    }
}

fn update(value: Value) -> Result<(Statement, usize), Error> {
    let write = write(Action::Update {
        changes: changes(value),
        updated_at_ms: 5,
    });
    statement(&write, "p").map(|(statement, columns)| (statement, columns.len()))
}

/// What is assigned to the one field that is changed.
#[track_caller]
fn check(value: Value, assigned: &str) {
    let (statement, _) = update(value).unwrap();
    let (set, _) = statement.text.split_once(" WHERE \"objectId\"").unwrap();
    let (_, assignment) = set.split_once("\"updatedAt\" = $1::timestamptz,").unwrap();
    assert_eq!(assignment.split_once(" = ").unwrap().1, assigned);
}

const RETURNING: &str = "RETURNING \"_rperm\",\"_wperm\",\"createdAt\",\"info\",\"n\",\"objectId\",\"tags\",\"updatedAt\",\
                         pg_current_xact_id()::text AS _xid,pg_current_wal_insert_lsn() AS _lsn";

#[test]
fn a_row_s_change_reads_its_message() {
    let with = "WITH _message(_lsn) AS MATERIALIZED (SELECT pg_logical_emit_message(true, $1::text, $2::text)) ";
    let cases = [
        (
            Action::Insert {
                changes: changes(json!({"n": 1})),
                created_at_ms: 5,
            },
            "INSERT INTO \"Order\" (\"objectId\",\"createdAt\",\"updatedAt\",\"n\") \
             SELECT $3::text,$4::timestamptz,$4::timestamptz,$5::double precision FROM _message",
        ),
        (
            Action::Update {
                changes: changes(json!({"n": 1})),
                updated_at_ms: 5,
            },
            "UPDATE \"Order\" SET \"updatedAt\" = $3::timestamptz,\"n\" = $4::double precision FROM _message \
             WHERE \"objectId\" = $5::text",
        ),
        (
            Action::Delete,
            "DELETE FROM \"Order\" USING _message WHERE \"objectId\" = $3::text",
        ),
    ];
    for (action, sql) in cases {
        let write = Write {
            message: Some("m".into()),
            ..write(action)
        };
        let (statement, _) = statement(&write, "p").unwrap();
        assert_eq!(statement.text, format!("{with}{sql} {RETURNING}"));
        assert_eq!(
            statement.params[..2],
            [Param::Text("p".into()), Param::Text("m".into())]
        );
    }
}

#[test]
fn writers_change_what_is_public_or_theirs() {
    let write = Write {
        access: Access::public(),
        ..write(Action::Delete)
    };
    let (statement, _) = statement(&write, "p").unwrap();
    let sql = "DELETE FROM \"Order\" WHERE \"objectId\" = $1::text AND (\"_wperm\" IS NULL OR \"_wperm\" && $2::text[])";
    assert_eq!(statement.text, format!("{sql} {RETURNING}"));
}

#[test]
fn an_access_list_becomes_two_columns() {
    let (statement, _) =
        update(json!({"ACL": {"*": {"read": true}, "u1": {"write": true}}})).unwrap();
    assert!(statement.text.starts_with(
        "UPDATE \"Order\" SET \"_rperm\" = $1::text[],\"_wperm\" = $2::text[],\"updatedAt\" = $3::timestamptz WHERE"
    ));
    assert_eq!(
        statement.params[..2],
        [
            Param::Texts(vec!["*".into()]),
            Param::Texts(vec!["u1".into()])
        ]
    );
}

#[test]
fn operations_are_expressions_over_the_row() {
    let tags = "(CASE jsonb_typeof(\"tags\") WHEN 'array' THEN \"tags\" ELSE '[]'::jsonb END)";
    check(
        json!({"n": {"__op": "Increment", "amount": 2}}),
        "COALESCE(\"n\",0) + $2::double precision",
    );
    check(json!({"n": {"__op": "Delete"}}), "NULL");
    check(json!({"n": null}), "NULL");
    check(
        json!({"tags": {"__op": "Add", "objects": [1]}}),
        &format!("{tags} || $2::jsonb"),
    );
}

#[test]
fn keys_inside_an_object_are_merged_into_one_assignment() {
    let info = "CASE jsonb_typeof(\"info\") WHEN 'object' THEN \"info\" ELSE '{}'::jsonb END";
    check(
        json!({"info.a": 1, "info.b": {"__op": "Delete"}, "info.n": {"__op": "Increment", "amount": 1}}),
        &format!(
            "((({info}) - $2::text[]) || jsonb_build_object($3::text,$4::jsonb,$5::text,\
             to_jsonb(COALESCE((\"info\"->$5::text)::double precision,0) + $6::double precision)))"
        ),
    );
    let deep = "CASE jsonb_typeof((\"info\"->$2::text)) WHEN 'object' THEN (\"info\"->$2::text) ELSE '{}'::jsonb END";
    check(
        json!({"info.a.b": 1}),
        &format!(
            "(({info}) || jsonb_build_object($2::text,(({deep}) || jsonb_build_object($3::text,$4::jsonb))))"
        ),
    );
}

#[test]
fn the_text_of_many_nested_increments_stays_small() {
    let many: Object = (0..120)
        .map(|n| {
            (
                format!("info.k{n}"),
                json!({"__op": "Increment", "amount": 1}),
            )
        })
        .collect();
    let (statement, _) = update(Value::Object(many)).unwrap();
    assert!(statement.text.len() < 20_000, "{}", statement.text.len());
}

#[test]
fn relations_follow_their_row() {
    let item = |id| json!({"__type": "Pointer", "className": "Item", "objectId": id});
    let batch = json!({"__op": "Batch", "ops": [
        {"__op": "AddRelation", "objects": [item("a")]},
        {"__op": "RemoveRelation", "objects": [item("b")]},
    ]});
    let (statement, _) = update(json!({"items": batch})).unwrap();
    assert_eq!(
        statement.text,
        format!(
            "WITH _row AS (UPDATE \"Order\" SET \"updatedAt\" = $1::timestamptz WHERE \"objectId\" = $2::text {RETURNING}), \
             _add0 AS (INSERT INTO \"_Join:items:Order\" (\"relatedId\",\"owningId\") \
             SELECT _member, _row.\"objectId\" FROM _row, unnest($3::text[]) _member ON CONFLICT DO NOTHING), \
             _remove0 AS (DELETE FROM \"_Join:items:Order\" _join USING _row \
             WHERE _join.\"owningId\" = _row.\"objectId\" AND _join.\"relatedId\" = ANY($4::text[])) SELECT * FROM _row"
        )
    );
}

#[test]
fn what_does_not_fit_the_field_is_refused() {
    let code = |value| match update(value) {
        Err(Error::Refused(error)) => Some(error.code),
        Err(Error::StaleSchema) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(json!({"n": "x"})), Some(ErrorCode::INCORRECT_TYPE));
    assert_eq!(
        code(json!({"tags": {"__op": "Increment", "amount": 1}})),
        Some(ErrorCode::INCORRECT_TYPE)
    );
    assert_eq!(
        code(json!({"n": {"__op": "Add", "objects": [1]}})),
        Some(ErrorCode::INCORRECT_TYPE)
    );
    assert_eq!(code(json!({"n.a": 1})), Some(ErrorCode::INCORRECT_TYPE));
    assert_eq!(code(json!({"nope": 1})), None);
}

#[test]
fn clearing_a_field_that_the_class_does_not_have_does_nothing() {
    let unset = json!({"nope": {"__op": "Delete"}, "never": null, "no.where": {"__op": "Delete"}});
    let (statement, _) = update(unset).unwrap();
    let (nothing, _) = update(json!({})).unwrap();
    assert_eq!(statement.text, nothing.text);
}
